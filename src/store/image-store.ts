import type { ImageRecord } from '../images/image-record.js'
import type { Compression, Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { Audited } from './audit-store.js'
import type { Extent } from './blob-store.js'

/**
 * An image whose files are all kept, or one of our own in any state: enough to serve it with every upstream dead and the index
 * deleted.
 */
export interface HeldImage {
  readonly manifest: Manifest
  /** Per entry of `manifest.files`, which blob it is, and how it came to be. */
  readonly files: readonly HeldFile[]
  readonly heldSinceMs: number
  /** The upstream whose claim was taken. */
  readonly upstream: string
  /** Of an image of our own: what readers are not told. It is in the store from its creation on, also without a file. */
  readonly publication?: Publication | undefined
}

/** What we know of an image that was published here, besides its manifest. */
export interface Publication {
  /** The complete manifest as the reference would store it, `activated` and all, as JSON. What `manifest` is made of. */
  readonly record: ImageRecord
  /** The user who created it, and who changed it last. */
  readonly createdBy: string
  readonly changedBy: string
  readonly changedMs: number
  /** Of an image that is being brought here from another server: which one, until it is active. */
  readonly importingFrom?: string | undefined
  /** The uuid it had until now, while the record under that uuid is still to be removed. */
  readonly replaces?: Uuid | undefined
}

export interface HeldFile {
  readonly sha256: string
  /** Which bytes came from whom, in order. Empty for a file that was here already, for another image. */
  readonly extents: readonly Extent[]
  /** Which bytes were wrong when they came, from whom, and who had them right. */
  readonly corrections: readonly Correction[]
  /** Of a Docker layer: what its manifest shows from now on, since no registry says it beforehand. */
  readonly layer?: { readonly sha1: string; readonly compression: Compression }
}

/** Bytes [startBytes, endBytes) of a file that were wrong when they came. */
export interface Correction {
  readonly startBytes: number
  readonly endBytes: number
  readonly wrongFrom: readonly Extent[]
  readonly rightFrom: string
  readonly atMs: number
}

/** The file of an image that is there, and not as we wrote it. */
export interface DamagedRecord {
  readonly uuid: Uuid
  readonly path: string
}

/** Manifests of held images and icons, as plain files: one `images/<uuid>.json` each. All of them fit in memory. */
export interface ImageStore extends Audited {
  /** Read once at start. A damaged file is left where it is, named in the log, and not listed. */
  all(): Iterable<HeldImage>
  get(uuid: Uuid): HeldImage | undefined
  /** Grows with each `keep` and `forget` that is done: for whoever remembers something that was made of `all`. */
  readonly changes: number
  /** Files of images that were damaged when they were read: which blobs these images have is not known. */
  damaged(): readonly DamagedRecord[]
  /** Durable when it resolves. Replaces what was there. */
  keep(image: HeldImage): Promise<void>
  /** The image is not held any more. Durable when it resolves. Harmless for one that is not held. */
  forget(uuid: Uuid): Promise<void>
}

/**
 * Icons, kept as plain files `icons/<uuid>.<jpg|gif|png>`, with their sum in `<uuid>.<...>.sha256` beside them, as sha256sum writes and
 * checks it.
 */
export interface IconStore extends Audited {
  /** A damaged one is set aside, and answered as if there were none. */
  get(uuid: Uuid): Promise<KeptIcon | undefined>
  keep(uuid: Uuid, icon: { readonly contentType: IconType; readonly bytes: Buffer }): Promise<KeptIcon>
  /** Durable when it resolves. Harmless where there is none. */
  forget(uuid: Uuid): Promise<void>
}

export type IconType = 'image/jpeg' | 'image/gif' | 'image/png'

export interface KeptIcon {
  readonly contentType: IconType
  readonly bytes: Buffer
  readonly keptMs: number
}
