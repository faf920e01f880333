import { LRUCache } from 'lru-cache'

const SHA256_BYTES = 32
/** The chunk hashes of 2 TiB of blobs. */
const LIMIT_BYTES = 64 * 1024 * 1024

/** The chunk hashes of blobs that are being read, packed; of more than the limit, those used last. */
export class ChunkHashes {
  readonly #cache = new LRUCache<string, Buffer>({
    maxSize: LIMIT_BYTES,
    sizeCalculation: (hashes) => hashes.length + 1,
  })

  has(sha256: string): boolean {
    return this.#cache.has(sha256)
  }

  set(sha256: string, chunks: readonly string[]): void {
    this.#cache.set(sha256, Buffer.from(chunks.join(''), 'hex'))
  }

  /** The hash of one chunk; `undefined` for a blob that is not in here, and for a chunk it does not have. */
  get(sha256: string, chunkIndex: number): Buffer | undefined {
    const start = chunkIndex * SHA256_BYTES
    const hash = this.#cache.get(sha256)?.subarray(start, start + SHA256_BYTES)
    return hash?.length === SHA256_BYTES ? hash : undefined
  }

  delete(sha256: string): void {
    this.#cache.delete(sha256)
  }
}
