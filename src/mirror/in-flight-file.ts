import { createHash } from 'node:crypto'
import { isMirrorError, MirrorError } from '../errors.js'
import { formatDigest, strongestDigest } from '../images/digest.js'
import type { BlobStore, ByteSource, ExpectedBlob, Extent, Fingerprint, PartialBlob } from '../store/blob-store.js'
import { type Follower, PassingWindow } from './passing-window.js'
import { RecentBytes } from './recent-bytes.js'

/** Frees room in the store if it can; answers whether so many bytes fit now. */
export type MakeRoom = (bytes: number) => Promise<boolean>

export interface InFlightFileOptions {
  readonly expected: ExpectedBlob
  readonly blobs: Pick<BlobStore, 'receive'>
  readonly makeRoom: MakeRoom
  /** Do not even try to keep it. */
  readonly mustPass: boolean
  /** Whoever reads the file while it is in flight. */
  readonly followers: ReadonlySet<Follower>
  readonly signal: AbortSignal
}

/** Read again in pieces of this size, to take the digest of what is on disk along. */
const REHASH_BYTES = 1024 * 1024

/**
 * The bytes of a flight. They go to the disk, as long as it has room. If it has none, not even after others were let go,
 * they pass through memory from there on, at the pace of the slowest reader, and are verified and forgotten: a full
 * disk costs us the copy, and nobody the file.
 */
export class InFlightFile {
  readonly #options: InFlightFileOptions
  readonly #partial: PartialBlob | undefined
  readonly #recent = new RecentBytes()
  #passing: Passing | undefined

  static async open(options: InFlightFileOptions): Promise<InFlightFile> {
    const { blobs, expected, mustPass } = options
    try {
      if (mustPass) throw new MirrorError('STORE_FULL', 'this file passes by already')
      return new InFlightFile(options, await blobs.receive(expected))
    } catch (error) {
      if (!isMirrorError(error, 'STORE_FULL')) throw error
      const file = new InFlightFile(options, undefined)
      await file.#beginPassing()
      return file
    }
  }

  private constructor(options: InFlightFileOptions, partial: PartialBlob | undefined) {
    this.#options = options
    this.#partial = partial
  }

  get sizeBytes(): number {
    return this.#options.expected.sizeBytes
  }

  /** Bytes from the start without a gap. */
  get receivedBytes(): number {
    return this.#passing?.window.endBytes ?? this.#partial?.receivedBytes ?? 0
  }

  /** What is here, or has passed by, in order. */
  get extents(): readonly Extent[] {
    const written = this.#partial?.extents ?? []
    if (!this.#passing) return written
    const { startBytes, window } = this.#passing
    const kept = written.filter((extent) => extent.endBytes <= startBytes)
    return [...kept, { startBytes, endBytes: window.endBytes, upstream: '', location: '' }]
  }

  /** Whether the bytes pass through memory and will not be kept. */
  get isPassing(): boolean {
    return this.#passing !== undefined
  }

  /** Whether a reader may still begin at the file's first byte. */
  get isWhole(): boolean {
    return !this.#passing || this.#passing.window.startBytes === this.#passing.startBytes
  }

  /**
   * Takes bytes in, which nobody may change from then on. When the disk refuses for want of room: frees some, or lets the rest pass.
   * @throws MirrorError STORE_FULL when they can neither be kept nor passed to anybody.
   */
  async write(positionBytes: number, bytes: Uint8Array, source: ByteSource): Promise<void> {
    if (!this.#passing) {
      try {
        await this.#keepBytes(positionBytes, bytes, source)
        return
      } catch (error) {
        if (!isMirrorError(error, 'STORE_FULL')) throw error
        if (await this.#options.makeRoom(bytes.length)) {
          await this.#keepBytes(positionBytes, bytes, source)
          return
        }
        await this.#beginPassing()
      }
    }
    await this.#pass(positionBytes, bytes)
  }

  /** Fills `buffer` with bytes that are here. */
  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    const passing = this.#passing
    if (!passing || positionBytes < passing.startBytes) {
      const wanted = passing ? Math.min(buffer.length, passing.startBytes - positionBytes) : buffer.length
      const recentBytes = this.#recent.read(buffer.subarray(0, wanted), positionBytes)
      if (recentBytes > 0) return recentBytes
      return await this.#partial!.read(buffer.subarray(0, wanted), positionBytes)
    }
    const length = passing.window.read(buffer, positionBytes)
    if (length > 0) return length
    throw new MirrorError('STORE_FULL', 'there was no room to keep this file, and this part of it has passed')
  }

