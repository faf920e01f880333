import type { BlobRef } from '../../store/blob-store.js'

/** Looking through all blobs takes about a second for a million of them: it is done once for so many. */
const BATCH_LENGTH = 4096

export interface OldestFirstOptions {
  /** Every blob there is, in no order. */
  readonly all: () => Iterable<BlobRef>
  readonly find: (sha256: string) => BlobRef | undefined
  /** It only ever grows. Milliseconds since 1970. */
  readonly lastCheckMs: (ref: BlobRef) => number
}

/**
 * Which blob waits longest to be read again. At most 4,096 are remembered in their order; one that came after them was
 * verified when it came, and waits for less.
 */
export class OldestFirst {
  readonly #options: OldestFirstOptions
  #batch: readonly { readonly sha256: string; readonly lastCheckMs: number }[] = []
  #at = 0

  constructor(options: OldestFirstOptions) {
    this.#options = options
  }

  /** It stays the first until it was read, or has gone. */
  get first(): BlobRef | undefined {
    const found = this.#firstOfBatch()
    if (found) return found
    this.#batch = this.#oldest()
    this.#at = 0
    return this.#firstOfBatch()
  }

  /** What is known of their checks is another thing now. */
  forget(): void {
    this.#batch = []
  }

  #firstOfBatch(): BlobRef | undefined {
    const { find, lastCheckMs } = this.#options
    for (; this.#at < this.#batch.length; this.#at++) {
      const waiting = this.#batch[this.#at]!
      const ref = find(waiting.sha256)
      if (ref && lastCheckMs(ref) === waiting.lastCheckMs) return ref
    }
    return undefined
  }

  /** In their order. Numbers are sorted first, since of all blobs they fit into memory with ease. */
  #oldest(): { sha256: string; lastCheckMs: number }[] {
    const { all, lastCheckMs } = this.#options
    const times: number[] = []
    for (const ref of all()) times.push(lastCheckMs(ref))
    const latestMs = Float64Array.from(times).sort()[BATCH_LENGTH - 1] ?? Number.POSITIVE_INFINITY
    const before: { sha256: string; lastCheckMs: number }[] = []
    const tied: { sha256: string; lastCheckMs: number }[] = []
    for (const ref of all()) {
      const waiting = { sha256: ref.sha256, lastCheckMs: lastCheckMs(ref) }
      if (waiting.lastCheckMs < latestMs) before.push(waiting)
      else if (waiting.lastCheckMs === latestMs && tied.length < BATCH_LENGTH) tied.push(waiting)
    }
    return [...before.sort((left, right) => left.lastCheckMs - right.lastCheckMs), ...tied].slice(0, BATCH_LENGTH)
  }
}
