// A small IMGAPI server: /ping, /images, /images/:uuid and /images/:uuid/file, as much as a mirror asks of an upstream.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { manifestOf } from './images.mjs'

/** Files go out in pieces, a moment apart, so that there is something to see of an import. */
const PIECE_BYTES = 64 * 1024
const PAUSE_MS = 5

/** @typedef {import('./images.mjs').DemoImage} DemoImage */

export class ImgapiServer {
  /** How often a file was asked for. */
  filesAsked = 0
  /**
   * While set, files have one flipped byte in the middle, and their last piece waits for this.
   * @type {Promise<unknown> | undefined}
   */
  liesUntil

  /** @type {readonly DemoImage[]} */
  #images
  #server = createServer((request, response) => void this.#answer(request, response))
  #port = 0

  /** @param {readonly DemoImage[]} images */
  constructor(images) {
    this.#images = images
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`
  }

  /** Harmless when it runs. After a stop, on the port it had. */
  async start() {
    if (this.#server.listening) return
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = /** @type {import('node:net').AddressInfo} */ (this.#server.address()).port
  }

  async stop() {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async #answer(request, response) {
    const [, uuid, file] = /^\/images\/([0-9a-f-]{36})(\/file)?$/.exec(pathOf(request)) ?? []
    const image = this.#images.find((each) => each.uuid === uuid)
    if (pathOf(request) === '/ping') sendJson(response, 200, { ping: 'pong', version: '4.13.1', imgapi: true })
    else if (pathOf(request) === '/images') sendJson(response, 200, this.#images.map(manifestOf))
    else if (image && file) await this.#sendFile(response, image.file)
    else if (image) sendJson(response, 200, manifestOf(image))
    else sendJson(response, 404, { code: 'ResourceNotFound', message: `${request.url} does not exist` })
  }

  /**
   * @param {import('node:http').ServerResponse} response
   * @param {Buffer} file
   */
  async #sendFile(response, file) {
    this.filesAsked++
    const bytes = this.liesUntil ? withFlippedByte(file) : file
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length })
    for (let start = 0; start < bytes.length && !response.destroyed; start += PIECE_BYTES) {
      if (start + PIECE_BYTES >= bytes.length) await this.liesUntil
      response.write(bytes.subarray(start, start + PIECE_BYTES))
      await pause(PAUSE_MS)
    }
    response.end()
  }
}

/** @param {import('node:http').IncomingMessage} request */
function pathOf(request) {
  return request.url?.replace(/\?.*/, '') ?? '/'
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {number} status
 * @param {unknown} body
 */
function sendJson(response, status, body) {
  const bytes = Buffer.from(JSON.stringify(body, null, 2))
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length }).end(bytes)
}

/** @param {Buffer} file */
function withFlippedByte(file) {
  const copy = Buffer.from(file)
  const middle = Math.floor(copy.length / 2)
  copy.writeUInt8(copy.readUInt8(middle) ^ 0xff, middle)
  return copy
}
