import type { ArrivalStore } from './arrival-store.js'
import type { BlobStore } from './blob-store.js'
import type { ClaimStore } from './claim-store.js'
import type { ExportStore } from './export-store.js'
import type { ForeignStore } from './foreign-store.js'
import type { IconStore, ImageStore } from './image-store.js'
import type { LedgerStore } from './ledger-store.js'
import type { PinStore } from './pin-store.js'
import type { PrewarmStore } from './prewarm-store.js'
import type { RegistryStore } from './registry-store.js'
import type { ScrubStore } from './scrub-store.js'
import type { UnsettledStore } from './unsettled-store.js'

/** Signs for this mirror, with the key in `keys/mirror.key`. */
export interface Signer {
  /** The name of the key, 16 hex digits. */
  readonly key: string
  /** The content of its `.pub` file. */
  readonly publicKey: string
  /** The content of a `.minisig` file. @param comment one line, which is signed too. */
  sign(text: string | Uint8Array, comment: string): string
}

/** Everything we keep, in one data directory that one process owns. */
export interface Store {
  readonly blobs: BlobStore
  readonly images: ImageStore
  readonly icons: IconStore
  readonly claims: ClaimStore
  /** What Docker registries said. */
  readonly registry: RegistryStore
  readonly scrub: ScrubStore
  /** What happened. */
  readonly ledger: LedgerStore
  readonly pins: PinStore
  readonly prewarming: PrewarmStore
  readonly unsettled: UnsettledStore
  /** Bundles that have come, whole or in part. */
  readonly arrivals: ArrivalStore
  /** Bundles that were made here. */
  readonly exports: ExportStore
  /** What is not ours. */
  readonly foreign: ForeignStore
  /** Signs for this mirror; its key is made where there is none yet. @throws MirrorError STORE_BROKEN, STORE_FULL. */
  signer(): Promise<Signer>
  /**
   * Why the data directory cannot be used as it is now, for operators; empty when it can. A full disk is no reason: what is held
   * is served all the same.
   */
  complaints(): Promise<readonly string[]>
  /** Waits for what is being written, and lets go of the data directory. */
  close(): Promise<void>
}
