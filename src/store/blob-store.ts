import type { Digest } from '../images/digest.js'
import type { Audited } from './audit-store.js'

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
  /** It comes only once, from a client: what is left of it when it breaks off is of no use, and never resumed. */
  readonly isOnce?: boolean
  /**
   * Nobody has said how long it is: `sizeBytes` is the most it may have, and is promised no room, until `PartialBlob.end` says
   * that this is all of it. Only with `isOnce`.
   */
  readonly isOpenEnded?: boolean
}

/** Where bytes came from: an upstream's name, and the url that answered, without credentials. */
export interface ByteSource {
  readonly upstream: string
  readonly location: string
}

/** Bytes from `startBytes` up to, and without, `endBytes` of a file, and who gave them. */
export interface Extent extends ByteSource {
  readonly startBytes: number
  readonly endBytes: number
}

/** A blob open for reading. Several reads may be under way at once. While it is open it is not let go of. */
export interface OpenBlob {
  readonly ref: BlobRef
  /** Where its file lies, below `blobs/` of the data directory, with `/`; `undefined` if it is not such a file. */
  readonly path?: string | undefined
  /** It has been quarantined since it was opened: what was read of it before is not to be handed on either. */
  readonly isDamaged: boolean
  /**
   * Fills `buffer` from `positionBytes` and answers how many bytes it got; fewer than asked only at the end.
   * @throws MirrorError STORE_BROKEN when the disk refuses, when the file ends before `ref.sizeBytes`, or when the blob
   *   has been quarantined since it was opened.
   */
  read(buffer: Uint8Array, positionBytes: number): Promise<number>
  close(): Promise<void>
}

/**
 * A file being received. Bytes may come in any order, and may be read back as soon as `write` has resolved, also after
 * `keep` and until `close` or `suspend`, whatever has become of the name.
 *
 * write... -> verify -> keep -> close; or after a failed `verify` splice... -> verify again; or at any point
 * discard -> close, or suspend, which ends it too.
 */
export interface PartialBlob {
  /** After `end`, with the size it really has. */
  readonly expected: ExpectedBlob
  /** Bytes from the start without a gap: 0 for a new file, more for one that an earlier flight or run has left. */
  readonly receivedBytes: number
  /**
   * What is here, in order and without overlap; neighbours of one source are one extent. Written down as it comes: after
   * the end of the process, however it came, at most 512 KiB of what was written are missing, all connections together;
   * after a power cut at most what came since the last sync but one: twice 64 MiB, or 10 s.
   */
  readonly extents: readonly Extent[]
  /**
   * Writes `bytes` anywhere inside the file. Several writes may be under way, on ranges that do not overlap; wait for
   * the promise, that is the backpressure. What is here already, or on its way, is not written again: that is a plain
   * Error, a bug of the caller.
   * @throws MirrorError UPSTREAM_MISBEHAVED for bytes beyond the expected size (nothing of them is written), STORE_FULL,
   *   STORE_BROKEN. After a rejection nothing of `bytes` counts as here.
   */
  write(positionBytes: number, bytes: Uint8Array, source: ByteSource): Promise<void>
  /** `write` behind `receivedBytes`, from nobody in particular. */
  append(bytes: Uint8Array): Promise<void>
  /** Of an open-ended one: what is here from the start without a gap is all of it. To be called before `verify`. */
  end(): void
  /** As OpenBlob.read, of bytes that are here: fewer than asked also where a gap begins, and 0 inside of one. */
  read(buffer: Uint8Array, positionBytes: number): Promise<number>
  /**
   * Compares size and the strongest expected digest with what is here, as a worker has read it behind the writer.
   * @throws MirrorError UPSTREAM_MISBEHAVED naming expected and found; STORE_BROKEN.
   */
  verify(): Promise<void>
  /** SHA-256, lower-case hex, of every CHUNK_BYTES of the file as it stands. Only when all is received. */
  chunks(): Promise<readonly string[]>
  /**
   * Replaces bytes of a file that is all here, and not verified: a repair. All digests are taken anew. One at a time,
   * and not beside `verify`, `chunks` or `digestNow`.
   * @throws MirrorError STORE_FULL, STORE_BROKEN; the file is in doubt then, and to be discarded.
   */
  splice(positionBytes: number, bytes: Uint8Array, source: ByteSource): Promise<void>
  /** The strongest expected digest (SHA-256 when none was promised) of a file that is all here, as it stands; hex. */
  digestNow(): Promise<string>
  /**
   * After `verify`: waits for the other digests, checks those that were expected too, syncs, and gives the blob its
   * name. If a blob with the same sha256 is already kept, that one stays and this is dropped.
   * @throws MirrorError UPSTREAM_MISBEHAVED when a weaker expected digest differs, or when another blob with the same
   *   sha1 and another sha256 is kept; STORE_FULL, STORE_BROKEN. After a rejection nothing has its name.
   * @param beforeNaming told its sha256 when all is right and before it has its name; what it rejects with is thrown.
   */
  keep(beforeNaming?: (sha256: string) => Promise<void>): Promise<Fingerprint>
  /**
   * Forgets the bytes: the name is removed now, the bytes when `close` is called. Harmless after `keep`. Nothing of it
   * will ever be resumed.
   */
  discard(): Promise<void>
  /**
   * Ends writing and reading, as `close` does, but leaves what was neither kept nor discarded on the disk for the next
   * `receive` of the same file, in this run or a later one. Bytes that `verify` or `keep` refused are not left, unless
   * a `splice` has changed them since; nor is a file without a promised digest, or without a byte.
   */
  suspend(): Promise<void>
  /** Ends reading; call it when the last reader is gone. Discards what was not kept. Harmless after `suspend`. */
  close(): Promise<void>
}

