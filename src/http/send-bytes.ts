import type { ServerResponse } from 'node:http'
import type { Context } from './every-request.js'
import { stampResponseTime } from './every-request.js'

/**
 * Sends a body of exactly `sizeBytes`, at the client's pace: one chunk beyond what the connection buffers is asked for,
 * and no more. Headers and status must be set; `Content-Length` is set here. Resolves when the last byte is handed to
 * the connection. `chunks` is ended in every case.
 *
 * @param onSent told of each chunk when the system has taken all of it, and we are through with it.
 *
 * @throws what `chunks` fails with, an Error when it gives fewer or more bytes than promised, or the reason of the
 *   client's departure. Then the response has not been ended, and whoever catches it must break the connection.
 */
export async function sendBytes(
  context: Context,
  sizeBytes: number,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  onSent?: (chunk: Uint8Array) => void,
): Promise<void> {
  const { res, state } = context
  const { departed } = state
  context.respond = false
  context.length = sizeBytes
  stampResponseTime(context)
  res.flushHeaders()
  const drain = new Drain(res, departed)
  try {
    for await (const chunk of chunks) {
      departed.throwIfAborted()
      if (chunk.length > sizeBytes - state.sentBytes) throw new Error(`a body is longer than its ${sizeBytes} bytes`)
      state.sentBytes += chunk.length
      // One whose writing failed may still be in the hands of the connection.
      const written = onSent && ((error?: Error | null) => !error && onSent(chunk))
      if (!res.write(chunk, written)) await drain.next()
    }
  } finally {
    drain.forget()
  }
  if (state.sentBytes < sizeBytes) {
    throw new Error(`a body ended after ${state.sentBytes} of ${sizeBytes} bytes`)
  }
  res.end()
}

/** When a connection takes more, again and again: `events.once` with a signal costs as much as writing a small chunk. */
class Drain {
  readonly #res: ServerResponse
  readonly #departed: AbortSignal
  #waiting: { readonly resolve: () => void; readonly reject: (reason: unknown) => void } | undefined
  readonly #wake = () => this.#waiting?.resolve()
  readonly #leave = () => this.#waiting?.reject(this.#departed.reason)

  constructor(res: ServerResponse, departed: AbortSignal) {
    this.#res = res
    this.#departed = departed
    res.on('drain', this.#wake)
    departed.addEventListener('abort', this.#leave)
  }

  /** To be asked at once behind a write that said that it was enough. @throws the reason of the client's departure. */
  next(): Promise<void> {
    this.#departed.throwIfAborted()
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }

  forget(): void {
    this.#res.off('drain', this.#wake)
    this.#departed.removeEventListener('abort', this.#leave)
  }
}
