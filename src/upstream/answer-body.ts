import { Readable } from 'node:stream'

/**
 * The body of an answer, as everybody but the HTTP client sees it: it fails with failures that have a name, and tells
 * when its connection is no longer needed, however it ended.
 */
export class AnswerBody extends Readable {
  readonly #source: Readable
  readonly #onClose: () => void

  /** @param explain turns what `source` fails with into what we fail with. */
  constructor(source: Readable, explain: (cause: unknown) => Error, onClose: () => void) {
    super({ highWaterMark: 64 * 1024 })
    this.#source = source
    this.#onClose = onClose
    source.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) source.pause()
    })
    source.on('end', () => this.push(null))
    source.on('error', (cause) => this.destroy(explain(cause)))
    source.on('close', () => {
      if (!source.readableEnded) this.destroy(explain(source.errored ?? new Error('the connection was cut')))
    })
    source.pause()
    // A failure before the reader has attached would otherwise end the process; the reader still gets it.
    this.on('error', () => {})
  }

  override _read(): void {
    this.#source.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#source.destroy()
    this.#onClose()
    callback(error)
  }
}
