import type { Digest } from './digest.js'
import type { Uuid } from './uuid.js'

export type ImageState = 'active' | 'disabled' | 'unactivated' | 'creating' | 'failed'
export type Compression = 'gzip' | 'bzip2' | 'xz' | 'none'

/** One entry of `manifest.files`. Non-docker images have one file, a `zfs send` stream. */
export interface ImageFile {
  readonly sizeBytes: number
  readonly compression: Compression
  /** What was declared of the bytes: sha1 from IMGAPI, also md5 from dsapid. May be empty where configuration allows it. */
  readonly digests: readonly Digest[]
}

/**
 * The JSON about an image: the text that is served, and the few facts the mirror decides by. Immutable; made only by
 * `parseManifest` and trusted from then on.
 */
export interface Manifest {
  readonly uuid: Uuid
  readonly name: string
  readonly version: string
  readonly owner: Uuid
  readonly os: string
  readonly type: string
  readonly state: ImageState
  readonly isPublic: boolean
  /** ISO 8601 as it is served; `undefined` before activation. */
  readonly publishedAt: string | undefined
  /** The image this incremental one builds on. */
  readonly origin: Uuid | undefined
  readonly files: readonly ImageFile[]
  readonly hasIcon: boolean
  /**
   * Compact JSON of the v2 manifest in IMGAPI's key order, without unknown keys (node-imgmanifest, `serialize`): the
   * text that is served, and whose SHA-1 is its Etag.
   */
  readonly json: string
  /**
   * Channels of this mirror that the image is in, in the order they are told; `undefined` on a mirror without channels, and
   * of a manifest that the catalogue has not placed yet. Not in `json`, since only some clients are shown them.
   */
  readonly channels?: readonly string[] | undefined
}
