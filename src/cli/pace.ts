/** Over how long a rate is averaged: long enough to be steady, short enough to be true. */
const WINDOW_MS = 8000
/** More would tell nothing new. */
const MOST_SAMPLES = 100

/** How fast something grows, of late. */
export class Pace {
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = []

  /** @param atMs by any clock that only ever goes on. */
  note(bytes: number, atMs: number): void {
    const samples = this.#samples
    samples.push({ atMs, bytes })
    // The last one before the window stays: between it and now lies the whole window.
    while (samples.length > MOST_SAMPLES || (samples[1] && samples[1].atMs <= atMs - WINDOW_MS)) samples.shift()
  }

  /** `undefined` while nobody can say: before it has moved, and in its first moments. */
  get bytesPerSecond(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (!first || !last || last.atMs - first.atMs < 400 || last.bytes <= first.bytes) return undefined
    return ((last.bytes - first.bytes) * 1000) / (last.atMs - first.atMs)
  }
}
