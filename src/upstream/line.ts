import { type Clock, systemClock } from '../parts/clock.js'
import { steadyPlan } from '../parts/rate-plan.js'
import { Bandwidth } from './bandwidth.js'
import { NotAsked } from './not-asked.js'
import { RequestPace } from './request-pace.js'
import { type LivePriority, priorityNow } from './upstream.js'
import { noUpstreamCounters, type UpstreamCounters } from './upstream-counters.js'

export interface LineOptions {
  /** The upstream's configured name. */
  readonly name: string
  readonly clock: Clock
  readonly counters: UpstreamCounters
  /** Of this upstream. */
  readonly bandwidth: Bandwidth
  /** Of all upstreams together. */
  readonly totalBandwidth: Bandwidth
}

/** Origins remembered at once. Redirects of registries lead to origins that nobody has named, and nobody has counted. */
const PACES_LIMIT = 256

/** What lies between us and one upstream: how fast it may be used, when, and how often its servers want to be asked. */
export class Line {
  readonly #options: LineOptions
  /** By origin: the upstream's own, and its file hosts. */
  readonly #paces = new Map<string, RequestPace>()

  constructor(options: LineOptions) {
    this.#options = options
  }

  /** @throws NotAsked when that origin must not be asked now. */
  admit(origin: string, priority: LivePriority): void {
    const { bandwidth, counters, name, totalBandwidth } = this.#options
    const who = priorityNow(priority)
    const refusal = bandwidth.refusal(who) ?? totalBandwidth.refusal(who)
    if (refusal) {
      counters.notAsked(name, 'closed')
      throw refusal
    }
    const { isOverLimit, quietMs } = this.#paceOf(origin)
    if (quietMs > 0) {
      counters.notAsked(name, 'quiet')
      const until = new Date(this.#options.clock.wallMs() + quietMs).toISOString()
      throw new NotAsked(`${name}: ${origin} wants to be left alone until ${until}`, {
        retryAfterMs: quietMs,
        isOverLimit,
      })
    }
  }

  /** Waits until it is our turn to ask that origin: at once, unless it has few requests left for us. */
  async turn(origin: string, signal: AbortSignal): Promise<void> {
    const waitMs = this.#paceOf(origin).takeTurn()
    if (waitMs > 0) await this.#options.clock.pause(waitMs, signal)
  }

  /** Learns from an answer. */
  heard(origin: string, status: number, header: (name: string) => string | undefined): void {
    this.#paceOf(origin).heard(status, header)
  }

  /** For how long this origin wants to be left alone; 0 if it does not mind. */
  quietMs(origin: string): number {
    return this.#paceOf(origin).quietMs
  }

  /**
   * Pays for bytes that came. Answers `undefined` when they may be used at once, else a promise of when; it rejects with
   * NotAsked when the line closes, or with the signal's reason.
   */
  pay(bytes: number, priority: LivePriority, signal: AbortSignal): Promise<void> | undefined {
    const { bandwidth, totalBandwidth } = this.#options
    if (bandwidth.isFree && totalBandwidth.isFree) return undefined
    return this.#payInPieces(bytes, priority, signal)
  }

  /**
   * Piece by piece to both, as a bucket saves up little while the other is waited for. The total comes last, so that
   * nothing of it is spent on bytes which then wait for their own upstream's rate.
   */
  async #payInPieces(bytes: number, priority: LivePriority, signal: AbortSignal): Promise<void> {
    const { bandwidth, clock, counters, name, totalBandwidth } = this.#options
    const startedMs = clock.steadyMs()
    try {
      for (let leftBytes = bytes; leftBytes > 0; ) {
        const piece = Math.min(leftBytes, bandwidth.pieceBytes, totalBandwidth.pieceBytes)
        await bandwidth.pay(piece, priority, signal)
        await totalBandwidth.pay(piece, priority, signal)
        leftBytes -= piece
      }
    } finally {
      counters.waitedForRate(name, (clock.steadyMs() - startedMs) / 1000)
    }
  }

  #paceOf(origin: string): RequestPace {
    const known = this.#paces.get(origin)
    const pace = known ?? new RequestPace(this.#options.clock)
    // What was asked last stands last: the upstream's own origin is never the one forgotten.
    this.#paces.delete(origin)
    this.#paces.set(origin, pace)
    const [oldest] = this.#paces.keys()
    if (this.#paces.size > PACES_LIMIT) this.#paces.delete(oldest!)
    return pace
  }
}

/** A line without any rate, closed to nobody. */
export function makeOpenLine(name: string): Line {
  const bandwidth = new Bandwidth(name, steadyPlan('unlimited'), systemClock)
  return new Line({ name, clock: systemClock, counters: noUpstreamCounters, bandwidth, totalBandwidth: bandwidth })
}