/** What an earlier flight or run has left of a file, and nobody has open. */
export interface SuspendedBlob {
  readonly expected: ExpectedBlob
  /** Bytes from the start without a gap. */
  readonly receivedBytes: number
  /** What is here, as PartialBlob has it. */
  readonly extents: readonly Extent[]
  readonly sizeOnDiskBytes: number
  /** When a byte was last written, ms since 1970. */
  readonly touchedMs: number
}

/** A kept blob in an order of time. */
export interface TimedBlob {
  readonly sha256: string
  readonly sizeBytes: number
  /** Milliseconds since 1970. */
  readonly atMs: number
}

/** What came of reading a blob again. */
export interface Examination {
  /**
   * Which chunks are not what was kept, or cannot be read; ascending. All of them when bytes and fingerprint are both
   * damaged: then nobody can say which.
   */
  readonly damagedChunks: readonly number[]
  /** Whether the bytes as a whole have the sha256 they are named by; `undefined` when not all of them were read. */
  readonly isWhole: boolean | undefined
  /**
   * `measured again`: it was missing or damaged, the bytes were whole, and it is good again now. `lost`: it was
   * missing or damaged, and so are the bytes.
   */
  readonly fingerprint: 'good' | 'measured again' | 'lost'
}

export interface ExamineOptions {
  readonly signal: AbortSignal
  /** Where an earlier examination stopped; default 0. */
  readonly fromChunk?: number
  /** Default: as fast as the disk. */
  readonly bytesPerSecond?: number
  /** Told of each chunk when it has been read, good or bad. */
  readonly onChunk?: (index: number) => void
}

