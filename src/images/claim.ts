import type { Manifest } from './manifest.js'
import type { Uuid } from './uuid.js'

/** What an upstream says of an image, at the moment it says so. */
export interface Statement {
  readonly manifest: Manifest
  /**
   * Per entry of `manifest.files`: where this upstream says the file is, in words only that upstream understands (a v1
   * manifest's `path` and `url`, as JSON). `undefined` where the protocol leaves no choice.
   */
  readonly whereabouts: readonly (string | undefined)[]
  /** The upstream's own channels that it says the image is in; `undefined` if it says nothing of channels. */
  readonly channels?: readonly string[] | undefined
  /**
   * The file is compressed in a way that imgadm cannot unpack (zstd), and must be made one that it can before a client of
   * IMGAPI gets it. Size and digests in the manifest are the original's: what the upstream sends is held to them.
   */
  readonly needsRecompression?: boolean
  /**
   * SHA-256 of what the file unpacks to, lower-case hex, as its Docker image declares it (a diff_id): of such a file, and of any
   * layer that is to be made anew should it turn out to be one in spite of its media type.
   */
  readonly unpackedSha256?: string
}

/** Something in an upstream's list that is no usable manifest. It does not spoil the rest of the list. */
export interface SetAside {
  /** The uuid if it had one, else its place in the list, such as `#17`. */
  readonly what: string
  readonly reason: string
}

/** An image that an upstream lists, and that our filters for it leave out. */
export interface LeftOut {
  readonly uuid: Uuid
  readonly name: string
  readonly version: string
  /** Which filter, in words. */
  readonly reason: string
}

/** What one upstream says of an image, and when we heard it. */
export interface Claim extends Statement {
  /** The configured name of the upstream. */
  readonly upstream: string
  /** False for an image that is not in the upstream's list but was answered when asked for by uuid. */
  readonly isListed: boolean
  readonly firstHeardMs: number
  readonly lastHeardMs: number
  /** When the upstream stopped listing it (or answered 404); `undefined` while it stands. */
  readonly withdrawnMs: number | undefined
}
