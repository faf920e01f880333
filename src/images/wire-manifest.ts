import { Interner } from '../parts/interner.js'
import { DIGEST_ALGORITHMS, type Digest } from './digest.js'
import type { Compression, ImageFile, ImageState, Manifest } from './manifest.js'
import { UNSET_OWNER, type Uuid } from './uuid.js'

/** A v2 manifest under the names it has on the wire, checked and repaired; keys that are not listed here are optional. */
export interface WireManifest {
  /** 2; of images of our own also what their author has set, which is no less. */
  readonly v: number
  readonly uuid: Uuid
  readonly owner: Uuid
  readonly name: string
  readonly version: string
  readonly state: ImageState
  readonly disabled: boolean
  readonly public: boolean
  readonly published_at?: string | undefined
  /** `null` as a text, or not there, while the image is being created and its type and os are not known yet. */
  readonly type?: string | undefined
  readonly os?: string | undefined
  readonly files: readonly WireFile[]
  readonly origin?: Uuid | undefined
  readonly icon?: boolean | undefined
  readonly [key: string]: unknown
}

export interface WireFile {
  readonly sha1?: string | undefined
  readonly size: number
  readonly compression: Compression
  readonly dataset_guid?: string | undefined
}

/** The names, versions, kinds and owners of most images are those of many others. At most 10,000 are shared. */
const words = new Interner(10_000)

/** @param digests what is declared of each file, also what its wire form does not say. */
export function makeManifest(wire: WireManifest, digests: readonly (readonly Digest[])[], json: string): Manifest {
  return {
    uuid: wire.uuid,
    name: words.share(wire.name),
    version: words.share(wire.version),
    owner: wire.owner === UNSET_OWNER ? UNSET_OWNER : (words.share(wire.owner) as Uuid),
    os: words.share(wire.os ?? 'null'),
    type: words.share(wire.type ?? 'null'),
    state: words.share(wire.state) as ImageState,
    isPublic: wire.public,
    publishedAt: wire.published_at,
    origin: wire.origin && (words.share(wire.origin) as Uuid),
    files: wire.files.map((file, index) => makeFile(file, digests[index] ?? [])),
    hasIcon: wire.icon === true,
    json,
  }
}

function makeFile({ size, compression }: WireFile, digests: readonly Digest[]): ImageFile {
  return { sizeBytes: size, compression: words.share(compression) as Compression, digests }
}

/** Strongest first, which is the order everything that shows or compares them relies on. */
export function orderDigests(digests: readonly Digest[]): Digest[] {
  return DIGEST_ALGORITHMS.flatMap((algorithm) => digests.find((digest) => digest.algorithm === algorithm) ?? [])
}
