import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { MirrorError } from '../../errors.js'
import { isJsonObject, type JsonObject } from '../../parts/json-object.js'
import type { Proof } from './credentials.js'

/** How long a connection may be silent. A server that has everything may take its time to check it. */
const SILENCE_LIMIT_MS = 600_000
/** How long to wait for leave to send a file, from a server that may not know the question. */
const LEAVE_WAIT_MS = 2_000
/** More than any answer about one image. */
const ANSWER_LIMIT_BYTES = 4 * 1024 * 1024

export interface ImgapiClientOptions {
  /** What paths are appended to. */
  readonly url: URL
  readonly channel: string | undefined
  readonly prove: Proof
  /** PEM text of authorities to trust, instead of the system's. */
  readonly ca: string | undefined
  readonly userAgent: string
  readonly signal: AbortSignal
}

/** Of an IMGAPI, what it takes to publish. A plain node:http client: the size of a body stays what it is, and nothing is retried. */
export class ImgapiClient {
  readonly #options: ImgapiClientOptions

  constructor(options: ImgapiClientOptions) {
    this.#options = options
  }

  importImage(manifest: JsonObject & { readonly uuid: string }): Promise<JsonObject> {
    return this.#tell('POST', `/images/${manifest.uuid}`, { action: 'import' }, manifest)
  }

  activateImage(uuid: string): Promise<JsonObject> {
    return this.#tell('POST', `/images/${uuid}`, { action: 'activate' }, {})
  }

  /** Also when we have been asked to stop: nothing half-made is to be left behind. */
  async deleteImage(uuid: string): Promise<void> {
    const request = this.#request('DELETE', `/images/${uuid}`, {}, { 'content-length': '0' }, undefined)
    request.end()
    await this.#answerOf(request)
  }

  /** @param sizeBytes `undefined` when nobody knows yet. */
  async addImageFile(
    uuid: string,
    body: Readable,
    { compression, sizeBytes }: { readonly compression: string; readonly sizeBytes: number | undefined },
  ): Promise<JsonObject> {
    const { signal } = this.#options
    const headers: Record<string, string> = {
      'content-type': 'application/octet-stream',
      // Refused before a byte of it has been sent, if it is to be refused.
      expect: '100-continue',
      ...(sizeBytes === undefined ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(sizeBytes) }),
    }
    const request = this.#request('PUT', `/images/${uuid}/file`, { compression }, headers, signal)
    const answer = this.#answerOf(request)
    const isOver = new AbortController()
    answer.then(
      () => isOver.abort(),
      () => isOver.abort(),
    )
    request.flushHeaders()
    try {
      await Promise.race([
        once(request, 'continue', { signal: isOver.signal }),
        wait(LEAVE_WAIT_MS, undefined, { signal: isOver.signal }),
      ])
      await pipeline(body, request, { signal: isOver.signal })
    } catch (error) {
      // An answer that came in the middle is the reason; else it is the stream's own failure.
      if (!isOver.signal.aborted) {
        request.destroy()
        await answer.catch(() => {})
        throw error
      }
    } finally {
      body.destroy()
    }
    return await answer
  }

  #tell(method: string, path: string, query: Record<string, string>, body: JsonObject): Promise<JsonObject> {
    const bytes = Buffer.from(JSON.stringify(body))
    const headers = { 'content-type': 'application/json', 'content-length': String(bytes.length) }
    const request = this.#request(method, path, query, headers, this.#options.signal)
    request.end(bytes)
    return this.#answerOf(request)
  }

  #request(
    method: string,
    path: string,
    query: Record<string, string>,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
  ): http.ClientRequest {
    const { url, channel, prove, ca, userAgent } = this.#options
    const parameters = new URLSearchParams({ ...(channel !== undefined && { channel }), ...query })
    const search = parameters.size > 0 ? `?${parameters}` : ''
    const target = `${url.pathname.replace(/\/$/, '')}${path}${search}`
    const { request } = url.protocol === 'https:' ? https : http
    return request({
      hostname: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port,
      method,
      path: target,
      headers: {
        accept: 'application/json',
        'accept-version': '*',
        'user-agent': userAgent,
        ...headers,
        ...prove(method, target),
      },
      agent: false,
      timeout: SILENCE_LIMIT_MS,
      ...(ca !== undefined && { ca }),
      ...(signal && { signal }),
    })
  }

  /**
   * @throws MirrorError UPSTREAM_UNREACHABLE when there is none, UPLOAD_REFUSED when it is a no, in the server's words,
   *   UPSTREAM_MISBEHAVED when it means nothing.
   */
  async #answerOf(request: http.ClientRequest): Promise<JsonObject> {
    const what = `${request.method} ${request.path.split('?')[0]} at ${this.#options.url.host}`
    const bytes: Buffer[] = []
    let response: IncomingMessage
    try {
      response = await new Promise<IncomingMessage>((resolve, reject) => {
        request.once('response', resolve)
        request.once('timeout', () => request.destroy(new Error(`silent for ${SILENCE_LIMIT_MS / 1000} s`)))
        request.on('error', reject)
      })
      let receivedBytes = 0
      for await (const chunk of response as AsyncIterable<Buffer>) {
        receivedBytes += chunk.length
        if (receivedBytes > ANSWER_LIMIT_BYTES) throw new Error('the answer does not end')
        bytes.push(chunk)
      }
    } catch (cause) {
      const reason =
        cause instanceof Error && cause.message !== '' ? cause.message : String((cause as { code?: unknown }).code)
      throw new MirrorError('UPSTREAM_UNREACHABLE', `${what}: ${reason}`, { cause })
    } finally {
      request.destroy()
    }
    const status = response.statusCode ?? 0
    const body = parseObject(Buffer.concat(bytes).toString())
    if (status >= 400) {
      const said = body
        ? `${String(body.code)}: ${String(body.message)}${reasonsIn(body)}`
        : (response.statusMessage ?? '')
      throw new MirrorError('UPLOAD_REFUSED', `${what}: ${status} ${said}`)
    }
    if (status === 204) return {}
    if (status === 200 && body) return body
    throw new MirrorError('UPSTREAM_MISBEHAVED', `${what}: ${status}, which is no answer of an IMGAPI`)
  }
}

/** What IMGAPI says of the fields that are wrong, where it says more than their names. */
function reasonsIn({ errors }: JsonObject): string {
  const reasons = (Array.isArray(errors) ? errors : []).flatMap((each: unknown) =>
    isJsonObject(each) && typeof each.message === 'string' ? [`${String(each.field)}: ${each.message}`] : [],
  )
  return reasons.length > 0 ? ` (${reasons.join('; ')})` : ''
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isJsonObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
