import { createHash } from 'node:crypto'
import { MirrorError } from '../errors.js'
import { type Digest, formatDigest, strongestDigest } from '../images/digest.js'
import { CHUNK_BYTES, type ExpectedBlob, type Fingerprint, type PartialBlob } from './blob-store.js'
import type { OpenedFile } from './file-system.js'
import type { Measured, Measuring } from './hash-pool.js'
import { storeFailure } from './store-failure.js'
import { readFully, writeFully } from './whole-files.js'

/** What a partial needs of the store it belongs to. */
export interface PartialOwner {
  /** Gives the synced file at `path` its name, or drops it for the one that is already kept. */
  admit(path: string, measured: Measured & { readonly sizeBytes: number }): Promise<Fingerprint>
  remove(path: string): Promise<void>
  /** It is closed, and has let go of all it held. */
  onClosed(partial: DiskPartialBlob): void
}

/**
 * A blob on its way in, as a file in `partial/`. The strongest expected digest is taken as the bytes pass, because it
 * must be known with the last of them; a worker reads the file behind us and takes all of them once more. So what gets
 * a name is what was read back from the file, and not what we believe to have written.
 */
export class DiskPartialBlob implements PartialBlob {
  readonly expected: ExpectedBlob
  readonly #path: string
  readonly #file: OpenedFile
  readonly #measuring: Measuring
  readonly #owner: PartialOwner
  readonly #strongest: Digest | undefined
  readonly #hash
  #receivedBytes = 0
  /** The hash of what was appended, once `verify` has taken it; no more can be appended then. */
  #found: string | undefined
  #appending: Promise<void> | undefined
  #keeping: Promise<Fingerprint> | undefined
  #isKept = false
  #isDiscarded = false
  #closing: Promise<void> | undefined

  constructor(expected: ExpectedBlob, path: string, file: OpenedFile, measuring: Measuring, owner: PartialOwner) {
    this.expected = expected
    this.#path = path
    this.#file = file
    this.#measuring = measuring
    this.#owner = owner
    this.#strongest = strongestDigest(expected.digests)
    this.#hash = this.#strongest && createHash(this.#strongest.algorithm)
  }

  get receivedBytes(): number {
    return this.#receivedBytes
  }

  /** Bytes it will still want of the disk. */
  get awaitedBytes(): number {
    return this.#isDiscarded || this.#isKept ? 0 : this.expected.sizeBytes - this.#receivedBytes
  }

  async append(bytes: Uint8Array): Promise<void> {
    if (this.#appending) throw new Error('append was called before the one before it had ended')
    if (this.#keeping || this.#isDiscarded || this.#closing || this.#found !== undefined) {
      throw new Error('append was called after verify, keep, discard or close')
    }
    if (bytes.length > this.awaitedBytes) {
      throw new MirrorError('UPSTREAM_MISBEHAVED', `${this.#name} is longer than the promised ${this.#promisedSize}`)
    }
    this.#appending = this.#append(bytes)
    try {
      await this.#appending
    } finally {
      this.#appending = undefined
    }
  }

  async #append(bytes: Uint8Array): Promise<void> {
    try {
      await writeFully(this.#file, bytes, this.#receivedBytes)
    } catch (cause) {
      throw storeFailure(`cannot write ${this.#name}`, cause)
    }
    this.#hash?.update(bytes)
    const chunksBefore = Math.floor(this.#receivedBytes / CHUNK_BYTES)
    this.#receivedBytes += bytes.length
    // The worker measures whole chunks, and need not hear of less.
    if (Math.floor(this.#receivedBytes / CHUNK_BYTES) > chunksBefore) this.#measuring.grown(this.#receivedBytes)
  }

  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    const wanted = buffer.subarray(0, Math.max(0, Math.min(buffer.length, this.#receivedBytes - positionBytes)))
    return readPromised(this.#file, wanted, positionBytes, this.#name)
  }

  async verify(): Promise<void> {
    if (this.#receivedBytes < this.expected.sizeBytes) {
      throw new MirrorError(
        'UPSTREAM_MISBEHAVED',
        `${this.#name} is shorter than the promised ${this.#promisedSize}: it ended after ${this.#receivedBytes}`,
      )
    }
    this.#found ??= this.#hash?.digest('hex') ?? ''
    if (this.#strongest && this.#found !== this.#strongest.hex) this.#refuse(this.#strongest, this.#found)
  }

  keep(): Promise<Fingerprint> {
    if (this.#isDiscarded || this.#closing) return Promise.reject(new Error('keep was called after discard or close'))
    this.#keeping ??= this.#keep()
    return this.#keeping
  }

  async #keep(): Promise<Fingerprint> {
    await this.verify()
    try {
      const [measured] = await Promise.all([this.#measuring.finish(this.#receivedBytes), this.#file.sync()])
      if (this.#strongest && measured[this.#strongest.algorithm] !== this.#found) {
        throw new MirrorError('STORE_BROKEN', `${this.#name} reads back from the disk differently than it was written`)
      }
      for (const digest of this.expected.digests) {
        if (measured[digest.algorithm] !== digest.hex) this.#refuse(digest, measured[digest.algorithm])
      }
      const fingerprint = await this.#owner.admit(this.#path, { ...measured, sizeBytes: this.#receivedBytes })
      this.#isKept = true
      return fingerprint
    } catch (cause) {
      throw storeFailure(`cannot keep ${this.#name}`, cause)
    }
  }

  async discard(): Promise<void> {
    // Whichever was asked for first is done first.
    await this.#keeping?.catch(() => {})
    if (this.#isKept || this.#isDiscarded) return
    this.#isDiscarded = true
    this.#measuring.cancel()
    try {
      await this.#owner.remove(this.#path)
    } catch (cause) {
      throw storeFailure(`cannot discard ${this.#name}`, cause)
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    try {
      await this.#appending?.catch(() => {})
      await this.discard()
    } finally {
      await this.#file.close()
      this.#owner.onClosed(this)
    }
  }

  #refuse(expected: Digest, found: string): never {
    const promised = formatDigest(expected)
    throw new MirrorError('UPSTREAM_MISBEHAVED', `${this.#name} differs from the promised ${promised}: it has ${found}`)
  }

  get #name(): string {
    return this.#strongest ? `blob ${formatDigest(this.#strongest)}` : 'blob without a promised digest'
  }

  get #promisedSize(): string {
    return `${this.expected.sizeBytes} bytes`
  }
}

/** Fills `wanted`, which must be there. @throws MirrorError STORE_BROKEN when it is not. */
export async function readPromised(
  file: OpenedFile,
  wanted: Uint8Array,
  positionBytes: number,
  name: string,
): Promise<number> {
  let readBytes: number
  try {
    readBytes = await readFully(file, wanted, positionBytes)
  } catch (cause) {
    throw storeFailure(`cannot read ${name}`, cause)
  }
  if (readBytes === wanted.length) return readBytes
  throw new MirrorError('STORE_BROKEN', `${name} ends on the disk after ${positionBytes + readBytes} bytes, too early`)
}
