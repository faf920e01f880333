import { type LivePriority, priorityNow } from './upstream.js'

/** A fixed number of places. Who finds none free waits in line: clients before others, first come, first served. */
export class Slots {
  #free: number
  readonly #waiting = new Map<() => void, LivePriority>()

  constructor(
    count: number,
    readonly waitingLimit: number,
  ) {
    this.#free = count
  }

  /**
   * Resolves with the function that gives the place back, or with `undefined` when `waitingLimit` others already wait.
   * Giving back twice is harmless. Rejects with the signal's reason when it aborts first.
   */
  async take(signal: AbortSignal, priority: LivePriority = 'client'): Promise<(() => void) | undefined> {
    signal.throwIfAborted()
    if (this.#free > 0) {
      this.#free -= 1
      return this.#giveBackOnce()
    }
    if (this.#waiting.size >= this.waitingLimit) return undefined
    await new Promise<void>((resolve, reject) => {
      const onTurn = () => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      const onAbort = () => {
        this.#waiting.delete(onTurn)
        reject(signal.reason)
      }
      this.#waiting.set(onTurn, priority)
      signal.addEventListener('abort', onAbort, { once: true })
    })
    return this.#giveBackOnce()
  }

  #giveBackOnce(): () => void {
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      const next = this.#next()
      // Handed on, not freed: a newcomer must not slip in between.
      if (!next) this.#free += 1
      else {
        this.#waiting.delete(next)
        next()
      }
    }
  }

  #next(): (() => void) | undefined {
    for (const [onTurn, priority] of this.#waiting) if (priorityNow(priority) === 'client') return onTurn
    const [first] = this.#waiting.keys()
    return first
  }
}
