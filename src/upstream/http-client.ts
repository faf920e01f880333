import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { isMirrorError, MirrorError } from '../errors.js'
import { currentHops, hopsIn } from '../parts/hops.js'
import { isJsonObject } from '../parts/json-object.js'
import { isPublicHost } from '../parts/public-address.js'
import { AnswerBody } from './answer-body.js'
import { type Agents, type Environment, makeAgents, type TlsOptions } from './http-agents.js'
import { Blame, isConnectionLost, type TimeLimits } from './http-failure.js'
import { type Line, makeOpenLine } from './line.js'
import { NotAsked } from './not-asked.js'
import { publicLookup } from './public-lookup.js'
import { Slots } from './slots.js'
import type { LivePriority } from './upstream.js'

const REDIRECTS_LIMIT = 5
/** Of the body of an answer that we do not want: enough for a message, and for the connection to be used again. */
const UNWANTED_BODY_BYTES = 64 * 1024
const UNWANTED_BODY_MS = 2_000
/** Of what an upstream says about its failure, in our messages. */
const TOLD_CHARACTERS = 200
/** Who would be next in line is turned away: no upstream deserves a longer queue. */
const WAITING_LIMIT = 1_000

export interface HttpClientOptions {
  /** The upstream's configured name. */
  readonly name: string
  /** The upstream's own origin: the only one that ever gets credentials. */
  readonly origin: string
  /** Other origins (scheme, host, port) that files may come from. */
  readonly fileHosts: readonly string[]
  /** Origins that questions may be asked of, but no redirect leads to: where tokens come from. Without it, none. */
  readonly authHosts?: readonly string[]
  /**
   * Whether files may also come from any https server of the public internet, as those of Docker registries do. Name and
   * address are checked; behind a proxy, which looks the name up itself, the name alone.
   */
  readonly isOpenToPublic?: boolean
  readonly username?: string | undefined
  readonly password?: string | undefined
  readonly tls: TlsOptions
  /** Names that lead to addresses that are not public lead nowhere. */
  readonly isPublicOnly?: boolean | undefined
  readonly timeouts: TimeLimits
  /** Requests at the same time, downloads included. If more than one, one of them is kept free of downloads. */
  readonly connections: number
  /** Where proxies are looked up: http_proxy, https_proxy, no_proxy. */
  readonly environment: Environment
  /** Ours, for User-Agent. */
  readonly version: string
  /** How we name ourselves in Via, so that a mirror that leads back to us is noticed. */
  readonly instance?: string | undefined
  /** Without it, nothing holds us back. */
  readonly line?: Line | undefined
}

/** Learns from answers how often one wants to be asked. */
export interface Pace {
  heard(status: number, header: (name: string) => string | undefined): void
}

export interface Question {
  /** Without it, GET. */
  readonly method?: 'GET' | 'HEAD' | 'POST'
  /** Of a POST. */
  readonly body?: string
  /** Goes to the origin of the question, and nowhere else; instead of `username` and `password`. */
  readonly authorization?: string | undefined
  /** Learns from the answers instead of the origin's own pace, which is about all questions alike. */
  readonly pace?: Pace
  /** Files may come from `fileHosts` too, are never encoded, and get a connection of their own. */
  readonly kind: 'json' | 'file'
  readonly headers?: Readonly<Record<string, string>>
  /** Statuses that are answers. All others are failures. */
  readonly statuses: readonly number[]
  /** Without it, a client. */
  readonly priority?: LivePriority | undefined
  readonly signal: AbortSignal
}

/** An answer with one of the statuses asked for. Whoever gets it ends `body`: reads it out, destroys or discards it. */
export interface Answer {
  readonly status: number
  /** The url that answered, after redirects. */
  readonly url: URL
  /** Of a header sent twice, the first. */
  header(name: string): string | undefined
  /** Of a header that may be sent several times, all. */
  headers(name: string): readonly string[]
  /** As it is on the wire: encoded, if there is a content-encoding. Fails as `Upstream` promises. */
  readonly body: Readable
  /** Lets go of a body nobody wants, without giving up the connection if that is cheap. */
  discard(): Promise<void>
}

/** What those need who only ask. */
export type Asker = Pick<HttpClient, 'ask' | 'blame'>

/** Speaks HTTP with one upstream. Everything about undici stays behind it. */
export class HttpClient {
  readonly blame: Blame
  readonly #agents: Agents
  readonly #options: HttpClientOptions
  readonly #line: Line
  readonly #slots: Slots
  #instance: string | undefined
  /** A download holds one of these too, so that downloads leave a slot to questions, which are short. */
  readonly #fileSlots: Slots

  /** @throws MirrorError CONFIG_INVALID for certificates or proxies that cannot be used. */
  constructor(options: HttpClientOptions) {
    this.#options = options
    this.#line = options.line ?? makeOpenLine(options.name)
    this.blame = new Blame(options.name, options.origin, options.timeouts)
    const { environment, isPublicOnly, name, timeouts, tls } = options
    this.#agents = makeAgents(name, tls, timeouts, environment, isPublicOnly ? publicLookup() : undefined)
    this.#slots = new Slots(options.connections, WAITING_LIMIT)
    this.#fileSlots = new Slots(Math.max(1, options.connections - 1), WAITING_LIMIT)
  }

