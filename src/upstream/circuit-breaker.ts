import type { Clock } from '../parts/clock.js'

export type BreakerState = 'closed' | 'open' | 'half-open'

/** So many failures in a row open it. */
export const FAILURES_LIMIT = 5
/** Until the first probe; doubled with each one that fails. Up to half of it is taken off at random. */
const FIRST_OPEN_MS = 5_000
const LONGEST_OPEN_MS = 60_000
/** A client who has nobody else to ask may probe earlier, but not more often than this. */
export const LAST_RESORT_MS = 5_000

export interface BreakerOptions {
  readonly clock: Clock
  /** At least 0, less than 1. */
  readonly random: () => number
  readonly onTurn: (state: BreakerState) => void
}

/** One call that was let through. Whoever has it says how it went, once it is known; what comes after that is ignored. */
export interface Passage {
  /** The upstream answers again. Whether its answer is worth anything is still to be seen. */
  answered(): void
  succeeded(): void
  failed(): void
  /** It ended without telling us anything about the upstream. */
  left(): void
}

/**
 * Keeps us from asking an upstream that is ill. Closed, everybody passes; after some failures in a row it opens, and
 * nobody does; after a while it is half-open for one call, the probe, which closes it or opens it for longer.
 */
export class CircuitBreaker {
  readonly #options: BreakerOptions
  #state: BreakerState = 'closed'
  #failures = 0
  /** How often in a row it opened. */
  #openings = 0
  /** By the steady clock. */
  #probeAtMs = 0
  #lastFailureMs = 0
  #probe: object | undefined

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  get state(): BreakerState {
    return this.#state
  }

  /** In a row. */
  get failures(): number {
    return this.#failures
  }

  /** How long until the next probe is let through; `undefined` unless open. */
  get probeInMs(): number | undefined {
    return this.#state === 'open' ? Math.max(0, Math.ceil(this.#probeAtMs - this.#options.clock.steadyMs())) : undefined
  }

  /**
   * Asks to pass. Answers `undefined` when the upstream must not be asked now.
   * @param isLastResort somebody waits for it who has nobody else to ask.
   */
  enter(isLastResort = false): Passage | undefined {
    if (this.#state === 'half-open') return undefined
    if (this.#state === 'open') {
      const nowMs = this.#options.clock.steadyMs()
      const probeAtMs = isLastResort ? Math.min(this.#probeAtMs, this.#lastFailureMs + LAST_RESORT_MS) : this.#probeAtMs
      if (nowMs < probeAtMs) return undefined
      this.#turn('half-open')
    }
    return this.#passage()
  }

  #passage(): Passage {
    const token = {}
    const isProbe = this.#state === 'half-open'
    if (isProbe) this.#probe = token
    let isOver = false
    const once = (act: () => void) => () => {
      if (isOver) return
      isOver = true
      act()
    }
    return {
      answered: () => {
        if (!isOver) this.#close()
      },
      succeeded: once(() => {
        this.#failures = 0
        this.#openings = 0
        this.#close()
      }),
      failed: once(() => {
        // Of calls that were under way when it opened, only good news counts.
        if (this.#state !== 'closed' && this.#probe !== token) return
        this.#failures += 1
        this.#lastFailureMs = this.#options.clock.steadyMs()
        if (this.#failures >= FAILURES_LIMIT) this.#open()
      }),
      left: once(() => {
        // The next one may try at once: nothing was learnt.
        if (this.#probe === token) this.#turn('open')
      }),
    }
  }

  #open(): void {
    const { clock, random } = this.#options
    const longestMs = Math.min(FIRST_OPEN_MS * 2 ** Math.min(this.#openings, 10), LONGEST_OPEN_MS)
    this.#openings += 1
    this.#probeAtMs = clock.steadyMs() + longestMs * (0.5 + random() / 2)
    this.#turn('open')
  }

  #close(): void {
    this.#turn('closed')
  }

  #turn(state: BreakerState): void {
    if (state !== 'half-open') this.#probe = undefined
    if (state === this.#state) return
    this.#state = state
    this.#options.onTurn(state)
  }
}
