import { LRUCache } from 'lru-cache'
import { isMirrorError } from '../errors.js'
import type { Medium, OpenMediumFile } from '../store/medium.js'
import type { BlockSpace, BlockSpan } from './block-space.js'
import { volumePath } from './volume-path.js'

/** Neighbours in a group are far from each other on the medium: as many files are open at once. */
const OPEN_FILES = 64

/** What could be had of a block. */
export type BlockState = 'read' | 'unreadable' | 'missing'

/** Reads blocks of files in a directory of a medium, and goes on after what cannot be read. The caller closes it. */
export class BlockReader {
  readonly #medium: Medium
  readonly #directory: string
  readonly #isPastCache: boolean
  readonly space: BlockSpace
  readonly #open = new LRUCache<string, Promise<OpenMediumFile | undefined>>({
    max: OPEN_FILES,
    dispose: (file) => void this.#close(file),
  })
  /** Of files that were pushed out: they are closed when nobody reads them any more. */
  readonly #busy = new Map<Promise<OpenMediumFile | undefined>, number>()

  /** @param isPastCache as Medium.open has it. */
  constructor(medium: Medium, directory: string, space: BlockSpace, { isPastCache = false } = {}) {
    this.#medium = medium
    this.#directory = directory
    this.#isPastCache = isPastCache
    this.space = space
  }

  /**
   * Reads blocks into `target`, each at its place; what fills up the last block of a file, and what could not be read, becomes zeros.
   * Answers of each block whether it was: of blocks that are past the last, nothing.
   */
  async read(firstBlock: number, count: number, target: Uint8Array): Promise<BlockState[]> {
    const { blockBytes } = this.space
    const states: BlockState[] = []
    for (const span of this.space.spans(firstBlock, count)) {
      const startBytes = (span.firstBlock - firstBlock) * blockBytes
      states.push(...(await this.#readSpan(span, target.subarray(startBytes, startBytes + span.count * blockBytes))))
    }
    target.fill(0, states.length * blockBytes)
    return states
  }

  async close(): Promise<void> {
    const files = [...this.#open.values()]
    this.#open.clear()
    await Promise.all(files.map((file) => file.then((opened) => opened?.close()).catch(() => {})))
  }

  async #readSpan(span: BlockSpan, target: Uint8Array): Promise<BlockState[]> {
    try {
      const readBytes = await this.#readFrom(span, target)
      target.fill(0, Math.min(readBytes, span.sizeBytes))
      const whole = readBytes >= span.sizeBytes ? span.count : Math.floor(readBytes / this.space.blockBytes)
      return Array.from({ length: span.count }, (_, block) => (block < whole ? 'read' : 'missing'))
    } catch (error) {
      if (!isMirrorError(error, 'MEDIUM_UNREADABLE')) throw error
      if (span.count > 1) return this.#readOneByOne(span, target)
      target.fill(0)
      return ['unreadable']
    }
  }

  /** One bad sector takes away its block, not those around it. */
  async #readOneByOne(span: BlockSpan, target: Uint8Array): Promise<BlockState[]> {
    const { blockBytes } = this.space
    const states: BlockState[] = []
    for (let block = 0; block < span.count; block++) {
      const offsetBytes = block * blockBytes
      const single = {
        ...span,
        firstBlock: span.firstBlock + block,
        count: 1,
        positionBytes: span.positionBytes + offsetBytes,
        sizeBytes: Math.min(blockBytes, span.sizeBytes - offsetBytes),
      }
      states.push(...(await this.#readSpan(single, target.subarray(offsetBytes, offsetBytes + blockBytes))))
    }
    return states
  }

  /** @returns how many bytes there were; 0 where there is no such file. */
  async #readFrom({ file, positionBytes }: BlockSpan, target: Uint8Array): Promise<number> {
    const path = volumePath(this.#directory, file.path)
    let opening = this.#open.get(path)
    if (!opening) {
      opening = this.#medium.open(path, { isPastCache: this.#isPastCache })
      this.#open.set(path, opening)
    }
    this.#busy.set(opening, (this.#busy.get(opening) ?? 0) + 1)
    try {
      const opened = await opening
      return (await opened?.read(target, positionBytes)) ?? 0
    } finally {
      const left = this.#busy.get(opening)! - 1
      if (left > 0) this.#busy.set(opening, left)
      else this.#busy.delete(opening)
      if (left === 0 && this.#open.peek(path) !== opening) void this.#close(opening)
    }
  }

  async #close(file: Promise<OpenMediumFile | undefined>): Promise<void> {
    if (this.#busy.has(file)) return
    await file.then((opened) => opened?.close()).catch(() => {})
  }
}
