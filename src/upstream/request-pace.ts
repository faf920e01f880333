import type { Clock } from '../parts/clock.js'
import { parseRetryAfter } from './http-failure.js'

/** Nobody is left alone for longer, whatever it says: a slip of its clock must not cost us a day. */
export const QUIET_LIMIT_MS = 60 * 60 * 1000
/** The slowest we get before a limit is reached, as somebody may wait for the next request. */
const SPACING_LIMIT_MS = 5_000
/** Few are left: this part of the limit, or this many where the limit is not told. */
const FEW_OF_LIMIT = 0.1
const FEW = 5
/** A reset larger than this is no span but a date, in seconds since 1970 (GitHub's x-ratelimit-reset). */
const EARLIEST_DATE_SECONDS = 1_000_000_000

/** A header of an answer by its name in lower case. */
export type Header = (name: string) => string | undefined

/**
 * How often one origin wants to be asked. After a 429 or 503 with Retry-After, and when its count of requests is used
 * up, it is left alone; when few are left, they are spread over the time until the count begins anew.
 *
 * Sources: RFC 9110, 10.2.3 (Retry-After); draft-ietf-httpapi-ratelimit-headers, -03 (RateLimit-Limit, -Remaining,
 * -Reset) to -08 (`RateLimit: "default";r=50;t=30`); Docker Hub (`ratelimit-remaining: 76;w=21600`); GitHub (x-ratelimit-*).
 */
export class RequestPace {
  readonly #clock: Clock
  /** By the steady clock, all three. */
  #quietUntilMs = 0
  #isOverLimit = false
  #nextTurnMs = 0
  #slowUntilMs = 0
  #spacingMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** For how long it wants to hear nothing from us; 0 if it does not mind. */
  get quietMs(): number {
    return Math.max(0, this.#quietUntilMs - this.#clock.steadyMs())
  }

  /** Whether it wants to hear nothing because we have asked for too much, and not because it is unwell. */
  get isOverLimit(): boolean {
    return this.#isOverLimit
  }

  /** Learns from an answer, whatever its status. */
  heard(status: number, header: Header): void {
    const nowMs = this.#clock.steadyMs()
    const wallMs = this.#clock.wallMs()
    if (status === 429 || status === 503) {
      this.#quieten(parseRetryAfter(header('retry-after'), wallMs) ?? 0, status === 429)
    }
    const limit = parseRateLimit(header, wallMs)
    if (!limit) return
    if (limit.remaining === 0) this.#quieten(limit.resetMs, true)
    const few = limit.limit === undefined ? FEW : limit.limit * FEW_OF_LIMIT
    this.#slowUntilMs = nowMs + Math.min(limit.resetMs, QUIET_LIMIT_MS)
    this.#spacingMs = limit.remaining > few ? 0 : Math.min(limit.resetMs / (limit.remaining + 1), SPACING_LIMIT_MS)
  }

  /** Takes the next turn, and answers how long to wait for it. */
  takeTurn(): number {
    const nowMs = this.#clock.steadyMs()
    const isSlow = nowMs < this.#slowUntilMs && this.#spacingMs > 0
    if (!isSlow) {
      this.#nextTurnMs = nowMs
      return 0
    }
    // Many at once would queue up for longer than the time they are spread over.
    this.#nextTurnMs = Math.min(Math.max(nowMs, this.#nextTurnMs) + this.#spacingMs, this.#slowUntilMs)
    return this.#nextTurnMs - nowMs
  }

  #quieten(ms: number, isOverLimit: boolean): void {
    const untilMs = this.#clock.steadyMs() + Math.min(ms, QUIET_LIMIT_MS)
    if (untilMs <= this.#quietUntilMs) return
    this.#quietUntilMs = untilMs
    this.#isOverLimit = isOverLimit
  }
}

export interface RateLimitSaid {
  readonly limit: number | undefined
  readonly remaining: number
  readonly resetMs: number
}

/** `undefined` where nothing usable is said. */
export function parseRateLimit(header: Header, wallMs: number): RateLimitSaid | undefined {
  const combined = header('ratelimit')?.slice(0, 500)
  if (combined !== undefined) {
    const remaining = parameterOf(combined, 'r', 'remaining')
    const seconds = parameterOf(combined, 't', 'reset')
    if (remaining === undefined || seconds === undefined) return undefined
    return { limit: parameterOf(combined, 'q', 'limit'), remaining, resetMs: spanMs(seconds, wallMs) }
  }
  for (const prefix of ['ratelimit-', 'x-ratelimit-']) {
    const remaining = leadingNumber(header(`${prefix}remaining`))
    // Without a reset, the width of Docker's window is the longest it can take.
    const seconds = leadingNumber(header(`${prefix}reset`)) ?? parameterOf(header(`${prefix}remaining`) ?? '', 'w')
    if (remaining === undefined || seconds === undefined) continue
    return { limit: leadingNumber(header(`${prefix}limit`)), remaining, resetMs: spanMs(seconds, wallMs) }
  }
  return undefined
}

function spanMs(seconds: number, wallMs: number): number {
  return seconds >= EARLIEST_DATE_SECONDS ? Math.max(0, seconds * 1000 - wallMs) : seconds * 1000
}

function leadingNumber(value: string | undefined): number | undefined {
  const [, digits] = /^\s*(\d{1,12})(?![\d.])/.exec(value ?? '') ?? []
  return digits === undefined ? undefined : Number(digits)
}

/** `r` of `"default";q=100;r=50;t=30`, or `remaining` of `limit=100, remaining=50, reset=30`. */
function parameterOf(value: string, ...names: string[]): number | undefined {
  for (const name of names) {
    const [, digits] = new RegExp(`(?:^|[;,\\s])${name}=(\\d{1,12})(?![\\d.])`).exec(value) ?? []
    if (digits !== undefined) return Number(digits)
  }
  return undefined
}
