import type { ByteSource, Extent } from './blob-store.js'

/**
 * Which bytes of a file are here, and from whom: extents in order, without overlap, neighbours of one source joined. As
 * many as there are gaps and changes of source: with a download over `n` lines, about `n` and one for each switch.
 */
export class Extents {
  readonly #list: Extent[] = []
  #totalBytes = 0
  #prefixBytes = 0

  constructor(extents: Iterable<Extent> = []) {
    for (const extent of extents) this.add(extent)
  }

  get list(): readonly Extent[] {
    return this.#list
  }

  /** How many bytes are here, wherever. */
  get totalBytes(): number {
    return this.#totalBytes
  }

  /** How many are here from the start without a gap. */
  get prefixBytes(): number {
    return this.#prefixBytes
  }

  /** @throws Error when some of it is here already: a bug of the caller. */
  add(extent: Extent): void {
    const { startBytes, endBytes } = extent
    if (startBytes >= endBytes) return
    if (this.overlaps(startBytes, endBytes)) throw new Error(`bytes ${startBytes} to ${endBytes} are here already`)
    const index = this.#firstEndingAfter(startBytes)
    this.#list.splice(index, 0, extent)
    this.#join(index)
    this.#join(index - 1)
    this.#totalBytes += endBytes - startBytes
    if (startBytes === this.#prefixBytes) this.#prefixBytes = this.endOfRunAt(startBytes)
  }

  /** From now on these bytes are from this source; they must be here. */
  replace(extent: Extent): void {
    if (extent.startBytes >= extent.endBytes) return
    this.#remove(extent.startBytes, extent.endBytes)
    this.add(extent)
  }

  /** Forgets what is not inside the first `sizeBytes`. */
  truncate(sizeBytes: number): void {
    this.#remove(sizeBytes, Number.POSITIVE_INFINITY)
  }

  overlaps(startBytes: number, endBytes: number): boolean {
    if (startBytes >= endBytes) return false
    const next = this.#list[this.#firstEndingAfter(startBytes)]
    return next !== undefined && next.startBytes < endBytes
  }

  /** Up to where bytes are here from `positionBytes` on without a gap; `positionBytes` itself when that one is not. */
  endOfRunAt(positionBytes: number): number {
    let end = positionBytes
    for (let index = this.#firstEndingAfter(positionBytes); ; index++) {
      const extent = this.#list[index]
      if (!extent || extent.startBytes > end) return end
      end = extent.endBytes
    }
  }

  #remove(startBytes: number, endBytes: number): void {
    let index = this.#firstEndingAfter(startBytes)
    for (let extent = this.#list[index]; extent && extent.startBytes < endBytes; extent = this.#list[index]) {
      const before = { ...extent, endBytes: startBytes }
      const behind = { ...extent, startBytes: endBytes }
      const left = [before, behind].filter((part) => part.startBytes < part.endBytes)
      this.#list.splice(index, 1, ...left)
      this.#totalBytes -= Math.min(extent.endBytes, endBytes) - Math.max(extent.startBytes, startBytes)
      index += left.length
    }
    if (startBytes < this.#prefixBytes) this.#prefixBytes = this.endOfRunAt(0)
  }

  /** Makes one of the extent at `index` and the next, if they are neighbours of one source. */
  #join(index: number): void {
    const [left, right] = [this.#list[index], this.#list[index + 1]]
    if (!left || !right || left.endBytes !== right.startBytes || !isSameSource(left, right)) return
    this.#list.splice(index, 2, { ...left, endBytes: right.endBytes })
  }

  #firstEndingAfter(positionBytes: number): number {
    let low = 0
    let high = this.#list.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#list[middle]!.endBytes > positionBytes) high = middle
      else low = middle + 1
    }
    return low
  }
}

export function isSameSource(left: ByteSource, right: ByteSource): boolean {
  return left.upstream === right.upstream && left.location === right.location
}
