import { isIPv6 } from 'node:net'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../../parts/clock.js'

/**
 * How many wrong proofs in a row are looked at, and how fast they are forgotten. An address may be that of many behind a
 * proxy, and who guesses may have many addresses: hence the second count, by the name that is claimed.
 */
export const ATTEMPTS_OF_AN_ADDRESS: AttemptBounds = { most: 20, forgetEveryMs: 15_000 }
export const ATTEMPTS_AT_A_NAME: AttemptBounds = { most: 50, forgetEveryMs: 10_000 }

/** Addresses, or names, that are remembered: about 2 MB. When there are more, those unheard of longest are forgotten. */
const MOST_REMEMBERED = 10_000

export interface AttemptBounds {
  readonly most: number
  readonly forgetEveryMs: number
}

interface Count {
  /** As it was at `atMs`; it falls by itself. */
  readonly failures: number
  readonly atMs: number
}

/** Counts failures by key, and lets them fade. */
export class Attempts {
  readonly #counts = new LRUCache<string, Count>({ max: MOST_REMEMBERED })
  readonly #bounds: AttemptBounds
  readonly #clock: Pick<Clock, 'steadyMs'>

  constructor(bounds: AttemptBounds, clock: Pick<Clock, 'steadyMs'>) {
    this.#bounds = bounds
    this.#clock = clock
  }

  /** How long until the next attempt is looked at; 0 for at once. */
  waitMs(key: string): number {
    const { most, forgetEveryMs } = this.#bounds
    return Math.max(0, Math.ceil((this.#failures(key) - (most - 1)) * forgetEveryMs))
  }

  fail(key: string): void {
    this.#set(key, this.#failures(key) + 1)
  }

  /** Takes a failure back that was noted before it was known whether it would be one. */
  forgive(key: string): void {
    this.#set(key, Math.max(0, this.#failures(key) - 1))
  }

  #set(key: string, failures: number): void {
    if (failures === 0) this.#counts.delete(key)
    else this.#counts.set(key, { failures, atMs: this.#clock.steadyMs() })
  }

  #failures(key: string): number {
    const count = this.#counts.get(key)
    if (!count) return 0
    return Math.max(0, count.failures - (this.#clock.steadyMs() - count.atMs) / this.#bounds.forgetEveryMs)
  }
}

/** Whom an address stands for: one of IPv6 for its network of /64, which is what one customer gets at least. */
export function addressKey(address: string): string {
  const v4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (v4 !== undefined || !isIPv6(address)) return v4 ?? address
  const [head = '', tail = ''] = address.split('%', 1)[0]!.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const [before, after] = [groups(head), groups(tail)]
  const zeros = address.includes('::') ? Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0') : []
  return `${[...before, ...zeros, ...after].slice(0, 4).join(':').toLowerCase()}::/64`
}
