import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../src/parts/clock.js'

interface Pause {
  readonly endMs: number
  readonly end: () => void
}

/** A clock that goes on when it is told to. */
export class FakeClock implements Clock {
  readonly #pauses = new Set<Pause>()
  #startMs: number
  #nowMs = 0

  /** @param start what the clock on the wall shows at first, in UTC. */
  constructor(start = '2026-01-05T12:00:00Z') {
    this.#startMs = Date.parse(start)
  }

  wallMs(): number {
    return this.#startMs + this.#nowMs
  }

  /** Somebody sets the clock on the wall; no time passes. */
  setWall(time: string): void {
    this.#startMs = Date.parse(time) - this.#nowMs
  }

  steadyMs(): number {
    return this.#nowMs
  }

  /** How many wait for it. */
  get pausing(): number {
    return this.#pauses.size
  }

  async pause(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        this.#pauses.delete(pause)
        reject(signal.reason)
      }
      const end = () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      const pause = { endMs: this.#nowMs + ms, end }
      this.#pauses.add(pause)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Lets time pass, and everybody wake at their time, in order. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    for (;;) {
      await turn()
      const [next] = [...this.#pauses].sort((left, right) => left.endMs - right.endMs)
      if (!next || next.endMs > untilMs) break
      this.#nowMs = Math.max(this.#nowMs, next.endMs)
      this.#pauses.delete(next)
      next.end()
    }
    this.#nowMs = untilMs
  }
}
