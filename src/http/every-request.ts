import { setImmediate as nextTurn } from 'node:timers/promises'
import type Koa from 'koa'
import { isMirrorError } from '../errors.js'
import { parseUuid } from '../images/uuid.js'
import { NOBODY, type Viewer } from '../images/viewer.js'
import { AddressSet } from '../parts/address-set.js'
import { throughHops } from '../parts/hops.js'
import type { Log } from '../parts/log.js'
import { ANSWERS, BUG, type Dialect, type FailureBody, Refusal } from './answers.js'
import type { Principal } from './auth/authenticator.js'
import { clientAddressOf } from './client-address.js'
import { type CommonFacts, commonHeaders } from './common-headers.js'
import type { HandOver } from './hand-over.js'
import { makeHopReader } from './refuse-loop.js'
import { LOGGED_PATH_LIMIT, type ReportOptions, reportRequest } from './report-request.js'
import { type BodyBounds, RequestBody } from './request-body.js'
import { requestIdOf } from './request-id.js'
import { whenOver } from './when-over.js'

/** What the rest of the room finds in `context.state`. */
export interface RequestState {
  requestId: string
  /** Every line of it carries the request's id. */
  log: Log
  /** Whose request it is, behind proxies that are believed too: an address, or `unix`. */
  client: string
  /** `performance.now()` when the request's headers had been read. */
  startedMs: number
  /** Aborts when the client is gone before it has its whole answer. */
  departed: AbortSignal
  /** Waits, unread, for an endpoint that takes it; thrown away otherwise. */
  body: RequestBody
  /** The path as the router knows it, such as `/images/:uuid`: what to count by. Empty for a path that leads nowhere. */
  route: string
  /** Bytes of the body handed to the connection. */
  sentBytes: number
  /** Who asks, if they have proved it (see auth/authenticator.ts). */
  principal: Principal | undefined
  /** How failures are told; `undefined` for IMGAPI's way. */
  dialect: Dialect | undefined
  /** The whole answer is out, although its request may not be over. */
  isAnswered: boolean
  /** Where a proxy that asks for them has files that we hold (see hand-over.ts). */
  handOverTo: string | undefined
  /** What they may see: until somebody has looked, what nobody in particular may. */
  viewer: Viewer
}

export type Context = Koa.ParameterizedContext<RequestState>

export interface EveryRequestOptions extends CommonFacts, ReportOptions {
  readonly bodyBounds?: BodyBounds | undefined
  /** Addresses and networks whose `X-Forwarded-For` is believed. */
  readonly trustedProxies?: readonly string[] | undefined
  /** What may stand before our paths, such as `/mirror`: the path of our public url, where a proxy does not take it away. */
  readonly pathPrefix?: string | undefined
  /** Whom held files are handed over to. */
  readonly handOver?: HandOver | undefined
  /** What else every answer says, failures included; asked when the request's path is known. */
  readonly moreHeaders?: ((context: Context) => Readonly<Record<string, string>>) | undefined
}

/**
 * What every request gets, whatever its endpoint: an id, the common headers, a signal that its client has left, an
 * answer to whatever is thrown below, and one line in the log.
 */
export function everyRequest(options: EveryRequestOptions): Koa.Middleware<RequestState> {
  const hopsOf = makeHopReader(options.instance)
  const proxies = new AddressSet(options.trustedProxies ?? [])
  return async (context, next) => {
    const { req, res, state } = context
    state.startedMs = performance.now()
    state.requestId = requestIdOf(req)
    state.client = clientAddressOf(req, proxies)
    state.log = options.log.with({ requestId: state.requestId })
    state.route = ''
    state.sentBytes = 0
    state.principal = undefined
    state.isAnswered = false
    state.viewer = NOBODY
    state.dialect = undefined
    state.handOverTo = options.handOver?.placeFor(req)
    context.url = withoutPrefix(withoutOrigin(req.url ?? '/'), options.pathPrefix ?? '')
    state.body = new RequestBody(req, res, options.bodyBounds)
    // Nobody takes the body of a reading; left unread it would hide that its sender has gone.
    if (req.method === 'GET' || req.method === 'HEAD') state.body.discard()

    const departure = new AbortController()
    state.departed = departure.signal
    whenOver(req, res, () => {
      if (!res.writableFinished && !state.isAnswered) departure.abort(new Error('the client has left'))
      reportRequest(options, {
        startedMs: state.startedMs,
        requestId: state.requestId,
        method: context.method,
        path: context.path ?? '',
        route: state.route,
        status: res.statusCode,
        bytes: state.sentBytes,
        client: state.client,
        user: state.principal?.name,
        isComplete: res.writableFinished || state.isAnswered,
      })
    })
    // Writing to a client who has just left: the departure itself is noticed above.
    res.on('error', (error) => state.log.debug({ error }, 'the response cannot be written'))

    setCommonHeaders(context, options)
    try {
      await throughHops(hopsOf(context), next)
    } catch (error) {
      answerFailure(context, error, options)
    }
    stampResponseTime(context)
    if (context.respond !== false && context.method !== 'HEAD') state.sentBytes = context.length ?? 0
    if (context.respond !== false && state.body.isUnderWay) await answerAheadOfBody(context)
  }
}

/**
 * An answer given before the request's body has come: it goes out at once, and says that the connection ends with it.
 * Then our half of it is closed, and for a while we read on: who sends without looking up would otherwise be reset in
 * the middle of it, and might never see the answer. Who still waits for leave to send has nothing to be read.
 */