  async #keepBytes(positionBytes: number, bytes: Uint8Array, source: ByteSource): Promise<void> {
    await this.#partial!.write(positionBytes, bytes, source)
    this.#recent.add(positionBytes, bytes)
  }

  /** @throws MirrorError UPSTREAM_MISBEHAVED when size or strongest digest are not the expected ones. */
  async verify(): Promise<void> {
    // What leaves from now on is what was read to verify it.
    this.#recent.forget()
    if (!this.#passing) return await this.#partial!.verify()
    const strongest = strongestDigest(this.#options.expected.digests)
    const found = this.#passing.hash?.digest('hex')
    if (!strongest || found === strongest.hex) return
    throw new MirrorError(
      'UPSTREAM_MISBEHAVED',
      `blob ${formatDigest(strongest)} differs from what was promised: it has ${found}`,
    )
  }

  /** The partial, for mending; not of a file that passes by. */
  get partial(): PartialBlob | undefined {
    return this.#passing ? undefined : this.#partial
  }

  /** Answers `undefined` for a file that passed by. */
  async keep(beforeNaming?: (sha256: string) => Promise<void>): Promise<Fingerprint | undefined> {
    if (!this.#passing) return await this.#partial!.keep(beforeNaming)
    await this.#partial?.discard()
    return undefined
  }

  followersMoved(): void {
    this.#passing?.window.followersMoved()
  }

  /** Forgets what was received. */
  async discard(): Promise<void> {
    await this.#partial?.discard()
  }

  /** Leaves what was received for another flight. */
  async suspend(): Promise<void> {
    await (this.#passing ? this.#partial?.close() : this.#partial?.suspend())
  }

  async close(): Promise<void> {
    await this.#partial?.close()
  }

  async #beginPassing(): Promise<void> {
    const { expected, followers, signal } = this.#options
    const startBytes = this.#partial?.receivedBytes ?? 0
    const strongest = strongestDigest(expected.digests)
    const hash = strongest && createHash(strongest.algorithm)
    const buffer = Buffer.allocUnsafe(REHASH_BYTES)
    for (let position = 0; hash && position < startBytes; ) {
      signal.throwIfAborted()
      const wanted = Math.min(buffer.length, startBytes - position)
      const length = await this.#partial!.read(buffer.subarray(0, wanted), position)
      hash.update(buffer.subarray(0, length))
      position += length
    }
    this.#passing ??= { startBytes, window: new PassingWindow(startBytes, followers), hash }
  }

  /** In order only: a byte that is ahead of its turn has nowhere to wait. */
  async #pass(positionBytes: number, bytes: Uint8Array): Promise<void> {
    const { window, hash } = this.#passing!
    if (positionBytes !== window.endBytes)
      throw new MirrorError('STORE_FULL', 'no room to keep bytes that came out of turn')
    if (positionBytes + bytes.length > this.sizeBytes) {
      throw new MirrorError('UPSTREAM_MISBEHAVED', `more bytes came than the promised ${this.sizeBytes}`)
    }
    hash?.update(bytes)
    await window.append(bytes, this.#options.signal)
  }
}

interface Passing {
  /** What is before this is on disk. */
  readonly startBytes: number
  readonly window: PassingWindow
  readonly hash: ReturnType<typeof createHash> | undefined
}
