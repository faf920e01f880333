import { LRUCache } from 'lru-cache'

/**
 * Remembers for a while which upstream failed with which file, so that the next try prefers another one. A fault only
 * changes the order: an upstream that is the only one left is asked again.
 */
export class FaultMemory {
  readonly #faults: LRUCache<string, number>

  /** @param options.max how many faults are remembered; the oldest are forgotten first. */
  constructor(options: { ttlMs: number; max?: number }) {
    this.#faults = new LRUCache({ max: options.max ?? 10_000, ttl: options.ttlMs })
  }

  remember(key: string): void {
    this.#faults.set(key, (this.#faults.get(key) ?? 0) + 1)
  }

  /** Those with the fewest faults first; otherwise in their own order. */
  leastFaultyFirst<Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[] {
    const faultsOf = (item: Item) => this.#faults.get(keyOf(item)) ?? 0
    return [...items].sort((a, b) => faultsOf(a) - faultsOf(b))
  }
}
