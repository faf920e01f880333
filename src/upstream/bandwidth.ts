import type { Clock } from '../parts/clock.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import { limitAt, nextChangeMs, type RateLimit, type RatePlan, rateWhenClosed } from '../parts/rate-plan.js'
import { TokenBucket } from '../parts/token-bucket.js'
import { NotAsked } from './not-asked.js'
import { type LivePriority, type Priority, priorityNow } from './upstream.js'

/** A plan is looked at again at least so often: somebody may have set the clock. */
const LOOK_MS = 60_000

interface Waiter {
  readonly priority: LivePriority
  readonly served: Deferred<void>
  leftBytes: number
}

/**
 * How fast a line may be read, by a plan that may be changed while it is in use. Bytes for clients go first, then those
 * for nobody; among equals, each is served a piece in turn.
 *
 * Bytes are counted when they have come, and handed on when they are paid for; meanwhile nothing more is read from
 * that connection. So ahead of the rate is at most what one read of each connection brings (64 KiB) and what the
 * kernel's buffers take. Headers are not counted.
 */
export class Bandwidth {
  readonly #name: string
  readonly #clock: Clock
  readonly #bucket: TokenBucket
  /** In the order of their turns. At most one per connection. */
  readonly #waiting = new Set<Waiter>()
  #plan: RatePlan
  #limit!: RateLimit
  /** The span, by the wall clock, in which `#limit` is known to hold. */
  #knownFromMs = 0
  #knownUntilMs = 0
  #sleep: AbortController | undefined

  /** @param name for messages: what is closed. */
  constructor(name: string, plan: RatePlan, clock: Clock) {
    this.#name = name
    this.#plan = plan
    this.#clock = clock
    this.#bucket = new TokenBucket(Number.POSITIVE_INFINITY, clock.steadyMs())
    this.setRate(plan)
  }

  /** From now on, also for those who wait already. */
  setRate(plan: RatePlan): void {
    this.#plan = plan
    this.#look()
    this.#serve()
  }

  get plan(): RatePlan {
    return this.#plan
  }

  /** What holds now; `changeMs` is when that ends, since 1970. */
  get now(): { limit: RateLimit; changeMs: number | undefined } {
    this.#lookAgain()
    return { limit: this.#limit, changeMs: this.#changeMs }
  }

  get #changeMs(): number | undefined {
    return nextChangeMs(this.#plan, this.#clock.wallMs())
  }

  /** Why this priority may not use the line now; `undefined` if it may. */
  refusal(priority: Priority): NotAsked | undefined {
    this.#lookAgain()
    if (this.#limit !== 'closed' || (priority === 'client' && this.#plan.whenClosed === 'allow')) return undefined
    const changeMs = this.#changeMs
    const until = changeMs === undefined ? '' : ` until ${new Date(changeMs).toISOString()}`
    return new NotAsked(`${this.#name} is closed by its schedule${until}`, {
      retryAfterMs: changeMs === undefined ? undefined : changeMs - this.#clock.wallMs(),
    })
  }

  /** Whether nobody has to pay now. */
  get isFree(): boolean {
    this.#lookAgain()
    return this.#limit === 'unlimited' && this.#waiting.size === 0
  }

  /** What is best paid for at once. */
  get pieceBytes(): number {
    this.#lookAgain()
    return this.#bucket.pieceBytes
  }

  /**
   * Pays for bytes. Answers `undefined` when they may be used at once, else a promise of when.
   * Rejects with NotAsked when the line closes, or with the signal's reason.
   */
  pay(bytes: number, priority: LivePriority, signal: AbortSignal): Promise<void> | undefined {
    this.#lookAgain()
    if (this.#waiting.size === 0 && !this.refusal(priorityNow(priority))) {
      if (this.#bucket.bytesPerSecond === Number.POSITIVE_INFINITY) return undefined
      if (bytes <= this.#bucket.pieceBytes && this.#bucket.waitMs(bytes, this.#clock.steadyMs()) === 0) {
        this.#bucket.take(bytes)
        return undefined
      }
    }
    return this.#wait({ priority, served: deferred(), leftBytes: bytes }, signal)
  }

  async #wait(waiter: Waiter, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const onAbort = () => waiter.served.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#waiting.add(waiter)
    try {
      this.#serve()
      await waiter.served.promise
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#waiting.delete(waiter)
    }
  }

  /** Gives out what may be given out now, and comes again when there is more. */
  #serve(): void {
    this.#sleep?.abort()
    this.#sleep = undefined
    this.#lookAgain()
    if (this.#limit === 'closed') this.#turnAway()
    for (let waiter = this.#next(); waiter; waiter = this.#next()) {
      const piece = Math.min(waiter.leftBytes, this.#bucket.pieceBytes)
      const waitMs = this.#bucket.waitMs(piece, this.#clock.steadyMs())
      if (waitMs > 0) {
        // A piece is never long to wait for, so a change of the plan needs no timer of its own.
        this.#serveIn(waitMs)
        return
      }
      this.#bucket.take(piece)
      waiter.leftBytes -= piece
      this.#waiting.delete(waiter)
      if (waiter.leftBytes > 0) this.#waiting.add(waiter)
      else waiter.served.resolve()
    }
  }

  #next(): Waiter | undefined {
    for (const waiter of this.#waiting) if (priorityNow(waiter.priority) === 'client') return waiter
    const [first] = this.#waiting
    return first
  }

  #turnAway(): void {
    for (const waiter of this.#waiting) {
      const refusal = this.refusal(priorityNow(waiter.priority))
      if (!refusal) continue
      this.#waiting.delete(waiter)
      waiter.served.reject(refusal)
    }
  }

  #serveIn(ms: number): void {
    const sleep = new AbortController()
    this.#sleep = sleep
    this.#clock.pause(Math.max(1, Math.ceil(ms)), sleep.signal).then(
      () => this.#serve(),
      () => {}, // Somebody serves in our place.
    )
  }

  #lookAgain(): void {
    const wallMs = this.#clock.wallMs()
    if (wallMs < this.#knownFromMs || wallMs >= this.#knownUntilMs) this.#look()
  }

  #look(): void {
    const wallMs = this.#clock.wallMs()
    this.#limit = limitAt(this.#plan, wallMs)
    this.#knownFromMs = wallMs
    this.#knownUntilMs = Math.min(this.#changeMs ?? Number.POSITIVE_INFINITY, wallMs + LOOK_MS)
    const rate = this.#limit === 'closed' ? rateWhenClosed(this.#plan) : this.#limit
    const bytesPerSecond = rate === 'unlimited' ? Number.POSITIVE_INFINITY : rate
    if (bytesPerSecond !== this.#bucket.bytesPerSecond) this.#bucket.setRate(bytesPerSecond, this.#clock.steadyMs())
  }
}