  /** How the server named itself in Via when it answered last, if it is a mirror like us. */
  get instance(): string | undefined {
    return this.#instance
  }

  /** Whether files may come from there. */
  allowsFilesFrom(url: URL): boolean {
    return url.origin === this.#options.origin || this.#options.fileHosts.includes(url.origin) || this.isPublic(url)
  }

  /** Whether this is a server of the public internet that may be asked without being named, because `isOpenToPublic`. */
  isPublic(url: URL): boolean {
    const { isOpenToPublic = false } = this.#options
    return isOpenToPublic && url.protocol === 'https:' && isPublicHost(url.hostname)
  }

  /**
   * Asks, and follows redirects where that is allowed: JSON stays at the upstream's own origin, files may also move to
   * `fileHosts`, and to public https servers if `isOpenToPublic`. An origin has its scheme in it, so https never becomes
   * http behind the operator's back. No credentials follow to another origin.
   *
   * @throws MirrorError UPSTREAM_UNREACHABLE (NotAsked at once, if the line or the server wants no question now),
   *   UPSTREAM_MISBEHAVED, CLOSING; the signal's reason when it aborts.
   */
  async ask(url: URL, question: Question): Promise<Answer> {
    this.#line.admit(url.origin, question.priority ?? 'client')
    const giveBack = await this.#takeSlot(question)
    try {
      return await this.#follow(url, question, giveBack)
    } catch (error) {
      giveBack()
      question.signal.throwIfAborted()
      throw error
    }
  }

  /** Cuts what is under way. */
  async close(): Promise<void> {
    const closing = new MirrorError('CLOSING', `${this.#options.name} is being closed`)
    await Promise.all(Object.values(this.#agents).map((agent: Dispatcher) => agent.destroy(closing)))
  }

  async #takeSlot({ kind, priority, signal }: Question): Promise<() => void> {
    const fileSlot = kind === 'file' ? await this.#fileSlots.take(signal, priority) : () => {}
    if (!fileSlot) throw this.#queueIsFull('downloads')
    try {
      const slot = await this.#slots.take(signal, priority)
      if (!slot) throw this.#queueIsFull('requests')
      return () => {
        slot()
        fileSlot()
      }
    } catch (error) {
      fileSlot()
      throw error
    }
  }

  #queueIsFull(what: string): NotAsked {
    return new NotAsked(`${this.#options.name}: ${WAITING_LIMIT} ${what} wait already`)
  }

  async #follow(start: URL, question: Question, giveBack: () => void): Promise<Answer> {
    let url = start
    for (let redirects = 0; ; redirects++) {
      // Asked again here: others may have been answered while we waited for a slot, and a redirect may lead elsewhere.
      this.#line.admit(url.origin, question.priority ?? 'client')
      await this.#line.turn(url.origin, question.signal)
      const response = await this.#send(url, question, start)
      const header = (name: string) => firstOf(response.headers[name])
      const status = response.statusCode
      if (url.origin === this.#options.origin) this.#instance = hopsIn(header('via')).at(-1)
      if (question.pace) question.pace.heard(status, header)
      else this.#line.heard(url.origin, status, header)
      if (question.statuses.includes(status)) return this.#answer(url, question, response, giveBack)
      const told = await readBriefly(this.#answer(url, question, response, () => {}).body)
      if (![301, 302, 303, 307, 308].includes(status)) {
        const message = messageIn(told, this.#secretsFor(url, question, start))
        throw this.blame.ofStatus(url, status, { message, retryAfter: header('retry-after') })
      }
      if (question.body !== undefined) throw this.blame.misbehaved(url, 'redirects a body that is for itself alone')
      if (redirects === REDIRECTS_LIMIT) throw this.blame.misbehaved(start, `more than ${redirects} redirects`)
      url = this.#target(url, header('location'), question)
    }
  }

  #target(url: URL, location: string | undefined, question: Question): URL {
    if (location === undefined || !URL.canParse(location, url.href)) {
      throw this.blame.misbehaved(url, 'redirects to nowhere')
    }
    const target = new URL(location, url)
    // A Location must not choose credentials for us.
    target.username = ''
    target.password = ''
    const isAllowed = question.kind === 'file' ? this.allowsFilesFrom(target) : target.origin === this.#options.origin
    if (!isAllowed) throw this.blame.misbehaved(url, `redirects to ${target.origin}, which is not allowed`)
    return target
  }

  async #send(url: URL, question: Question, start: URL): Promise<Dispatcher.ResponseData> {
    try {
      return await this.#request(url, question, start)
    } catch (cause) {
      question.signal.throwIfAborted()
      if (!isConnectionLost(cause)) throw this.blame.ofTransport(url, cause)
    }
    try {
      return await this.#request(url, question, start)
    } catch (cause) {
      throw this.blame.ofTransport(url, cause)
    }
  }

