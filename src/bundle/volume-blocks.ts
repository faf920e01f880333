import { createHash } from 'node:crypto'
import { MirrorError } from '../errors.js'
import type { VolumeIndex } from '../images/bundle/volume-index.js'
import { inOrder } from '../parts/in-order.js'
import type { Medium } from '../store/medium.js'
import { BlockReader } from './block-reader.js'
import { BlockSpace } from './block-space.js'
import { BlockWorkers } from './block-workers.js'
import { GroupHealer } from './group-healer.js'
import { HASH_BYTES } from './volume-layout.js'

/** So much is read, and verified, at a time; and so many of these ahead of whoever takes the blocks. */
const RUN_BYTES = 1024 * 1024
const AHEAD = 3

/** Bytes of a file, verified; or where they should be, and cannot be had. */
export type VolumeBlock =
  | { readonly positionBytes: number; readonly bytes: Buffer; readonly isHealed: boolean; readonly isLost?: false }
  | { readonly positionBytes: number; readonly sizeBytes: number; readonly isLost: true }

interface VolumeParts {
  readonly medium: Medium
  readonly directory: string
  readonly volume: VolumeIndex
  /** Of all blocks; `undefined` where both copies are lost: then files are either right as a whole, or lost. */
  readonly hashes: Buffer | undefined
}

/** The files of a volume, block by block. */
export class VolumeBlocks {
  readonly #parts: VolumeParts
  readonly #workers = new BlockWorkers()
  readonly #data: BlockReader
  readonly #parity: BlockReader | undefined
  readonly #healer: GroupHealer | undefined

  constructor(parts: VolumeParts) {
    const { medium, directory, volume } = parts
    this.#parts = parts
    const { blockBytes } = volume.blocks
    const readerOf = (files: VolumeIndex['files']) =>
      new BlockReader(medium, directory, new BlockSpace(files, blockBytes))
    this.#data = readerOf(volume.files)
    if (!volume.parity) return
    this.#parity = readerOf(volume.parity.files)
    this.#healer = new GroupHealer({
      data: this.#data,
      parity: this.#parity,
      code: volume.parity,
      workers: this.#workers,
      check: (bytes, firstBlock, count) => this.#check(bytes, firstBlock, count),
      name: `${medium.path}/${directory}`,
    })
  }

  async *ofFile(path: string): AsyncGenerator<VolumeBlock> {
    const file = this.#data.space.ofFile(path)
    if (!file) throw new MirrorError('BUNDLE_INVALID', `this volume has no ${path}`)
    if (!this.#parts.hashes && !(await this.#isWhole(path, file))) {
      yield { positionBytes: 0, sizeBytes: file.sizeBytes, isLost: true }
      return
    }
    const { blockBytes } = this.#data.space
    for await (const { first, bytes, isRight } of this.#runs(file)) {
      for (let block = 0; block < isRight.length; ) {
        const count = sameFrom(isRight, block)
        const positionBytes = (first - file.firstBlock + block) * blockBytes
        const sizeBytes = Math.min(count * blockBytes, file.sizeBytes - positionBytes)
        if (isRight[block]) {
          const start = block * blockBytes
          // A copy, as the memory is used again.
          yield { positionBytes, bytes: Buffer.from(bytes.subarray(start, start + sizeBytes)), isHealed: false }
        } else yield* this.#heal(first + block, count, { positionBytes, sizeBytes })
        block += count
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#workers.close(), this.#data.close(), this.#parity?.close()])
  }

  async *#heal(
    firstBlock: number,
    count: number,
    place: { positionBytes: number; sizeBytes: number },
  ): AsyncGenerator<VolumeBlock> {
    const { blockBytes } = this.#data.space
    const isHealable = this.#healer && this.#parts.hashes
    const healed = isHealable ? await this.#healer.heal(firstBlock, count) : new Array<undefined>(count).fill(undefined)
    for (const [block, found] of healed.entries()) {
      const positionBytes = place.positionBytes + block * blockBytes
      const sizeBytes = Math.min(blockBytes, place.sizeBytes - block * blockBytes)
      if (found) yield { positionBytes, bytes: found.subarray(0, sizeBytes), isHealed: true }
      else yield { positionBytes, sizeBytes, isLost: true }
    }
  }

  /** A file in runs of blocks, and of each whether it is right. */
  #runs(file: { firstBlock: number; count: number }) {
    const { blockBytes } = this.#data.space
    const runBlocks = Math.min(file.count, RUN_BYTES / blockBytes)
    const runs = Array.from({ length: Math.ceil(file.count / runBlocks) }, (_, run) => run)
    // Those on their way, and the one that is looked at.
    const slabs = Array.from({ length: Math.min(AHEAD + 1, runs.length) }, () =>
      Buffer.from(new SharedArrayBuffer(runBlocks * blockBytes)),
    )
    return inOrder(runs, AHEAD, async (run) => {
      const first = file.firstBlock + run * runBlocks
      const count = Math.min(runBlocks, file.firstBlock + file.count - first)
      const bytes = slabs[run % slabs.length]!.subarray(0, count * blockBytes)
      const states = await this.#data.read(first, count, bytes)
      const isRight = await this.#check(bytes, first, count)
      return { first, bytes, isRight: isRight.map((right, block) => right && states[block] === 'read') }
    })
  }

  /** Blocks of data by their number, those of parity after them. The last of a file is followed by zeros, which its hash leaves out. */
  async #check(bytes: Uint8Array, firstBlock: number, count: number): Promise<readonly boolean[]> {
    const { hashes } = this.#parts
    if (!hashes) return new Array<boolean>(count).fill(true)
    const { blockBytes, count: dataBlocks } = this.#data.space
    const [space, offset] = firstBlock < dataBlocks ? [this.#data.space, 0] : [this.#parity!.space, dataBlocks]
    const isRight: boolean[] = []
    for (const span of space.spans(firstBlock - offset, count)) {
      const start = (span.firstBlock + offset - firstBlock) * blockBytes
      const found = await this.#workers.ask({
        kind: 'hash',
        bytes: bytes.subarray(start, start + span.sizeBytes),
        blockBytes,
        stream: undefined,
        isEnd: false,
      })
      for (let block = 0; block < span.count; block++) {
        const at = (span.firstBlock + offset + block) * HASH_BYTES
        const right = hashes.subarray(at, at + HASH_BYTES)
        isRight.push(right.equals(found.hashes.subarray(block * HASH_BYTES, (block + 1) * HASH_BYTES)))
      }
    }
    return isRight
  }

  async #isWhole(path: string, file: { firstBlock: number; count: number; sizeBytes: number }): Promise<boolean> {
    const hash = createHash('sha256')
    let leftBytes = file.sizeBytes
    for await (const { bytes, isRight } of this.#runs(file)) {
      if (!isRight.every((right) => right)) return false
      hash.update(bytes.subarray(0, Math.min(bytes.length, leftBytes)))
      leftBytes -= bytes.length
    }
    const right = this.#parts.volume.files.find((each) => each.path === path)
    return hash.digest('hex') === right?.sha256
  }
}

/** How many after `start` are the same as it is, with itself. */
function sameFrom(values: readonly boolean[], start: number): number {
  const end = values.findIndex((value, index) => index > start && value !== values[start])
  return (end < 0 ? values.length : end) - start
}
