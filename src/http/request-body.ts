import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { Refusal } from './answers.js'

/**
 * The most we read of a body that nobody takes. We answer at once and read on behind the answer, since closing on
 * unread bytes may reset the connection before the client has read why; one that sends more than this is cut.
 */
export const DISCARD_LIMIT_BYTES = 64 * 1024 * 1024

export interface BodyBounds {
  /** How long a body may take that nobody asked for, while its request is being answered. */
  readonly unaskedLimitMs: number
  /** How long we read on behind an answer that was given before the body was read. */
  readonly lingerMs: number
  /**
   * Of a body that is taken, at least `paceBytes` must come in every `paceMs` in which we were ready to read them: less
   * than any line that could ever finish a file, more than a client who only wants to hold on to us.
   */
  readonly paceMs: number
  readonly paceBytes: number
}

/** A KiB per second: 20 GiB would take eight months, and may. */
export const DEFAULT_BODY_BOUNDS: BodyBounds = {
  unaskedLimitMs: 60_000,
  lingerMs: 5_000,
  paceMs: 60_000,
  paceBytes: 64 * 1024,
}

/**
 * The body of one request: taken by the endpoint that wants it, or thrown away. Exactly one of the two happens, and
 * whoever waits for leave to send it (`Expect: 100-continue`) gets it only when the first byte of it is wanted.
 */
export class RequestBody {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #bounds: BodyBounds
  #isTaken = false
  #isAskedFor = false
  #isDiscarded = false

  constructor(req: IncomingMessage, res: ServerResponse, bounds: BodyBounds = DEFAULT_BODY_BOUNDS) {
    this.#req = req
    this.#res = res
    this.#bounds = bounds
  }

  /** Whether there is none, by its headers. */
  get isEmpty(): boolean {
    const { headers } = this.#req
    const declared = headers['content-length']
    return headers['transfer-encoding'] === undefined && (declared === undefined || declared === '0')
  }

  /** By Content-Length; `undefined` for a body in chunks. */
  get sizeBytes(): number | undefined {
    const { headers } = this.#req
    if (headers['transfer-encoding'] !== undefined) return undefined
    return Number(headers['content-length'] ?? 0)
  }

  /** Whether some of it has yet to come over the line. */
  get isUnderWay(): boolean {
    return !this.isEmpty && !this.#req.complete && !this.#req.destroyed
  }

  /** Whether its sender waits for our leave, which was not given. */
  get isWaitedFor(): boolean {
    return this.isUnderWay && /^100-continue$/i.test(this.#req.headers.expect ?? '') && !this.#isAskedFor
  }

  /**
   * The bytes, at the reader's pace; the caller reads them out or destroys the stream, which leaves the connection
   * whole, so that the request can still be answered. Only once.
   *
   * Fails with an Error when the client leaves in the middle, and with a Refusal 408 when it stalls.
   */
  take(): Readable {
    if (this.#isTaken || this.#isDiscarded) throw new Error('a request has only one body')
    this.#isTaken = true
    const body = new TakenBody(this.#req, this.#bounds, () => {
      if (this.isWaitedFor) this.#res.writeContinue()
      this.#isAskedFor = true
    })
    // It may fail before anybody reads it; whoever does then, meets it.
    body.on('error', () => {})
    return body
  }

  /** Throws away what comes, from now on. */
  discard(): void {
    if (this.isEmpty || this.#isDiscarded) return
    this.#throwAway(this.#bounds.unaskedLimitMs)
  }

  /** Throws away the rest, for a short while; resolves when it has ended, or its sender was cut. */
  async discardRest(): Promise<void> {
    const { socket } = this.#req
    if (!this.isUnderWay || socket.destroyed) return
    await new Promise<void>((resolve) => {
      this.#req.once('end', resolve)
      socket.once('close', resolve)
      this.#throwAway(this.#bounds.lingerMs)
    })
  }

  #throwAway(limitMs: number): void {
    const { socket } = this.#req
    this.#isDiscarded = true
    let receivedBytes = 0
    const cut = () => socket.destroy()
    const limit = setTimeout(cut, limitMs)
    const over = () => {
      clearTimeout(limit)
      socket.off('close', over)
    }
    this.#req.once('end', over)
    socket.once('close', over)
    this.#req.on('error', () => {}) // the client left in the middle of it, which the response notices too
    this.#req.on('data', (bytes: Buffer) => {
      receivedBytes += bytes.length
      if (receivedBytes > DISCARD_LIMIT_BYTES) cut()
    })
    this.#req.resume()
  }
}

/** Not the request itself: destroying that would take the connection along, and with it the answer. */
class TakenBody extends Readable {
  readonly #req: IncomingMessage
  readonly #pace: NodeJS.Timeout
  #onFirstRead: (() => void) | undefined
  #receivedBytes = 0
  /** Since the last look at the pace. */
  #wasPaused = true
  #hasEnded = false

  constructor(req: IncomingMessage, { paceMs, paceBytes }: BodyBounds, onFirstRead: () => void) {
    super()
    this.#req = req
    this.#onFirstRead = onFirstRead
    req.on('data', this.#onData)
    req.pause()
    req.on('end', this.#onEnd)
    req.on('close', this.#onClose)
    req.on('error', this.#onClose)
    this.#pace = setInterval(() => {
      const isStalled = this.#receivedBytes < paceBytes && !this.#wasPaused && !req.complete
      this.#receivedBytes = 0
      this.#wasPaused = req.isPaused()
      if (!isStalled) return
      const seconds = Math.ceil(paceMs / 1000)
      this.destroy(new Refusal(408, 'RequestTimeoutError', `fewer than ${paceBytes} bytes of the body in ${seconds} s`))
    }, paceMs)
    if (req.destroyed) queueMicrotask(this.#onClose)
  }

  override _read(): void {
    this.#onFirstRead?.()
    this.#onFirstRead = undefined
    this.#req.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearInterval(this.#pace)
    this.#req.off('data', this.#onData)
    this.#req.off('end', this.#onEnd)
    this.#req.off('close', this.#onClose)
    this.#req.pause()
    callback(error)
  }

  #onData = (bytes: Buffer) => {
    this.#receivedBytes += bytes.length
    if (this.push(bytes)) return
    this.#wasPaused = true
    this.#req.pause()
  }

  #onEnd = () => {
    clearInterval(this.#pace)
    this.#hasEnded = true
    this.push(null)
  }

  #onClose = () => {
    if (!this.#hasEnded) this.destroy(new Error('the client left in the middle of its upload'))
  }
}
