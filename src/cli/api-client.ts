import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { isJsonObject } from '../parts/json-object.js'
import { CommandFailure } from './command.js'
import { findMirror, type MirrorAddress, type MirrorOptions, NoMirror } from './mirror-options.js'
import { printable } from './printable.js'
import type { Surroundings } from './surroundings.js'

/** How long a mirror may say nothing. Events come more often than that, if only as signs of life. */
const SILENCE_LIMIT_MS = 120_000
/** More than a page of any list. */
const ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
/** More than any job is told in. */
const EVENT_LIMIT_CHARACTERS = 8 * 1024 * 1024

/** Values that are `undefined` are left out; of several, each is said. */
export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

/** The mirror said no. */
export class ApiRefusal extends CommandFailure {
  constructor(
    message: string,
    readonly status: number,
    /** As IMGAPI calls it: ResourceNotFound, ValidationFailed... */
    readonly code: string,
  ) {
    super(message)
  }
}

/** A running mirror, asked over its operator listener. */
export class ApiClient {
  /** The mirror that the command line, the environment or the config file means. */
  static async open(options: MirrorOptions, surroundings: Surroundings): Promise<ApiClient> {
    return new ApiClient(await findMirror(options, surroundings), surroundings)
  }

  readonly #address: MirrorAddress
  readonly #userAgent: string
  /** By which name the log and pins know us; who has become root by sudo is still somebody. */
  readonly #operator: string | undefined

