export interface BlockedFile {
  /** Relative to the volume. */
  readonly path: string
  readonly sizeBytes: number
}

/** Blocks next to each other in one file. */
export interface BlockSpan {
  readonly file: BlockedFile
  /** Number of the first among all blocks. */
  readonly firstBlock: number
  readonly count: number
  /** Where it begins in the file. */
  readonly positionBytes: number
  /** Without the zeros that fill up the last block of a file. */
  readonly sizeBytes: number
}

/** Files one after the other, cut into blocks that are numbered from 0: see docs/bundle-format.md. */
export class BlockSpace {
  readonly blockBytes: number
  readonly count: number
  readonly #files: readonly BlockedFile[]
  /** Of each file, the number of its first block. */
  readonly #firsts: readonly number[]
  readonly #indexes: ReadonlyMap<string, number>

  constructor(files: readonly BlockedFile[], blockBytes: number) {
    this.blockBytes = blockBytes
    this.#files = files
    let count = 0
    this.#firsts = files.map(({ sizeBytes }) => {
      const first = count
      count += Math.ceil(sizeBytes / blockBytes)
      return first
    })
    this.count = count
    this.#indexes = new Map(files.map(({ path }, index) => [path, index]))
  }

  /** All blocks of a file; `undefined` for one that is not there. */
  ofFile(path: string): { firstBlock: number; count: number; sizeBytes: number } | undefined {
    const index = this.#indexes.get(path)
    if (index === undefined) return undefined
    const { sizeBytes } = this.#files[index]!
    return { firstBlock: this.#firsts[index]!, count: Math.ceil(sizeBytes / this.blockBytes), sizeBytes }
  }

  /** Where these blocks lie. Those past the last are left out. */
  *spans(firstBlock: number, count: number): Generator<BlockSpan> {
    const end = Math.min(firstBlock + count, this.count)
    let block = firstBlock
    for (let index = this.#indexOf(block); block < end; index++) {
      const file = this.#files[index]!
      const skipped = block - this.#firsts[index]!
      const left = Math.ceil(file.sizeBytes / this.blockBytes) - skipped
      const taken = Math.min(left, end - block)
      if (taken === 0) continue
      const positionBytes = skipped * this.blockBytes
      const sizeBytes = Math.min(taken * this.blockBytes, file.sizeBytes - positionBytes)
      yield { file, firstBlock: block, count: taken, positionBytes, sizeBytes }
      block += taken
    }
  }

  /** The last file that begins at this block or before it. Empty ones begin there, too, and are passed by `spans`. */
  #indexOf(block: number): number {
    let [low, high] = [0, this.#firsts.length]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (this.#firsts[middle]! <= block) low = middle
      else high = middle
    }
    return low
  }
}
