import type { Readable } from 'node:stream'
import { type Deferred, deferred } from '../parts/deferred.js'

/**
 * What comes of a stream, in batches: all that has come while whoever takes them was busy. The chunks of a batch are the
 * stream's own, since one copy of each into fresh memory, as a stream makes it that is read late, has the garbage collector
 * run through everything every few MiB.
 *
 * The stream is ended by whoever opened it.
 *
 * @param limitBytes a batch is this large at most, and a chunk more; the stream waits then.
 * @throws what the stream fails with, when all that came before is taken; an Error when it closes before its end.
 */
export async function* batchesOf(
  body: Readable,
  limitBytes: number,
): AsyncGenerator<readonly Buffer[], void, undefined> {
  let batch: Buffer[] = []
  let batchBytes = 0
  let hasEnded = false
  let failure: { readonly error: unknown } | undefined
  let changed: Deferred<void> = deferred()
  const onData = (chunk: Buffer) => {
    batch.push(chunk)
    batchBytes += chunk.length
    if (batchBytes >= limitBytes) body.pause()
    changed.resolve()
  }
  const onEnd = () => {
    hasEnded = true
    changed.resolve()
  }
  const onError = (error: unknown) => {
    failure ??= { error }
    changed.resolve()
  }
  const onClose = () => {
    if (!hasEnded) onError(new Error('the stream was closed before its end'))
  }
  body.on('end', onEnd).on('error', onError).on('close', onClose).on('data', onData)
  body.resume()
  try {
    if (body.destroyed) onError(body.errored ?? new Error('the stream was closed already'))
    for (;;) {
      if (batch.length > 0) {
        const taken = batch
        batch = []
        batchBytes = 0
        body.resume()
        yield taken
      } else if (failure) throw failure.error
      else if (hasEnded) return
      else {
        changed = deferred()
        await changed.promise
      }
    }
  } finally {
    // 'error' stays: nobody else may be listening by the time it comes.
    body.off('end', onEnd).off('close', onClose).off('data', onData)
  }
}
