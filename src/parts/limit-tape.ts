import { limitAt, nextChangeMs, type RateLimit, type RatePlan } from './rate-plan.js'

/** A stretch of time in which one limit holds. Ms since 1970. */
interface Stretch {
  readonly limit: RateLimit
  /** Exclusive; `Infinity` when nothing changes any more. */
  readonly untilMs: number
}

/** A rate plan unrolled from a moment on, as far as it is asked for: what holds when, without looking at the calendar twice. */
export class LimitTape {
  readonly #plan: RatePlan
  readonly #startMs: number
  /** Without gaps, from `#startMs` on. */
  readonly #stretches: Stretch[] = []

  constructor(plan: RatePlan, startMs: number) {
    this.#plan = plan
    this.#startMs = startMs
  }

  /** What holds at `atMs`, which is not before the start, and until when. */
  at(atMs: number): Stretch {
    let last = this.#stretches.at(-1)
    while (!last || last.untilMs <= atMs) {
      const fromMs = last?.untilMs ?? this.#startMs
      const untilMs = nextChangeMs(this.#plan, fromMs) ?? Number.POSITIVE_INFINITY
      last = { limit: limitAt(this.#plan, fromMs), untilMs }
      this.#stretches.push(last)
    }
    return this.#stretches[this.#find(atMs)]!
  }

  /** The first that ends behind `atMs`. */
  #find(atMs: number): number {
    let [first, end] = [0, this.#stretches.length - 1]
    while (first < end) {
      const middle = (first + end) >> 1
      if (this.#stretches[middle]!.untilMs <= atMs) first = middle + 1
      else end = middle
    }
    return first
  }
}
