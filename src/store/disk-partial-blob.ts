import { MirrorError } from '../errors.js'
import { type Digest, type DigestAlgorithm, formatDigest, strongestDigest } from '../images/digest.js'
import type { Log } from '../parts/log.js'
import {
  type ByteSource,
  CHUNK_BYTES,
  type ExpectedBlob,
  type Extent,
  type Fingerprint,
  type PartialBlob,
} from './blob-store.js'
import type { OpenedFile } from './file-system.js'
import type { Measured, Measuring } from './hash-pool.js'
import type { PartialPlace } from './partial-files.js'
import type { PartialJournal } from './partial-journal.js'
import { readPromised } from './read-promised.js'
import { storeFailure } from './store-failure.js'
import { writeFully } from './whole-files.js'

/** After so many bytes, or at the first write after so long, what came is synced, and the journal with it. */
export const SYNC_INTERVAL_BYTES = 64 * 1024 * 1024
export const SYNC_INTERVAL_MS = 5_000

/** Where bytes come from that somebody appends without saying. */
const NOBODY: ByteSource = { upstream: '', location: '' }

/** What a partial needs of the store it belongs to. */
export interface PartialOwner {
  readonly log: Log
  readonly now: () => number
  readonly syncIntervalBytes: number
  /** Starts to take all digests of the file at `path`. */
  measure(path: string): Measuring
  /** Takes one. */
  digest(path: string, algorithm: DigestAlgorithm, sizeBytes: number): Promise<string>
  /** Makes the bytes, and what tells of them, durable. */
  sync(place: PartialPlace): Promise<void>
  /**
   * Gives the synced file at `path` its name, or drops it for the one that is already kept.
   * @param onKept told the moment it counts among what is kept.
   */
  admit(path: string, measured: Measured & { readonly sizeBytes: number }, onKept: () => void): Promise<Fingerprint>
  /** Removes what is left of the place when its bytes have their name. */
  clear(place: PartialPlace): Promise<void>
  /** Removes the bytes and all that tells of them. */
  drop(place: PartialPlace): Promise<void>
  /** It will touch nothing in its place any more: it was kept, dropped, or `isSuspended`. */
  onLeft(place: PartialPlace, isSuspended: boolean): Promise<void>
  /** It is closed, and has let go of all it held. */
  onClosed(partial: DiskPartialBlob): void
}

/**
 * A blob on its way in, as a file in `partial/`.
 *
 * A worker reads the file behind us, chunk by chunk as it comes, and takes all digests. So what is verified, and gets a
 * name, is what was read back from the file, and not what we believe to have written; and with the last byte no more than
 * what the worker is behind has still to be read: a chunk, unless it has too much to do.
 */
