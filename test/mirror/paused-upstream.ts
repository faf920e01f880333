import type { IncomingMessage, ServerResponse } from 'node:http'
import { deferred } from '../../src/parts/deferred.js'

/**
 * Takes over the file of one image: sends its first bytes and waits to be told before it sends more. To be handed to a
 * server as its `intercept`.
 */
export class PausedFile {
  readonly #path: string
  readonly #bytes: Buffer
  readonly #pauseAtBytes: number
  readonly #headers: Record<string, string>
  readonly #resumed = deferred<void>()
  /** How often the file was asked for. */
  requestCount = 0

  constructor(uuid: string, bytes: Buffer, pauseAtBytes: number, headers: Record<string, string> = {}) {
    this.#path = `/images/${uuid}/file`
    this.#bytes = bytes
    this.#pauseAtBytes = pauseAtBytes
    this.#headers = headers
  }

  readonly intercept = (request: IncomingMessage, response: ServerResponse): boolean => {
    if (!request.url?.startsWith(this.#path)) return false
    this.requestCount += 1
    response.writeHead(200, { 'content-length': String(this.#bytes.length), ...this.#headers })
    response.write(this.#bytes.subarray(0, this.#pauseAtBytes))
    void this.#resumed.promise.then(() => response.end(this.#bytes.subarray(this.#pauseAtBytes)))
    return true
  }

  resume(): void {
    this.#resumed.resolve()
  }
}