  async #request(url: URL, question: Question, start: URL): Promise<Dispatcher.ResponseData> {
    const { timeouts, version } = this.#options
    const { body, headers, kind, method = 'GET', signal } = question
    const authorization = this.#authorizationFor(url, question, start)
    const response = await this.#agentFor(url).request({
      origin: url.origin,
      path: url.pathname + url.search,
      method,
      body: body ?? null,
      headers: {
        'user-agent': `imgapi-mirror/${version}`,
        ...viaOf(this.#options.instance),
        'accept-encoding': kind === 'json' ? 'gzip' : 'identity',
        accept: kind === 'json' ? 'application/json' : '*/*',
        ...headers,
        ...(authorization !== undefined && { authorization }),
      },
      headersTimeout: timeouts.headersMs,
      bodyTimeout: timeouts.stallMs,
      // A file longer than its manifest says leaves bytes behind Content-Length, which must not become the beginning of
      // the next answer (sdc-imgapi 4.13.1 sends them).
      reset: kind === 'file',
      signal,
    })
    response.body.on('error', () => {})
    return response
  }

  /** Credentials of the question go where it was asked, those of the upstream to its own origin; neither anywhere else. */
  #authorizationFor(url: URL, { authorization }: Question, start: URL): string | undefined {
    const { origin, username, password } = this.#options
    if (authorization !== undefined) return url.origin === start.origin ? authorization : undefined
    return url.origin === origin && username !== undefined ? basicAuthorization(username, password ?? '') : undefined
  }

  /** What was proved with there, in the forms in which a server might say it back. */
  #secretsFor(url: URL, question: Question, start: URL): string[] {
    const credentials = this.#authorizationFor(url, question, start)?.split(' ').at(-1)
    return [credentials, this.#options.password].filter((each) => each !== undefined && each !== '') as string[]
  }

  #agentFor(url: URL): Dispatcher {
    const { authHosts = [], fileHosts, isOpenToPublic, origin } = this.#options
    if (url.origin === origin) return this.#agents.own
    const isNamed = fileHosts.includes(url.origin) || authHosts.includes(url.origin)
    return isNamed || !isOpenToPublic ? this.#agents.elsewhere : this.#agents.outside
  }

  #answer(url: URL, question: Question, response: Dispatcher.ResponseData, giveBack: () => void): Answer {
    const explain = (cause: unknown) => {
      if (question.signal.aborted && !isMirrorError(cause)) return asError(question.signal.reason)
      return this.blame.ofBody(url, cause)
    }
    const pay = (bytes: number, signal: AbortSignal) => this.#line.pay(bytes, question.priority ?? 'client', signal)
    const body = new AnswerBody(response.body, { explain, pay, onClose: giveBack })
    return {
      status: response.statusCode,
      url,
      header: (name) => firstOf(response.headers[name]),
      headers: (name) => [response.headers[name] ?? []].flat(),
      body,
      async discard() {
        await readBriefly(body)
      },
    }
  }
}

/**
 * Reads what comes at once of a body and lets the rest go. By length it may never end: of a file it cannot read,
 * sdc-imgapi promises the whole length in a 500, sends nothing, and leaves the connection open.
 */
async function readBriefly(body: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  const timer = setTimeout(() => body.destroy(), UNWANTED_BODY_MS)
  try {
    for await (const chunk of body) {
      chunks.push(chunk)
      sizeBytes += chunk.length
      if (sizeBytes > UNWANTED_BODY_BYTES) break
    }
  } catch {
    // What came before is all we wanted.
  } finally {
    clearTimeout(timer)
    body.destroy()
  }
  return Buffer.concat(chunks)
}

/**
 * What an error body says, if it is JSON with a `message`, as IMGAPI's are, or with `errors` that have one, as Docker
 * registries' are: one line, and short.
 */
function messageIn(body: Buffer, secrets: readonly string[]): string | undefined {
  const withoutSecrets = (text: string) => secrets.reduce((left, each) => left.replaceAll(each, '(secret)'), text)
  try {
    const said: unknown = JSON.parse(body.toString('utf8'))
    if (!isJsonObject(said)) return undefined
    const [first] = Array.isArray(said.errors) ? (said.errors as unknown[]) : []
    const message = said.message ?? (isJsonObject(first) ? (first.message ?? first.code) : undefined)
    if (typeof message !== 'string') return undefined
    return withoutSecrets(message)
      .slice(0, TOLD_CHARACTERS)
      .replace(/\p{Control}+/gu, ' ')
  } catch {
    return undefined
  }
}

export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

function viaOf(instance: string | undefined): Record<string, string> {
  return instance === undefined ? {} : { via: [...currentHops(), instance].map((hop) => `1.1 ${hop}`).join(', ') }
}

function firstOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason })
}
