import { MirrorError } from '../../errors.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import { type BlobRef, type BlobStore, CHUNK_BYTES, type OpenBlob } from '../../store/blob-store.js'
import type { MirrorCounters } from '../counters.js'
import type { ReadChecks } from './read-checks.js'

export interface VerifiedBlobOptions {
  readonly blobs: Pick<BlobStore, 'isChunkGood'>
  readonly checks: ReadChecks
  readonly counters: MirrorCounters
  /** Told of a chunk that is not what was kept, before its reader is. */
  readonly onDamage: (sha256: string, chunkIndex: number) => void
}

/**
 * A blob whose chunks are compared with their hashes before a byte of them leaves, those that ReadChecks wants: then the
 * whole chunk is read, checked, and what was asked for is taken from it. Costs a reader CHUNK_BYTES of memory at most.
 */
export class VerifiedBlob implements OpenBlob {
  readonly #blob: OpenBlob
  readonly #options: VerifiedBlobOptions
  /** So that two readings at once need one buffer, and a chunk that both want is read once. */
  readonly #reading = new OneAtATime()
  #buffer: Buffer | undefined
  /** The chunk that is being read; its bytes if it was checked. */
  #current: { readonly index: number; readonly bytes: Buffer | undefined } | undefined

  /** Takes over `blob`, and closes it. */
  constructor(blob: OpenBlob, options: VerifiedBlobOptions) {
    this.#blob = blob
    this.#options = options
  }

  get ref(): BlobRef {
    return this.#blob.ref
  }

  get path(): string | undefined {
    return this.#blob.path
  }

  /**
   * As OpenBlob; at most up to the end of a chunk.
   * @throws MirrorError STORE_BROKEN also when the chunk is not what was kept.
   */
  read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    const index = Math.floor(positionBytes / CHUNK_BYTES)
    const offsetBytes = positionBytes - index * CHUNK_BYTES
    const wanted = buffer.subarray(0, CHUNK_BYTES - offsetBytes)
    return this.#reading.run(async () => {
      this.#current = this.#current?.index === index ? this.#current : { index, bytes: await this.#check(index) }
      const { bytes } = this.#current
      if (!bytes) return await this.#blob.read(wanted, positionBytes)
      return bytes.copy(wanted, 0, offsetBytes, offsetBytes + wanted.length)
    })
  }

  async close(): Promise<void> {
    this.#buffer = undefined
    this.#current = undefined
    await this.#blob.close()
  }

  /** The bytes of a chunk that is good; `undefined` for one that need not be looked at. */
  async #check(index: number): Promise<Buffer | undefined> {
    const { blobs, checks, counters, onDamage } = this.#options
    const { sha256, sizeBytes } = this.ref
    const startBytes = index * CHUNK_BYTES
    if (startBytes >= sizeBytes || !checks.wants(sha256, index)) return undefined
    // What was in the buffer is no longer, whatever becomes of this.
    this.#current = undefined
    this.#buffer ??= Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, sizeBytes))
    const chunk = this.#buffer.subarray(0, Math.min(CHUNK_BYTES, sizeBytes - startBytes))
    for (let filledBytes = 0; filledBytes < chunk.length; ) {
      const readBytes = await this.#blob.read(chunk.subarray(filledBytes), startBytes + filledBytes)
      if (readBytes === 0) throw new MirrorError('STORE_BROKEN', `blob ${sha256} ends within chunk ${index}`)
      filledBytes += readBytes
    }
    if (await blobs.isChunkGood(sha256, index, chunk)) {
      counters.readChecked('good')
      checks.passed(sha256, index, Math.ceil(sizeBytes / CHUNK_BYTES))
      return chunk
    }
    counters.readChecked('bad')
    onDamage(sha256, index)
    throw new MirrorError('STORE_BROKEN', `chunk ${index} of blob ${sha256} is not what was kept`)
  }
}