  private constructor(address: MirrorAddress, { environment, version }: Surroundings) {
    this.#address = address
    this.#operator = [environment.SUDO_USER, environment.LOGNAME, environment.USER].find(
      (name) => name !== undefined && /^[\w.@-]{1,64}$/.test(name),
    )
    this.#userAgent = `imgapi-mirror/${version}`
  }

  /** For messages. */
  get url(): string {
    return this.#address.url
  }

  get<Answer>(path: string, query: Query = {}): Promise<Answer> {
    return this.#ask<Answer>('GET', path, query)
  }

  post<Answer>(path: string, body?: object): Promise<Answer> {
    return this.#ask<Answer>('POST', path, {}, body)
  }

  put<Answer>(path: string, body?: object): Promise<Answer> {
    return this.#ask<Answer>('PUT', path, {}, body)
  }

  delete<Answer>(path: string): Promise<Answer> {
    return this.#ask<Answer>('DELETE', path, {})
  }

  /** The data of server-sent events, parsed, until the mirror ends them or `signal` does. */
  async *events<Event>(path: string, signal: AbortSignal): AsyncGenerator<Event> {
    const response = await this.#send('GET', path, {}, undefined, { signal, accept: 'text/event-stream' })
    try {
      if (response.statusCode !== 200) throw await this.#refusalOf(response)
      let rest = ''
      for await (const chunk of response.setEncoding('utf8')) {
        rest += String(chunk).replaceAll('\r\n', '\n')
        for (let end = rest.indexOf('\n\n'); end !== -1; end = rest.indexOf('\n\n')) {
          const data = dataOf(rest.slice(0, end))
          rest = rest.slice(end + 2)
          if (data !== '') yield parse<Event>(data, this.url)
        }
        if (rest.length > EVENT_LIMIT_CHARACTERS) throw new CommandFailure(`${this.url}: an event does not end`)
      }
    } catch (cause) {
      if (signal.aborted) return
      if (cause instanceof CommandFailure) throw cause
      throw this.#brokenOff(cause)
    } finally {
      response.destroy()
    }
  }

  async #ask<Answer>(method: string, path: string, query: Query, body?: object): Promise<Answer> {
    const response = await this.#send(method, path, query, body)
    try {
      if ((response.statusCode ?? 500) >= 300) throw await this.#refusalOf(response)
      const text = await this.#read(response)
      return text === '' ? (undefined as Answer) : parse<Answer>(text, this.url)
    } finally {
      response.destroy()
    }
  }

  #send(
    method: string,
    path: string,
    query: Query,
    body: object | undefined,
    { signal, accept = 'application/json' }: { signal?: AbortSignal; accept?: string } = {},
  ): Promise<IncomingMessage> {
    const { ca, client, ownCertificate, token, url } = this.#address
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const socketPath = url.startsWith('unix:') ? url.slice('unix:'.length) : undefined
    const origin = new URL(socketPath === undefined ? url : 'http://localhost')
    const { request } = origin.protocol === 'https:' ? https : http
    return new Promise((resolve, reject) => {
      const sent = request({
        ...(socketPath === undefined
          ? { hostname: origin.hostname.replace(/^\[|\]$/g, ''), port: origin.port }
          : { socketPath }),
        method,
        path: `${path}${searchOf(query)}`,
        headers: {
          accept,
          'user-agent': this.#userAgent,
          ...(this.#operator !== undefined && { 'x-operator': this.#operator }),
          ...(bytes && { 'content-type': 'application/json', 'content-length': String(bytes.length) }),
          ...(!bytes && method !== 'GET' && { 'content-length': '0' }),
          ...(token !== undefined && { authorization: `Bearer ${token.text}` }),
        },
        agent: false,
        timeout: SILENCE_LIMIT_MS,
        ...client,
        ...(ca !== undefined && { ca }),
        // Who has this very certificate is the mirror of that config file, whatever name we called it by.
        ...(ca === undefined &&
          ownCertificate !== undefined && {
            ca: ownCertificate,
            allowPartialTrustChain: true,
            checkServerIdentity: () => undefined,
          }),
        ...(signal && { signal }),
      })
      sent.once('response', resolve)
      sent.once('timeout', () => sent.destroy(new Error(`silent for ${SILENCE_LIMIT_MS / 1000} s`)))
      sent.on('error', (cause) => reject(this.#unreachable(cause)))
      sent.end(bytes)
    })
  }

  async #read(response: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = []
    let receivedBytes = 0
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        receivedBytes += chunk.length
        if (receivedBytes > ANSWER_LIMIT_BYTES) throw new Error('the answer does not end')
        chunks.push(chunk)
      }
    } catch (cause) {
      throw this.#brokenOff(cause)
    }
    return Buffer.concat(chunks).toString()
  }

  async #refusalOf(response: IncomingMessage): Promise<CommandFailure> {
    const status = response.statusCode ?? 0
    const said = parseIfJson(await this.#read(response))
    if (!isJsonObject(said) || typeof said.message !== 'string') {
      return new CommandFailure(`${this.url} answers ${status}, which is no answer of a mirror's operator listener`)
    }
    const hint = status === 401 ? ` (${this.#hintForStrangers()})` : ''
    const lines = said.message.split('\n').map(printable)
    return new ApiRefusal(`${lines.join('\n')}${hint}`, status, String(said.code))
  }

  #brokenOff(cause: unknown): CommandFailure {
    const reason = cause instanceof Error ? cause.message : String(cause)
    return new CommandFailure(`${this.url} answered, and not to the end: ${reason}`, undefined, { cause })
  }

  #unreachable(cause: unknown): CommandFailure {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    const { startCommand, url } = this.#address
    const message = `no mirror answers at ${url}; is it running? (${startCommand})`
    if (['ECONNREFUSED', 'ENOENT'].includes(code)) return new NoMirror(message, undefined, { cause })
    const reason =
      REASONS[code] ?? (cause instanceof Error && cause.message !== '' ? `: ${cause.message}` : `: ${code}`)
    return new CommandFailure(`${url}${reason}`, undefined, { cause })
  }

  #hintForStrangers(): string {
    const { client, token } = this.#address
    if (token) return `it is from ${token.from}`
    return client ? '--token-file says who you are, too' : '--token-file or --cert says who you are'
  }
}

/** What is wrong with how we called, in words that go on behind the url. */
const UNTRUSTED = ': its certificate is of no authority that is known here; --ca names a file with the right one'
const HUNG_UP = ' hung up without an answer; does it speak https?'
const REASONS: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  EPROTO: ' speaks no TLS that we understand; is http:// meant?',
  ECONNRESET: HUNG_UP,
  EPIPE: HUNG_UP,
  HPE_INVALID_CONSTANT: ' speaks no HTTP; does it speak https?',
  ENOTFOUND: ': nobody knows this name',
}

function searchOf(query: Query): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue
    for (const each of Array.isArray(value) ? value : [value]) parameters.append(name, String(each))
  }
  return parameters.size > 0 ? `?${parameters}` : ''
}

/** Of one event: its data lines joined. Comments are signs of life. */
function dataOf(event: string): string {
  return event
    .split('\n')
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice('data:'.length).replace(/^ /, ''))
    .join('\n')
}

function parse<Value>(text: string, url: string): Value {
  const value = parseIfJson(text)
  if (value === undefined)
    throw new CommandFailure(`${url} answers with something else than JSON, and so is no operator listener of a mirror`)
  return value as Value
}

function parseIfJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
