import { LRUCache } from 'lru-cache'
import type { Clock } from '../../parts/clock.js'

/** Which chunks are compared with their hash before they leave. */
export type VerifyOnRead = 'always' | 'sampled' | 'never'

/** `sampled`: one read in so many is checked... */
export const SAMPLE_OF = 16
/** ...and besides the first one of every chunk after a start, and after this time. */
export const TRUST_MS = 7 * 86_400_000
/** Blobs whose checked chunks are remembered, an eighth of a byte for each MiB. A forgotten one is checked anew. */
const BLOBS_REMEMBERED = 10_000

/** Decides, chunk by chunk, whether a read is checked. */
export class ReadChecks {
  #mode: VerifyOnRead
  readonly #clock: Clock
  readonly #dice: () => number
  /** By sha256. */
  readonly #trusted = new LRUCache<string, { readonly sinceMs: number; readonly chunks: Uint8Array }>({
    max: BLOBS_REMEMBERED,
  })

  /** @param dice as Math.random. */
  constructor(mode: VerifyOnRead, clock: Clock, dice: () => number = Math.random) {
    this.#mode = mode
    this.#clock = clock
    this.#dice = dice
  }

  /** From now on; what was checked stays checked. */
  change(mode: VerifyOnRead): void {
    this.#mode = mode
  }

  /** @param isFromStart for readings of a part of the chunk: the one in SAMPLE_OF is chosen among those of its first bytes. */
  wants(sha256: string, chunkIndex: number, isFromStart = true): boolean {
    if (this.#mode !== 'sampled') return this.#mode === 'always'
    const chunks = this.#trustedNow(sha256)
    const isTrusted = ((chunks?.[chunkIndex >> 3] ?? 0) & (1 << (chunkIndex & 7))) !== 0
    return !isTrusted || (isFromStart && this.#dice() * SAMPLE_OF < 1)
  }

  /** A chunk was read and is good. @param chunkCount of the blob. */
  passed(sha256: string, chunkIndex: number, chunkCount: number): void {
    if (this.#mode !== 'sampled') return
    let chunks = this.#trustedNow(sha256)
    if (!chunks) {
      chunks = new Uint8Array(Math.ceil(chunkCount / 8))
      this.#trusted.set(sha256, { sinceMs: this.#clock.steadyMs(), chunks })
    }
    chunks[chunkIndex >> 3]! |= 1 << (chunkIndex & 7)
  }

  /** A chunk was read and is not what was kept: the next reading is checked in any case. */
  failed(sha256: string, chunkIndex: number): void {
    const chunks = this.#trustedNow(sha256)
    if (chunks) chunks[chunkIndex >> 3]! &= ~(1 << (chunkIndex & 7))
  }

  #trustedNow(sha256: string): Uint8Array | undefined {
    const found = this.#trusted.get(sha256)
    return found && this.#clock.steadyMs() - found.sinceMs < TRUST_MS ? found.chunks : undefined
  }
}