export class DiskPartialBlob implements PartialBlob {
  #expected: ExpectedBlob
  readonly #place: PartialPlace
  readonly #file: OpenedFile
  readonly #owner: PartialOwner
  readonly #strongest: Digest | undefined
  /** `undefined` after a splice, until somebody wants the digests again. */
  #measuring: Measuring | undefined
  #measured: Promise<Measured> | undefined
  readonly #writing = new Set<{
    readonly startBytes: number
    readonly endBytes: number
    readonly done: Promise<void>
  }>()
  #unsyncedBytes = 0
  #syncedMs: number
  #syncing: Promise<void> = Promise.resolve()
  #hasComplained = false
  #isRefused = false
  #keeping: Promise<Fingerprint> | undefined
  #isKept = false
  #discarding: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(expected: ExpectedBlob, place: PartialPlace, owner: PartialOwner) {
    this.#expected = expected
    this.#place = place
    this.#file = place.file
    this.#owner = owner
    this.#strongest = strongestDigest(expected.digests)
    this.#syncedMs = owner.now()
    this.#measuring = owner.measure(place.path)
    if (place.extents.totalBytes > 0) this.#measuring.grown(this.receivedBytes)
  }

  get expected(): ExpectedBlob {
    return this.#expected
  }

  get receivedBytes(): number {
    return this.#place.extents.prefixBytes
  }

  /** What it will have of the disk when it is whole, as far as that can be known; nothing once it counts among what is kept. */
  get foreseenBytes(): number {
    if (this.#isKept) return 0
    return this.#expected.isOpenEnded ? this.#place.extents.totalBytes : this.#expected.sizeBytes
  }

  get extents(): readonly Extent[] {
    return this.#place.extents.list
  }

  /** Bytes it will still want of the disk. */
  get awaitedBytes(): number {
    return this.#discarding || this.#isKept ? 0 : this.foreseenBytes - this.#place.extents.totalBytes
  }

  /** Whether its place will soon be free for the next one, and when. */
  get leaving(): Promise<void> | undefined {
    return this.#closing ?? this.#discarding
  }

  append(bytes: Uint8Array): Promise<void> {
    return this.write(this.receivedBytes, bytes, NOBODY)
  }

  async write(positionBytes: number, bytes: Uint8Array, source: ByteSource): Promise<void> {
    if (this.#keeping || this.#discarding || this.#closing) {
      throw new Error('write was called after keep, discard, suspend or close')
    }
    if (!Number.isSafeInteger(positionBytes) || positionBytes < 0) throw new Error(`${positionBytes} is no position`)
    const endBytes = positionBytes + bytes.length
    if (endBytes > this.expected.sizeBytes) {
      throw new MirrorError('UPSTREAM_MISBEHAVED', `${this.#name} is longer than the promised ${this.#promisedSize}`)
    }
    if (bytes.length === 0) return
    const isUnderWay = [...this.#writing].some((one) => one.startBytes < endBytes && positionBytes < one.endBytes)
    if (isUnderWay || this.#place.extents.overlaps(positionBytes, endBytes)) {
      throw new Error(`bytes ${positionBytes} to ${endBytes} of ${this.#name} are here, or on their way, already`)
    }
    const { upstream, location } = source
    const done = this.#write({ startBytes: positionBytes, endBytes, upstream, location }, bytes)
    const writing = { startBytes: positionBytes, endBytes, done }
    this.#writing.add(writing)
    try {
      await done
    } finally {
      this.#writing.delete(writing)
    }
  }

  async #write(extent: Extent, bytes: Uint8Array): Promise<void> {
    const before = this.receivedBytes
    try {
      await writeFully(this.#file, bytes, extent.startBytes)
    } catch (cause) {
      throw storeFailure(`cannot write ${this.#name}`, cause)
    }
    this.#place.extents.add(extent)
    // The worker measures whole chunks, and need not hear of less.
    if (Math.floor(this.receivedBytes / CHUNK_BYTES) > Math.floor(before / CHUNK_BYTES)) {
      this.#measuring?.grown(this.receivedBytes)
    }
    await this.#writeDown((journal) => journal.add(extent))
    await this.#syncWhenDue(bytes.length)
  }

  end(): void {
    if (!this.#expected.isOpenEnded) throw new Error(`end was called of ${this.#name}, whose size is promised`)
    const { digests } = this.#expected
    this.#expected = { sizeBytes: this.receivedBytes, digests, isOnce: true }
  }

  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    const hereBytes = this.#place.extents.endOfRunAt(positionBytes) - positionBytes
    return readPromised(this.#file, buffer.subarray(0, Math.min(buffer.length, hereBytes)), positionBytes, this.#name)
  }

  async verify(): Promise<void> {
    if (!this.#isWhole) {
      throw new MirrorError(
        'UPSTREAM_MISBEHAVED',
        `${this.#name} is shorter than the promised ${this.#promisedSize}: it ended after ${this.receivedBytes}`,
      )
    }
    const found = (await this.#measure())[this.#algorithm]
    if (this.#strongest && found !== this.#strongest.hex) await this.#refuse(this.#strongest, found)
  }

  async chunks(): Promise<readonly string[]> {
    this.#mustBeWhole('chunks')
    return (await this.#measure()).chunks
  }

  async digestNow(): Promise<string> {
    this.#mustBeWhole('digestNow')
    // Where the worker has not read along, a single digest is the fastest answer.
    if (this.#measuring || this.#measured) return (await this.#measure())[this.#algorithm]
    return await this.#owner.digest(this.#place.path, this.#algorithm, this.expected.sizeBytes)
  }

  async splice(positionBytes: number, bytes: Uint8Array, source: ByteSource): Promise<void> {
    this.#mustBeWhole('splice')
    if (this.#keeping || this.#discarding || this.#closing) {
      throw new Error('splice was called after keep, discard, suspend or close')
    }
    const { upstream, location } = source
    const extent = { startBytes: positionBytes, endBytes: positionBytes + bytes.length, upstream, location }
    if (positionBytes < 0 || extent.endBytes > this.expected.sizeBytes) {
      throw new Error(`bytes ${positionBytes} to ${extent.endBytes} are not inside of ${this.#name}`)
    }
    this.#measuring?.cancel()
    this.#measuring = undefined
    this.#measured = undefined
    try {
      await writeFully(this.#file, bytes, positionBytes)
    } catch (cause) {
      throw storeFailure(`cannot mend ${this.#name}`, cause)
    }
    this.#isRefused = false
    this.#place.extents.replace(extent)
    await this.#writeDown((journal) => journal.splice(extent))
    await this.#syncWhenDue(bytes.length)
  }

  keep(beforeNaming?: (sha256: string) => Promise<void>): Promise<Fingerprint> {
    if (this.#discarding || this.#closing) return Promise.reject(new Error('keep was called after discard or close'))
    this.#keeping ??= this.#keep(beforeNaming)
    return this.#keeping
  }

  async #keep(beforeNaming?: (sha256: string) => Promise<void>): Promise<Fingerprint> {
    await this.verify()
    try {
      const [measured] = await Promise.all([this.#measure(), this.#file.sync()])
      for (const digest of this.expected.digests) {
        if (measured[digest.algorithm] !== digest.hex) await this.#refuse(digest, measured[digest.algorithm])
      }
      const sizeBytes = this.expected.sizeBytes
      await beforeNaming?.(measured.sha256)
      const fingerprint = await this.#owner.admit(this.#place.path, { ...measured, sizeBytes }, () => {
        this.#isKept = true
      })
      await this.#syncing
      await this.#owner.clear(this.#place).catch((error: unknown) => {
        this.#owner.log.warn({ path: this.#place.path, err: error }, 'what is left of a kept download is in the way')
      })
      await this.#owner.onLeft(this.#place, false)
      return fingerprint
    } catch (cause) {
      throw storeFailure(`cannot keep ${this.#name}`, cause)
    }
  }

  async discard(): Promise<void> {
    // Whichever was asked for first is done first.
    await this.#keeping?.catch(() => {})
    if (this.#isKept) return
    this.#discarding ??= this.#discard()
    await this.#discarding
  }

  async #discard(): Promise<void> {
    this.#measuring?.cancel()
    await this.#syncing
    try {
      await this.#owner.drop(this.#place)
    } catch (cause) {
      throw storeFailure(`cannot discard ${this.#name}`, cause)
    } finally {
      await this.#owner.onLeft(this.#place, false)
    }
  }

  suspend(): Promise<void> {
    this.#closing ??= this.#close('suspend')
    return this.#closing
  }

  close(): Promise<void> {
    this.#closing ??= this.#close('discard')
    return this.#closing
  }

  async #close(what: 'suspend' | 'discard'): Promise<void> {
    const { journal, extents } = this.#place
    try {
      await Promise.allSettled([...this.#writing].map(({ done }) => done))
      await this.#keeping?.catch(() => {})
      await this.#syncing
      const isWanted = what === 'suspend' && journal && extents.totalBytes > 0 && !this.#isRefused
      // Whoever asked for a discard was told how it went.
      if (this.#discarding) await this.#discarding.catch(() => {})
      else if (isWanted && !this.#isKept) await this.#suspend()
      else await this.discard()
    } finally {
      await journal?.close()
      await this.#file.close()
      this.#owner.onClosed(this)
    }
  }

  async #suspend(): Promise<void> {
    this.#measuring?.cancel()
    try {
      await this.#owner.sync(this.#place)
    } catch (cause) {
      throw storeFailure(`cannot suspend ${this.#name}`, cause)
    } finally {
      await this.#owner.onLeft(this.#place, true)
    }
  }

  /**
   * One sync at a time, and none waited for unless the next is due already: so after a power cut as much is missing as
   * comes in two intervals, at most.
   */
  async #syncWhenDue(addedBytes: number): Promise<void> {
    this.#unsyncedBytes += addedBytes
    const now = this.#owner.now()
    const isDue = this.#unsyncedBytes >= this.#owner.syncIntervalBytes || now - this.#syncedMs >= SYNC_INTERVAL_MS
    if (!this.#place.journal || !isDue || this.#discarding) return
    this.#unsyncedBytes = 0
    this.#syncedMs = now
    const before = this.#syncing
    this.#syncing = before.then(() => this.#writeDown(() => this.#owner.sync(this.#place)))
    await before
  }

  /** Without a journal less can be resumed; that is no reason to fail whoever brings bytes. */
  async #writeDown(write: (journal: PartialJournal) => Promise<void>): Promise<void> {
    if (!this.#place.journal) return
    try {
      await write(this.#place.journal)
    } catch (error) {
      if (this.#hasComplained) return
      this.#hasComplained = true
      const facts = { path: this.#place.path, err: error }
      this.#owner.log.warn(facts, 'what has come of a download cannot be written down: a crash would cost it')
    }
  }

  #measure(): Promise<Measured> {
    if (!this.#measured) {
      this.#measuring ??= this.#owner.measure(this.#place.path)
      this.#measured = this.#measuring.finish(this.expected.sizeBytes)
    }
    return this.#measured
  }

  get #isWhole(): boolean {
    return !this.expected.isOpenEnded && this.receivedBytes === this.expected.sizeBytes
  }

  #mustBeWhole(what: string): void {
    if (!this.#isWhole) throw new Error(`${what} was called before all of ${this.#name} was here`)
  }

  async #refuse(expected: Digest, found: string): Promise<never> {
    this.#isRefused = true
    await this.#writeDown((journal) => journal.refuse())
    // The strongest digest is its name already.
    const promised = expected === this.#strongest ? 'what was promised' : `the promised ${formatDigest(expected)}`
    throw new MirrorError('UPSTREAM_MISBEHAVED', `${this.#name} differs from ${promised}: it has ${found}`)
  }

  get #algorithm(): DigestAlgorithm {
    return this.#strongest?.algorithm ?? 'sha256'
  }

  get #name(): string {
    return this.#strongest ? `blob ${formatDigest(this.#strongest)}` : 'blob without a promised digest'
  }

  get #promisedSize(): string {
    return `${this.expected.sizeBytes} bytes`
  }
}
