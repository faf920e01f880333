import { Worker } from 'node:worker_threads'
import { type Deferred, deferred } from './deferred.js'
import type { UnpackAnswer, UnpackRequest } from './zstd-to-gzip-worker.js'

export interface ZstdToGzipOptions {
  /** What unpacks to more is refused, before much more of it was unpacked. */
  readonly maxUnpackedBytes: number
  readonly signal: AbortSignal
}

/** What was between the one and the other. */
export interface Unpacked {
  readonly unpackedBytes: number
  /** Lower-case hex. */
  readonly unpackedSha256: string
}

/** The bytes are not what they should be: other bytes are needed, and trying again would not help. */
export class UnpackError extends Error {
  override readonly name = 'UnpackError'
}

/**
 * Makes gzip of zstd, in a worker thread. Takes what the formats allow: several frames, and skippable ones, which
 * `zstd:chunked` has; windows up to 32 MiB. The same bytes become the same bytes, as long as it is the same zlib.
 *
 * Checksums of frames are not looked at: compare `unpackedSha256` with what was promised.
 *
 * @param source read one piece after the other; the caller ends what it comes from.
 * @param write is waited for: that is the backpressure. About 32 MiB are in memory at most, and zstd's window.
 * @throws UnpackError for what is not zstd, is damaged or cut, or too large; the signal's reason; what `source` and `write`
 *   fail with.
 */
export async function zstdToGzip(
  source: AsyncIterable<Uint8Array>,
  write: (bytes: Buffer) => Promise<void>,
  { maxUnpackedBytes, signal }: ZstdToGzipOptions,
): Promise<Unpacked> {
  signal.throwIfAborted()
  const result: Deferred<Unpacked> = deferred()
  const pieces = source[Symbol.asyncIterator]()
  // Without the options and loaders this process was started with: the worker needs none, and some would stop it.
  const worker = new Worker(new URL('./zstd-to-gzip-worker.js', import.meta.url), {
    execArgv: [],
    workerData: { maxUnpackedBytes },
  })
  const ask = (request: UnpackRequest) => worker.postMessage(request)
  const take = async (answer: UnpackAnswer): Promise<void> => {
    if (answer.kind === 'more') {
      const { done, value } = await pieces.next()
      ask({ kind: 'packed', bytes: done ? undefined : value })
    } else if (answer.kind === 'bytes') {
      await write(Buffer.from(answer.bytes.buffer, answer.bytes.byteOffset, answer.bytes.length))
      ask({ kind: 'taken' })
    } else if (answer.kind === 'failed') {
      throw new UnpackError(answer.message)
    } else {
      result.resolve({ unpackedBytes: answer.unpackedBytes, unpackedSha256: answer.unpackedSha256 })
    }
  }
  const onAbort = () => result.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  let isBusy: Promise<void> = Promise.resolve()
  worker.on('message', (answer: UnpackAnswer) => {
    isBusy = take(answer).catch(result.reject)
  })
  worker.on('error', result.reject)
  // What it said last is still being taken in.
  worker.on('exit', () => void isBusy.then(() => result.reject(new Error('the thread that unpacks zstd has ended'))))
  try {
    return await result.promise
  } finally {
    signal.removeEventListener('abort', onAbort)
    await worker.terminate()
    // What was being written is no longer under way when the caller goes on.
    await isBusy
    await pieces.return?.()
  }
}
