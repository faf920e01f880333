import { hasCode } from '../errors.js'
import type { DigestAlgorithm } from '../images/digest.js'
import { pause } from '../parts/pause.js'
import { CHUNK_BYTES, type ExamineOptions } from './blob-store.js'
import type { HashPool } from './hash-pool.js'

export interface ChunkReading extends Omit<ExamineOptions, 'fromChunk'> {
  readonly path: string
  readonly sizeBytes: number
  readonly fromChunk: number
  readonly digests: readonly DigestAlgorithm[]
}

export interface ReadChunks {
  /** By index; `undefined` for one that could not be read, and for those before the first that was asked for. */
  readonly hashes: (string | undefined)[]
  /** Of the whole file; `undefined` when not all of it was read, or could be. */
  readonly digests: Partial<Record<DigestAlgorithm, string>> | undefined
}

/** A disk that gives an error for some bytes may well have the rest. */
const UNREADABLE = ['EIO', 'EUCLEAN', 'EBADMSG', 'EILSEQ']

/**
 * Reads a file in a worker thread, chunk by chunk, no faster than it is told, and answers the hashes of its chunks.
 * @throws the signal's reason, and what the disk says when it refuses more than some of the bytes.
 */
export async function readChunks(pool: Pick<HashPool, 'read'>, reading: ChunkReading): Promise<ReadChunks> {
  const { fromChunk, sizeBytes, signal, onChunk } = reading
  const chunkCount = Math.ceil(sizeBytes / CHUNK_BYTES)
  const hashes: (string | undefined)[] = new Array(chunkCount).fill(undefined)
  const pace = new Pace(reading.bytesPerSecond)
  for (let next = fromChunk; ; next++) {
    const start = next
    const take = (sha256: string) => {
      hashes[next] = sha256
      onChunk?.(next)
      next++
    }
    try {
      const result = await readOn(pool, reading, start, pace, take)
      return { hashes, digests: start === 0 ? result.digests : undefined }
    } catch (error) {
      signal.throwIfAborted()
      const isUnreadable = error instanceof Error && hasCode(error.cause, ...UNREADABLE)
      if (!isUnreadable || next >= chunkCount) throw error
      onChunk?.(next)
    }
  }
}

async function readOn(
  pool: Pick<HashPool, 'read'>,
  { path, sizeBytes, digests, signal }: ChunkReading,
  startChunk: number,
  pace: Pace,
  take: (sha256: string) => void,
) {
  signal.throwIfAborted()
  let read: () => void = () => {}
  const onChunk = (sha256: string) => {
    take(sha256)
    read()
  }
  const startBytes = startChunk * CHUNK_BYTES
  // Digests of an end alone are of no use to anybody.
  const reading = pool.read(path, { startBytes, digests: startChunk === 0 ? digests : [], onChunk })
  const onAbort = () => reading.cancel()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const ended = reading.failed
    for (let endBytes = startBytes + CHUNK_BYTES; endBytes < sizeBytes; endBytes += CHUNK_BYTES) {
      await pace.wait(CHUNK_BYTES, signal)
      const chunk = new Promise<void>((resolve) => {
        read = resolve
      })
      reading.grown(endBytes)
      await Promise.race([chunk, ended])
    }
    await pace.wait(sizeBytes % CHUNK_BYTES || CHUNK_BYTES, signal)
    return await reading.finish(sizeBytes)
  } finally {
    signal.removeEventListener('abort', onAbort)
    reading.cancel()
  }
}

/** So many bytes a second, evenly; what a slow disk left unused is not made up for. */
class Pace {
  readonly #bytesPerSecond: number
  #nextMs = 0

  constructor(bytesPerSecond = Number.POSITIVE_INFINITY) {
    this.#bytesPerSecond = bytesPerSecond
  }

  async wait(bytes: number, signal: AbortSignal): Promise<void> {
    const now = performance.now()
    const waitMs = this.#nextMs - now
    this.#nextMs = Math.max(this.#nextMs, now) + (bytes / this.#bytesPerSecond) * 1000
    if (waitMs > 0) await pause(waitMs, signal)
  }
}
