import { isMirrorError, MirrorError } from '../errors.js'

/** How long the parts of an exchange may take. */
export interface TimeLimits {
  /** Name lookup, TCP and TLS together. */
  readonly connectMs: number
  /** From the request to the end of the answer's headers. */
  readonly headersMs: number
  /** Between two pieces of a body, not counting the time in which we do not want any. */
  readonly stallMs: number
}

/** A Retry-After longer than this is taken as this. */
const RETRY_AFTER_LIMIT_MS = 24 * 60 * 60 * 1000

/** Puts names to what goes wrong with one upstream: every message says which one, which url, and the reason. */
export class Blame {
  constructor(
    readonly upstream: string,
    readonly ownOrigin: string,
    readonly limits: TimeLimits,
  ) {}

  /** For messages and records: no credentials, and elsewhere no query either, as that may hold a signature. */
  place(url: URL): string {
    return `${url.origin}${url.pathname}${url.origin === this.ownOrigin ? url.search : ''}`
  }

  unreachable(
    url: URL,
    reason: string,
    options: { cause?: unknown; retryAfterMs?: number | undefined; isOverLimit?: boolean } = {},
  ) {
    return new MirrorError('UPSTREAM_UNREACHABLE', `${this.upstream}: ${this.place(url)}: ${reason}`, options)
  }

  misbehaved(url: URL, reason: string, options: { cause?: unknown; retryAfterMs?: number | undefined } = {}) {
    return new MirrorError('UPSTREAM_MISBEHAVED', `${this.upstream}: ${this.place(url)}: ${reason}`, options)
  }

  /**
   * What a status means that the protocol gives no meaning. Credentials that are refused, limits and trouble on the
   * other side are no answer about an image: it may be there all the same.
   */
  ofStatus(url: URL, status: number, told: { message: string | undefined; retryAfter: string | undefined }) {
    const reason = `answered ${status}${told.message ? ` (${told.message})` : ''}`
    const retryAfterMs = parseRetryAfter(told.retryAfter)
    // Loop detected (RFC 5842, 7.2): not ill, but waiting for us.
    if (status === 508) return this.misbehaved(url, reason, { retryAfterMs })
    if (status >= 500 || [401, 403, 407, 408, 425, 429].includes(status)) {
      return this.unreachable(url, reason, { retryAfterMs, isOverLimit: status === 429 })
    }
    return this.misbehaved(url, reason)
  }

  /** What a failed connection means. Failures that already have a name pass through. */
  ofTransport(url: URL, cause: unknown): MirrorError {
    if (isMirrorError(cause)) return cause
    const code = codeOf(cause)
    switch (code) {
      case 'UND_ERR_CONNECT_TIMEOUT':
        return this.unreachable(url, `no connection within ${this.limits.connectMs} ms`, { cause })
      case 'UND_ERR_HEADERS_TIMEOUT':
        return this.unreachable(url, `no answer within ${this.limits.headersMs} ms`, { cause })
      case 'UND_ERR_BODY_TIMEOUT':
        return this.unreachable(url, `fell silent for ${this.limits.stallMs} ms`, { cause })
      case 'UND_ERR_DESTROYED':
      case 'UND_ERR_CLOSED':
        return new MirrorError('CLOSING', `${this.upstream} is being closed`, { cause })
      case 'UND_ERR_HEADERS_OVERFLOW':
        return this.misbehaved(url, 'its headers are too large', { cause })
      case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
        return this.unreachable(url, 'the connection was cut', { cause })
    }
    if (isParserError(cause)) return this.misbehaved(url, `it does not speak HTTP: ${reasonOf(cause)}`, { cause })
    return this.unreachable(url, reasonOf(cause), { cause })
  }

  /** What it means that a body broke off. */
  ofBody(url: URL, cause: unknown): MirrorError {
    // undici's parser takes the end of a chunked body on a connection to be closed for an error of its own.
    return isParserError(cause)
      ? this.unreachable(url, 'the connection was cut', { cause })
      : this.ofTransport(url, cause)
  }
}

/** Seconds or a date (RFC 9110, 10.2.3), in milliseconds from now; `undefined` if it is neither. */
export function parseRetryAfter(value: string | undefined, nowMs = Date.now()): number | undefined {
  if (value === undefined) return undefined
  const ms = /^\d{1,10}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - nowMs
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), RETRY_AFTER_LIMIT_MS)
}

/** A kept-alive connection may be closed by the server just as we use it; a new one is then worth a try. */
export function isConnectionLost(cause: unknown): boolean {
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(codeOf(cause))
}

/** Whether this is what became of an answer that fell silent in the middle. */
export function isStall(error: unknown): boolean {
  return error instanceof Error && codeOf(error.cause) === 'UND_ERR_BODY_TIMEOUT'
}

/** By name, because undici 7.30 gives these errors no code: it looks it up in a table that is the other way round. */
function isParserError(cause: unknown): boolean {
  return cause instanceof Error && cause.name === 'HTTPParserError'
}

/** Empty for an error without one. */
function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : ''
}

function reasonOf(cause: unknown): string {
  // One connection attempt per address: the sum has no message of its own.
  if (cause instanceof AggregateError) return cause.errors.map(reasonOf).join('; ')
  if (!(cause instanceof Error)) return String(cause)
  const code = codeOf(cause)
  return code && !code.startsWith('UND_') && !cause.message.includes(code)
    ? `${cause.message} (${code})`
    : cause.message
}
