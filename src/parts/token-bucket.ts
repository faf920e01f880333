/** More may not come at once than the rate brings in this time... */
const BURST_MS = 100
/** ...and a waiter is served in pieces of this size, so that several share a thin line evenly. */
const PIECE_MS = 25
/** Below this, timers would cost more than the bytes they hold back. */
const PIECE_BYTES = 128
const BURST_BYTES = 512

/**
 * What may still be taken of a rate: in any span of `t` seconds no more than `rate * t` and one burst. Arithmetic only;
 * times come from the caller, in milliseconds of a clock that never goes back.
 *
 * Ours, and not the npm package `limiter`: its buckets sleep by themselves, on their own clock, first come first served,
 * and cannot be told to stop waiting, to let somebody else go first, or to change their rate with somebody waiting.
 */
export class TokenBucket {
  #bytesPerSecond: number
  #tokens: number
  #countedMs: number

  /** @param bytesPerSecond more than 0, perhaps Infinity. The bucket starts full. */
  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerSecond = bytesPerSecond
    this.#tokens = this.burstBytes
    this.#countedMs = nowMs
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond
  }

  get burstBytes(): number {
    return Math.max(BURST_BYTES, (this.#bytesPerSecond * BURST_MS) / 1000)
  }

  get pieceBytes(): number {
    return Math.max(PIECE_BYTES, Math.floor((this.#bytesPerSecond * PIECE_MS) / 1000))
  }

  /** What was saved up under another rate is kept, as far as the new one could have saved it. */
  setRate(bytesPerSecond: number, nowMs: number): void {
    this.#count(nowMs)
    this.#bytesPerSecond = bytesPerSecond
    this.#tokens = Math.min(this.#tokens, this.burstBytes)
  }

  /** How long until so many bytes, at most `burstBytes`, may be taken; 0 for now. */
  waitMs(bytes: number, nowMs: number): number {
    this.#count(nowMs)
    return this.#tokens >= bytes ? 0 : ((bytes - this.#tokens) * 1000) / this.#bytesPerSecond
  }

  /** Takes what `waitMs` allows. */
  take(bytes: number): void {
    if (this.#bytesPerSecond !== Number.POSITIVE_INFINITY) this.#tokens -= bytes
  }

  #count(nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.#countedMs)
    this.#countedMs = Math.max(this.#countedMs, nowMs)
    // Infinity times nothing is no number.
    const gained = elapsedMs === 0 ? 0 : (elapsedMs * this.#bytesPerSecond) / 1000
    this.#tokens = Math.min(this.burstBytes, this.#tokens + gained)
  }
}
