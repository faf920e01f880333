import { OneAtATime } from '../../parts/one-at-a-time.js'
import { type BlobRef, CHUNK_BYTES, type OpenBlob } from '../../store/blob-store.js'
import { type ChunkChecks, readCheckedChunk } from './checked-chunk.js'

/**
 * A blob whose chunks are compared with their hashes before a byte of them leaves, those that ReadChecks wants: then the
 * whole chunk is read, checked, and what was asked for is taken from it. Costs a reader CHUNK_BYTES of memory at most.
 */
export class VerifiedBlob implements OpenBlob {
  readonly #blob: OpenBlob
  readonly #options: ChunkChecks
  /** So that two readings at once need one buffer, and a chunk that both want is read once. */
  readonly #reading = new OneAtATime()
  #buffer: Buffer | undefined
  /** The chunk that is being read; its bytes if it was checked. */
  #current: { readonly index: number; readonly bytes: Buffer | undefined } | undefined

  /** Takes over `blob`, and closes it. */
  constructor(blob: OpenBlob, options: ChunkChecks) {
    this.#blob = blob
    this.#options = options
  }

  get ref(): BlobRef {
    return this.#blob.ref
  }

  get isDamaged(): boolean {
    return this.#blob.isDamaged
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
    const { sha256, sizeBytes } = this.ref
    if (index * CHUNK_BYTES >= sizeBytes || !this.#options.checks.wants(sha256, index)) return undefined
    // What was in the buffer is no longer, whatever becomes of this.
    this.#current = undefined
    this.#buffer ??= Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, sizeBytes))
    return await readCheckedChunk(this.#blob, index, this.#buffer, this.#options)
  }
}
