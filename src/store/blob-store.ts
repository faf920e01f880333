import type { Digest } from '../images/digest.js'

/** Chunk hashes are taken of every 1 MiB, so that damage can be named, and repaired, by the MiB. */
export const CHUNK_BYTES = 1024 * 1024

/** What was measured of a blob's bytes when they were kept. */
export interface Fingerprint {
  readonly sizeBytes: number
  readonly sha256: string
  readonly sha1: string
  readonly md5: string
  /** SHA-256, lower-case hex, of each CHUNK_BYTES of the blob in order; the last one may be short. Empty for 0 bytes. */
  readonly chunks: readonly string[]
  /** When it was kept: the file's Last-Modified for clients. Whole seconds. */
  readonly keptMs: number
}

/** The part of a fingerprint that is in memory for every blob. */
export type BlobRef = Pick<Fingerprint, 'sizeBytes' | 'sha256' | 'sha1' | 'md5' | 'keptMs'>

/** What a file must turn out to be. */
export interface ExpectedBlob {
  readonly sizeBytes: number
  /** All of these must match; the strongest one decides before the last bytes leave. Empty only where allowed. */
  readonly digests: readonly Digest[]
}

/** A blob open for reading. Several reads may be under way at once. */
export interface OpenBlob {
  readonly ref: BlobRef
  /**
   * Fills `buffer` from `positionBytes` and answers how many bytes it got; fewer than asked only at the end.
   * @throws MirrorError STORE_BROKEN when the disk refuses, or the file ends before `ref.sizeBytes`.
   */
  read(buffer: Uint8Array, positionBytes: number): Promise<number>
  close(): Promise<void>
}

/**
 * A file being received. Bytes are appended in order, and may be read back as soon as `append` has resolved, also after
 * `keep` and until `close`, whatever has become of the name.
 *
 * append... -> verify -> keep -> close, or at any point discard -> close.
 */
export interface PartialBlob {
  readonly expected: ExpectedBlob
  /** Bytes appended so far. */
  readonly receivedBytes: number
  /**
   * Writes `bytes` behind what is there. One at a time: wait for the promise, that is the backpressure.
   * @throws MirrorError UPSTREAM_MISBEHAVED as soon as there are more bytes than expected (nothing of the surplus is
   *   written), STORE_FULL, STORE_BROKEN.
   */
  append(bytes: Uint8Array): Promise<void>
  /** As OpenBlob.read, of the bytes appended so far. */
  read(buffer: Uint8Array, positionBytes: number): Promise<number>
  /**
   * Compares size and the strongest expected digest with what was appended. Cheap: hashed as the bytes came.
   * @throws MirrorError UPSTREAM_MISBEHAVED naming expected and found.
   */
  verify(): Promise<void>
  /**
   * After `verify`: waits for the other digests, checks those that were expected too, syncs, and gives the blob its
   * name. If a blob with the same sha256 is already kept, that one stays and this is dropped.
   * @throws MirrorError UPSTREAM_MISBEHAVED when a weaker expected digest differs, or when another blob with the same
   *   sha1 and another sha256 is kept; STORE_FULL, STORE_BROKEN. After a rejection nothing has its name.
   */
  keep(): Promise<Fingerprint>
  /** Forgets the bytes: the name is removed now, the bytes when `close` is called. Harmless after `keep`. */
  discard(): Promise<void>
  /** Ends reading; call it when the last reader is gone. Discards what was not kept. */
  close(): Promise<void>
}

/** Keeps whole, verified blobs. A blob is either fully here or not here at all. */
export interface BlobStore {
  /** Whether a blob is kept that has this digest (and size, if given). In memory: no I/O, cheap to ask 100,000 times. */
  find(digest: Digest, sizeBytes?: number): BlobRef | undefined
  /** Everything kept, in no order. */
  all(): Iterable<BlobRef>
  /**
   * Opens a blob, or answers `undefined` when it is not kept here. The caller closes it.
   * @throws MirrorError STORE_BROKEN when the disk refuses.
   */
  open(sha256: string): Promise<OpenBlob | undefined>
  /** With the chunk hashes; `undefined` when it is not kept here. */
  fingerprint(sha256: string): Promise<Fingerprint | undefined>
  /** Starts receiving. The caller closes it. @throws MirrorError STORE_FULL when the disk has no room for it. */
  receive(expected: ExpectedBlob): Promise<PartialBlob>
}
