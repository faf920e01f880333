import { createHash } from 'node:crypto'
import type { Clock } from '../../parts/clock.js'
import { CLOCK_SKEW_MS } from './http-signature.js'

/**
 * How long a signature may be used again. Clients sign the date alone, which counts in seconds: what they do within one
 * second carries the same signature.
 */
const AGAIN_FOR_MS = 10_000

/** One that was signed ahead of our clock is good until then. */
const REMEMBERED_FOR_MS = 2 * CLOCK_SKEW_MS

/** About 2 MB. Only who can sign fills it; beyond it, the oldest are forgotten. */
const MOST_REMEMBERED = 10_000

/**
 * Signatures that something was changed with. Who overhears one can use it for 300 s, as the reference has it; so it is
 * good for 10 s from its first use only, and only from the same address. What is signed together with the line of the
 * request is worth nothing for another.
 */
export class UsedSignatures {
  readonly #used = new Map<string, { readonly address: string; readonly firstMs: number }>()
  readonly #clock: Pick<Clock, 'steadyMs'>

  constructor(clock: Pick<Clock, 'steadyMs'>) {
    this.#clock = clock
  }

  /** Notes that it is used; answers whether it may be. */
  use(signed: string, address: string): boolean {
    const nowMs = this.#clock.steadyMs()
    for (const [key, { firstMs }] of this.#used) {
      if (nowMs - firstMs < REMEMBERED_FOR_MS && this.#used.size < MOST_REMEMBERED) break
      this.#used.delete(key)
    }
    const key = createHash('sha256').update(signed).digest('base64')
    const before = this.#used.get(key)
    if (before) return before.address === address && nowMs - before.firstMs <= AGAIN_FOR_MS
    this.#used.set(key, { address, firstMs: nowMs })
    return true
  }
}
