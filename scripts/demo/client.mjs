// A client that asks as imgadm does: no query, JSON accepted even where bytes are wanted, no HEAD, no ranges.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { get } from 'node:http'

const HEADERS = { accept: 'application/json', 'accept-version': '~2', 'user-agent': 'imgapi-mirror-demo' }

/**
 * @typedef {object} Download
 * @property {number} status
 * @property {number} promisedBytes what Content-Length said
 * @property {number} receivedBytes
 * @property {boolean} isComplete whether the connection held until all of them were here
 * @property {string} sha1 of what was received
 * @property {number} durationMs
 */

/**
 * @param {string} url
 * @returns {Promise<{ status: number, sizeBytes: number, text: string }>}
 */
export async function getText(url) {
  const response = await fetch(url, { headers: HEADERS })
  const text = await response.text()
  return { status: response.status, sizeBytes: Buffer.byteLength(text), text }
}

/**
 * Receives a file, keeping nothing of it but its sha1.
 * @param {string} url
 * @param {(receivedBytes: number, promisedBytes: number) => void} [onProgress]
 * @returns {Promise<Download>}
 */
export async function download(url, onProgress) {
  const startMs = performance.now()
  const [response] = /** @type {[import('node:http').IncomingMessage]} */ (
    await once(get(url, { headers: HEADERS, agent: false }), 'response')
  )
  const promisedBytes = Number(response.headers['content-length'])
  const hash = createHash('sha1')
  let receivedBytes = 0
  try {
    for await (const chunk of response) {
      hash.update(chunk)
      receivedBytes += chunk.length
      onProgress?.(receivedBytes, promisedBytes)
    }
  } catch (error) {
    // How Node tells of a connection that ended before its time.
    if (!(error instanceof Error && 'code' in error && error.code === 'ECONNRESET')) throw error
  }
  const durationMs = performance.now() - startMs
  const isComplete = response.complete && receivedBytes === promisedBytes
  return {
    status: response.statusCode ?? 0,
    promisedBytes,
    receivedBytes,
    isComplete,
    sha1: hash.digest('hex'),
    durationMs,
  }
}