/** Keeps whole, verified blobs. A blob is either fully here or not here at all. Its audit is of the index; see `examine`. */
export interface BlobStore extends Audited {
  /** Whether a blob is kept that has this digest (and size, if given). In memory: no I/O, cheap to ask 100,000 times. */
  find(digest: Digest, sizeBytes?: number): BlobRef | undefined
  /** Everything kept, in no order. */
  all(): Iterable<BlobRef>
  /**
   * Opens a blob, or answers `undefined` when it is not kept here. The caller closes it; until then it is not let go of.
   * @throws MirrorError STORE_BROKEN when the disk refuses.
   */
  open(sha256: string): Promise<OpenBlob | undefined>
  /** With the chunk hashes; `undefined` when it is not kept here. */
  fingerprint(sha256: string): Promise<Fingerprint | undefined>
  /**
   * Starts with a file, or goes on with what is left of it. A file is known by its strongest digest and its size; one
   * without a digest is never resumed. While somebody has it open, another one who asks starts from nothing, on a file
   * of their own that is not resumed either. The caller closes it, or suspends it.
   * @throws MirrorError STORE_FULL when the disk has no room for what is missing of it.
   */
  receive(expected: ExpectedBlob): Promise<PartialBlob>
  /** What is left of files, and nobody has open. In memory. */
  suspended(): Iterable<SuspendedBlob>
  /**
   * Removes leftovers that were not touched since then, ms since 1970, but for those that `isAwaited`; answers the bytes
   * freed.
   */
  reclaim(untouchedSinceMs: number, isAwaited?: (left: ExpectedBlob) => boolean): Promise<number>
  /** How many blobs are kept. In memory. */
  readonly keptCount: number
  /** How large all blobs that are kept are, together. In memory. */
  readonly keptBytes: number
  /** How large the files under way will be when they are whole, together; open-ended ones as they are now. In memory. */
  readonly receivingBytes: number
  /** Room for new blobs: what the disk has free, without what flights under way are promised and a small reserve. */
  freeBytes(): Promise<number>
  /**
   * Lets go of a blob. Answers false, and does nothing, while it is open for reading or when it is not kept here, or when
   * `isNeeded` says so: it is asked at the last moment, when nothing can come between its answer and the end.
   * Durable when it resolves; after a crash before that it may be here still, whole.
   * @throws MirrorError STORE_BROKEN when the disk refuses.
   */
  letGo(sha256: string, isNeeded?: () => boolean): Promise<boolean>
  /**
   * When it was last opened, or kept, ms since 1970. Survives restarts; after a crash it may be up to a minute early.
   */
  lastUsedMs(sha256: string): number | undefined
  /**
   * What is kept, from what was used longest ago. To take the first thousands of a million takes some 50 ms. What changes while
   * somebody goes through it may show or not.
   */
  inOrderOfUse(): Iterable<TimedBlob>
  /** When all of it was last read again, as `noteCheck` said; `undefined` for never. In memory, and forgotten with the process. */
  checkedMs(sha256: string): number | undefined
  /** All of it was read again then, ms since 1970. Harmless for one that is not kept here. */
  noteCheck(sha256: string, atMs: number): void
  /** As `inOrderOfUse`, from what was last read, kept or again, longest ago. */
  inOrderOfCheck(): Iterable<TimedBlob>
  /** Those of which `noteCheck` was told, in no order. */
  checked(): Iterable<TimedBlob>
  /**
   * Reads a blob again, off the event loop, and compares it chunk by chunk with what was measured when it was kept.
   * Does not keep it from being let go of: answers `undefined` when it is not kept here (any more).
   * @throws the signal's reason; MirrorError STORE_BROKEN.
   */
  examine(sha256: string, options: ExamineOptions): Promise<Examination | undefined>
  /**
   * Whether `bytes`, as they were read, are that chunk of a kept blob. Hashes them on the event loop, under a
   * millisecond a chunk.
   */
  isChunkGood(sha256: string, chunkIndex: number, bytes: Uint8Array): Promise<boolean>
  /**
   * Takes a blob out of service from this moment on: it is neither found nor opened, and who has it open gets
   * STORE_BROKEN with the next read. The file goes to `quarantine/` with `evidence` as JSON beside it, and stays there
   * until an operator removes it. Harmless for a blob that is not kept here.
   * @throws MirrorError STORE_FULL, STORE_BROKEN when it could not be moved; it is out of service all the same, until
   *   the next start.
   */
  quarantine(sha256: string, evidence: object): Promise<void>
  /**
   * Puts a blob right, kept or in quarantine: a copy is made with `goodChunks` (by index) in their places, the whole is
   * measured and must have its name, and then takes the place of the damaged one at once. Who has a kept one open reads
   * on from the damaged file: quarantine it first if they must not.
   * @throws MirrorError STORE_BROKEN when it still is not what its name says, or there is nothing to mend; STORE_FULL.
   */
  repair(sha256: string, goodChunks: ReadonlyMap<number, Uint8Array>): Promise<void>
}
