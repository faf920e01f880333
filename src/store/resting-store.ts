import type { Claim } from '../images/claim.js'
import type { DigestAlgorithm } from '../images/digest.js'
import type { BlobRef, Fingerprint } from './blob-store.js'
import type { DamagedRecord, HeldImage } from './image-store.js'
import type { Pin } from './pin-store.js'

/**
 * What lies in a data directory, for whoever only reads. It takes no lock and changes nothing, so that it may be used beside a mirror,
 * on a copy, or on a medium that cannot be written.
 */
export interface RestingStore {
  /** The data directory. */
  readonly path: string
  /**
   * Reads everything that is known of images, at this moment.
   * @throws MirrorError STORE_UNUSABLE when it is no data directory, or one of a newer release; STORE_BROKEN.
   */
  look(): Promise<AtRest>
  /**
   * Reads a blob from end to end, off the event loop. Answers `undefined` when there is none.
   * @throws the signal's reason; MirrorError STORE_BROKEN when it cannot be read.
   */
  measure(sha256: string, options: MeasureOptions): Promise<MeasuredBlob | undefined>
  close(): Promise<void>
}

export interface AtRest {
  readonly images: readonly HeldImage[]
  readonly damaged: readonly DamagedRecord[]
  /** By sha256, every file that has a blob's name, of the size that it has on the disk. */
  readonly blobs: ReadonlyMap<string, RestingBlob>
  /** Of all upstreams that ever told something, configured or not. */
  readonly claims: readonly Claim[]
  /** When the whole catalogue of an upstream was heard last, ms since 1970. */
  readonly heardMs: ReadonlyMap<string, number>
  /** `undefined` when the file is damaged. */
  readonly pins: readonly Pin[] | undefined
  /** By sha256: when a blob was last read again from end to end, ms since 1970. */
  readonly checkedMs: ReadonlyMap<string, number>
}

/** What was measured when it was kept is not known of one whose fingerprint is lost. */
export type RestingBlob = Pick<BlobRef, 'sha256' | 'sizeBytes'> & Partial<Pick<BlobRef, 'sha1' | 'md5' | 'keptMs'>>

export interface MeasureOptions {
  readonly signal: AbortSignal
  /** Told how many bytes were read so far. */
  readonly onBytes: (readBytes: number) => void
}

export interface MeasuredBlob {
  readonly sizeBytes: number
  /** Of the whole file; `undefined` when a part of it cannot be read. */
  readonly digests: Readonly<Partial<Record<DigestAlgorithm, string>>> | undefined
  /** SHA-256 of each CHUNK_BYTES; `undefined` for one that cannot be read. */
  readonly chunks: readonly (string | undefined)[]
  /** What was measured when it was kept; `undefined` when that is lost. */
  readonly fingerprint: Fingerprint | undefined
}
