import type { Manifest } from '../images/manifest.js'
import type { Log } from '../parts/log.js'
import type { BlobRef, OpenBlob } from '../store/blob-store.js'
import type { HeldImage, KeptIcon } from '../store/image-store.js'
import type { KeptTag } from '../store/registry-store.js'
import type { Store } from '../store/store.js'
import type { Catalogue } from './catalogue.js'
import type { Jobs } from './jobs.js'
import type { Room } from './keeping/room.js'
import type { Ledger } from './ledger.js'
import type { KnownImages } from './operations/known-images.js'
import type { Pins } from './operations/pins.js'
import type { Pulls } from './operations/pulls.js'

/** What a mirror shares with those who carry images across an air gap. */
export interface Carrying {
  readonly store: Store
  readonly catalogue: Catalogue
  readonly images: KnownImages
  readonly jobs: Jobs
  readonly pulls: Pulls
  readonly pins: Pins
  readonly room: Room
  readonly ledger: Ledger
  readonly isOffline: boolean
  /** The longest ancestry that is followed, in images. */
  readonly maxAncestry: number
  /** The kept blob that is this file, if any. */
  readonly blobOf: (manifest: Manifest, fileIndex: number) => BlobRef | undefined
  /** The blob, read as configuration says; what is damaged of it is mended meanwhile. */
  readonly verified: (blob: OpenBlob) => OpenBlob
  /** Resolves when the image is written down as held, or could not be. */
  readonly hold: (image: HeldImage) => Promise<void>
  /** What a tag of a registry means, if all that it leads to is kept. Answers whether it is. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  readonly sawTag: (tag: Pick<KeptTag, 'host' | 'repository' | 'tag' | 'digest'>) => Promise<boolean>
  /** Fetched, if need be and it can be. @throws MirrorError UPSTREAM_UNREACHABLE, UPSTREAM_MISBEHAVED. */
  readonly iconOf: (manifest: Manifest) => Promise<KeptIcon | undefined>
  readonly log: Log
}