async function answerAheadOfBody(context: Context): Promise<void> {
  const { req, res, state, body } = context
  // A reading's body is thrown away while it is answered, and its connection goes on.
  if (req.method === 'GET' || req.method === 'HEAD') return
  // What came in one packet with the headers is read behind them.
  await nextTurn()
  if (!state.body.isUnderWay) return
  context.set('Connection', 'close')
  if (state.body.isWaitedFor || !(body === undefined || body === null || Buffer.isBuffer(body))) return
  // Behind another answer on a pipelined connection: it is for node to say when its turn comes.
  if (!res.socket) return
  context.respond = false
  res.flushHeaders()
  if (Buffer.isBuffer(body)) res.write(body)
  state.isAnswered = true
  req.socket.end()
  await state.body.discardRest()
  req.socket.destroySoon()
}

/** Says how long the answer took to begin, in whole milliseconds. Harmless once the headers are out. */
export function stampResponseTime({ res, state }: Context): void {
  if (!res.headersSent) res.setHeader('x-response-time', Math.round(performance.now() - state.startedMs))
}

function setCommonHeaders(context: Context, options: EveryRequestOptions): void {
  context.set({ ...options.moreHeaders?.(context), ...commonHeaders(context.state.requestId, options) })
}

/**
 * `GET http://host/ping HTTP/1.1` means `/ping`: proxies speak like that, and so does imgadm with the `url` of a DSAPI
 * file. Which host was named is nobody's business here.
 */
function withoutOrigin(target: string): string {
  const origin = /^https?:\/\/[^/?#]*/i.exec(target)
  if (!origin) return target
  const rest = target.slice(origin[0].length)
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** imgadm sends a file's url as it stands to its source, past any proxy that would take the prefix away. */
function withoutPrefix(target: string, prefix: string): string {
  const isBelow = prefix !== '' && target.startsWith(`${prefix}/`)
  return isBelow ? target.slice(prefix.length) : target
}

/**
 * Turns whatever was thrown into an answer, if there is still somebody to answer and no byte has gone out. After the
 * first byte no status can be changed: the connection is broken short of the promised length, so that no client can
 * take the fragment for the whole.
 */
function answerFailure(context: Context, error: unknown, options: EveryRequestOptions): void {
  const { res, state } = context
  if (state.departed.aborted) {
    context.respond = false
    res.destroy()
    state.log.debug({ error }, 'the client left before its answer was complete')
    return
  }
  const answer = isMirrorError(error) ? ANSWERS[error.code] : error instanceof Refusal ? error : BUG
  const { status, body } = state.dialect?.answerTo(error) ?? {
    status: answer.status,
    body: failureBodyOf(answer, error, adviceFor(context, answer.status)),
  }
  const isCut = res.headersSent
  const facts = { error, method: context.method, path: (context.path ?? '').slice(0, LOGGED_PATH_LIMIT) }
  if (answer === BUG) state.log.error(facts, 'a request failed unexpectedly')
  else if (isCut) state.log.warn(facts, 'a response was cut short')
  else if (status >= 500) state.log.warn(facts, 'a request failed')
  else state.log.debug(facts, 'a request was refused')

  if (isCut) {
    context.respond = false
    res.destroy()
    return
  }
  for (const name of res.getHeaderNames()) res.removeHeader(name) // of the success it was to be
  setCommonHeaders(context, options)
  context.set({ ...state.dialect?.headers })
  if (error instanceof Refusal) context.set({ ...error.headers })
  const advice = adviceFor(context, status)
  if (advice) context.set('X-Explain', advice)
  if (status === 503 || status === 429 || status === 508) setRetryAfter(context, error)
  setFailure(context, status, body)
}

/** Failures that only a mirror has. The messages of others are the reference's own, word by word, as clients know them. */
const OUR_FAILURES = [
  'IMAGE_WITHHELD',
  'IMAGE_INCOMPLETE',
  'ANCESTRY_BROKEN',
  'UPSTREAM_UNREACHABLE',
  'UPSTREAM_MISBEHAVED',
] as const

function failureBodyOf(
  answer: { code: string; message?: string },
  error: unknown,
  advice: string | undefined,
): FailureBody {
  const message = error instanceof Refusal || isMirrorError(error) ? (answer.message ?? error.message) : BUG.message
  const fields = error instanceof Refusal || isMirrorError(error) ? error.fields : undefined
  const hasErrors = answer.code === 'InvalidParameter' || answer.code === 'ValidationFailed'
  const more = advice && isMirrorError(error, ...OUR_FAILURES) ? `; "${advice}" tells more` : ''
  return { code: answer.code, message: `${message ?? ''}${more}`, ...(hasErrors && { errors: fields ?? [] }) }
}

/**
 * The command by which whoever runs this mirror hears why an image is not to be had. Said for every uuid alike, so that it
 * does not tell whether there is such an image.
 */
function adviceFor(context: Context, status: number): string | undefined {
  if (status !== 404 && status !== 503) return undefined
  // The router has put them there, if it knows the path.
  const { params } = context as { params?: Record<string, unknown> }
  const uuid = parseUuid(params?.uuid ?? params?.id)
  return uuid && `imgapi-mirror explain ${uuid}`
}

/** In whole seconds, when it is known: an upstream has said so, or its line is closed until then. */
function setRetryAfter(context: Context, error: unknown): void {
  const retryAfterMs = isMirrorError(error) ? error.retryAfterMs : undefined
  if (retryAfterMs !== undefined) context.set('Retry-After', String(Math.max(1, Math.ceil(retryAfterMs / 1000))))
}

/** No cache may keep a "no": it may be a "yes" by the next request. */
function setFailure(context: Context, status: number, body: object): void {
  context.respond = true
  context.status = status
  context.set({ 'Content-Type': 'application/json', 'Cache-Control': 'no-store' })
  context.body = Buffer.from(JSON.stringify(body, null, 2))
}
