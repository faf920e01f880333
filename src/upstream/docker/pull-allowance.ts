import type { Clock } from '../../parts/clock.js'
import type { Pace } from '../http-client.js'
import { parseRetryAfter } from '../http-failure.js'
import { NotAsked } from '../not-asked.js'
import { type Header, parseRateLimit, QUIET_LIMIT_MS } from '../request-pace.js'
import type { Priority, PullLimit } from '../upstream.js'
import type { UpstreamCounters } from '../upstream-counters.js'

/** What is left to clients: this part of the limit, or this many where the limit is not told. */
const RESERVE_OF_LIMIT = 0.1
const RESERVE = 5
/** After a 429 without Retry-After; doubled with every further one, up to `QUIET_LIMIT_MS`. */
const FIRST_QUIET_MS = 60_000

export interface PullAllowanceOptions {
  /** The upstream's configured name. */
  readonly name: string
  readonly clock: Clock
  readonly counters: UpstreamCounters
}

/**
 * How many manifests a registry still lets us have. Docker Hub counts each that is fetched; asking what a tag means (HEAD)
 * and blobs are free, so neither is held back when the count runs out. What is left near its end is for clients: tags are
 * then no longer followed in the background.
 *
 * Source: docs.docker.com/docker-hub/usage (`ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 76;w=21600`, on GET and
 * HEAD alike; 429 over the limit, with or without Retry-After).
 */
export class PullAllowance implements Pace {
  readonly #options: PullAllowanceOptions
  #limit: number | undefined
  /** `undefined` where nothing is told, or what was told is over. */
  #remaining: number | undefined
  /** Both by the steady clock. */
  #windowEndMs = 0
  #quietUntilMs = 0
  #refusals = 0

  constructor(options: PullAllowanceOptions) {
    this.#options = options
  }

  /** `undefined` when the registry tells of no limit and minds nothing. */
  get now(): PullLimit | undefined {
    const { clock } = this.#options
    const nowMs = clock.steadyMs()
    const remaining = this.#remainingAt(nowMs)
    const quietMs = Math.max(0, this.#quietUntilMs - nowMs)
    if (remaining === undefined && quietMs === 0) return undefined
    const untilMs = Math.max(this.#quietUntilMs, remaining === undefined ? 0 : this.#windowEndMs)
    return {
      limit: this.#limit,
      remaining: quietMs > 0 ? 0 : remaining!,
      untilMs: Math.round(clock.wallMs() + untilMs - nowMs),
    }
  }

  /** @throws NotAsked when this must not be asked now. @param isCounted whether it is one of those that are counted. */
  admit(isCounted: boolean, priority: Priority): void {
    const nowMs = this.#options.clock.steadyMs()
    if (nowMs < this.#quietUntilMs) throw this.refusal()
    const remaining = this.#remainingAt(nowMs)
    if (!isCounted || remaining === undefined) return
    const reserve = this.#limit === undefined ? RESERVE : Math.ceil(this.#limit * RESERVE_OF_LIMIT)
    if (remaining <= (priority === 'client' ? 0 : reserve)) throw this.refusal()
    // Several may be under way before the first answer tells what is left.
    this.#remaining = remaining - 1
  }

  heard(status: number, header: Header): void {
    const { clock } = this.#options
    const nowMs = clock.steadyMs()
    const said = parseRateLimit(header, clock.wallMs())
    if (said) {
      this.#limit = said.limit
      this.#remaining = said.remaining
      this.#windowEndMs = nowMs + said.resetMs
    }
    if (status !== 429) {
      if (status < 400) this.#refusals = 0
      return
    }
    const retryAfterMs = parseRetryAfter(header('retry-after'), clock.wallMs())
    const quietMs = retryAfterMs ?? FIRST_QUIET_MS * 2 ** Math.min(this.#refusals, 10)
    this.#refusals += 1
    this.#quietUntilMs = Math.max(this.#quietUntilMs, nowMs + Math.min(quietMs, QUIET_LIMIT_MS))
  }

  /** What whoever is turned away is told. */
  refusal(): NotAsked {
    const { clock, counters, name } = this.#options
    counters.notAsked(name, 'quiet')
    const nowMs = clock.steadyMs()
    const isQuiet = nowMs < this.#quietUntilMs
    // Docker's window slides: it may well be worth a question earlier than its whole width from now.
    const untilMs = isQuiet ? this.#quietUntilMs : Math.min(this.#windowEndMs, nowMs + QUIET_LIMIT_MS)
    const retryAfterMs = Math.max(1, Math.round(untilMs - nowMs))
    const until = new Date(clock.wallMs() + retryAfterMs).toISOString()
    const why = isQuiet ? 'has had enough manifests fetched' : `lets us have ${this.#remaining} more manifests`
    return new NotAsked(`${name}: the registry ${why}; trying again at ${until}`, { retryAfterMs, isOverLimit: true })
  }

  #remainingAt(nowMs: number): number | undefined {
    if (nowMs >= this.#windowEndMs) this.#remaining = undefined
    return this.#remaining
  }
}
