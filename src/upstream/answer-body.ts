import { Readable } from 'node:stream'

export interface AnswerBodyOptions {
  /** Turns what the source fails with into what we fail with. */
  readonly explain: (cause: unknown) => Error
  /** Answers when bytes that came may be handed on; `undefined` for now. What it rejects with is what we fail with. */
  readonly pay: (bytes: number, signal: AbortSignal) => Promise<void> | undefined
  readonly onClose: () => void
}

/**
 * The body of an answer, as everybody but the HTTP client sees it: it keeps to the rate, fails with failures that have a
 * name, and tells when its connection is no longer needed, however it ended.
 */
export class AnswerBody extends Readable {
  readonly #source: Readable
  readonly #options: AnswerBodyOptions
  readonly #gone = new AbortController()
  #isPaying = false
  /** Somebody wants more than was pushed. */
  #isWanted = false
  /** The source has ended, perhaps before its last bytes are paid for. */
  #hasEnded = false

  constructor(source: Readable, options: AnswerBodyOptions) {
    super({ highWaterMark: 64 * 1024 })
    this.#source = source
    this.#options = options
    source.on('data', (chunk: Buffer) => this.#receive(chunk))
    source.on('end', () => this.#end())
    source.on('error', (cause) => this.destroy(options.explain(cause)))
    source.on('close', () => {
      if (source.readableEnded) return
      this.destroy(options.explain(source.errored ?? new Error('the connection was cut')))
    })
    source.pause()
    // A failure before the reader has attached would otherwise end the process; the reader still gets it.
    this.on('error', () => {})
  }

  override _read(): void {
    this.#isWanted = true
    if (!this.#isPaying) this.#source.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#gone.abort()
    this.#source.destroy()
    this.#options.onClose()
    callback(error)
  }

  #receive(chunk: Buffer): void {
    const paid = this.#options.pay(chunk.length, this.#gone.signal)
    if (!paid) {
      this.#handOn(chunk)
      return
    }
    this.#isPaying = true
    this.#source.pause()
    paid.then(
      () => {
        this.#isPaying = false
        this.#handOn(chunk)
        if (this.#hasEnded) this.push(null)
        else if (this.#isWanted) this.#source.resume()
      },
      (error: Error) => this.destroy(error),
    )
  }

  #handOn(chunk: Buffer): void {
    this.#isWanted = this.push(chunk)
    if (!this.#isWanted) this.#source.pause()
  }

  #end(): void {
    this.#hasEnded = true
    if (!this.#isPaying) this.push(null)
  }
}
