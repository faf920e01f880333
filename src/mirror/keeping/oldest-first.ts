import type { BlobRef, TimedBlob } from '../../store/blob-store.js'

/** To find the first ones takes some 50 ms of a million: it is done once for so many. */
const BATCH_LENGTH = 4096

export interface OldestFirstOptions {
  /** Every blob there is, the one whose last check is longest ago first. */
  readonly inOrderOfCheck: () => Iterable<TimedBlob>
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
  #batch: readonly TimedBlob[] = []
  #at = 0

  constructor(options: OldestFirstOptions) {
    this.#options = options
  }

  /** It stays the first until it was read, or has gone. */
  get first(): BlobRef | undefined {
    const found = this.#firstOfBatch()
    if (found) return found
    this.#batch = firstOf(this.#options.inOrderOfCheck())
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
      if (ref && lastCheckMs(ref) === waiting.atMs) return ref
    }
    return undefined
  }
}

function firstOf(blobs: Iterable<TimedBlob>): TimedBlob[] {
  const first: TimedBlob[] = []
  for (const blob of blobs) if (first.push(blob) === BATCH_LENGTH) break
  return first
}
