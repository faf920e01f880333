import { MirrorError } from '../errors.js'
import type { BlockReader, BlockState } from './block-reader.js'
import type { BlockWorkers } from './block-workers.js'
import type { ParityLayout } from './volume-layout.js'

/** So much of a volume is in hand at a time, or one group where that is more. */
const RUN_BYTES = 32 * 1024 * 1024
/** Groups in a row of which not one block could be read: by then somebody has pulled out the medium. */
const HOPELESS_GROUPS = 256

export interface HealerParts {
  readonly data: BlockReader
  readonly parity: BlockReader
  readonly code: ParityLayout
  readonly workers: BlockWorkers
  /** Whether blocks are what they should be: `count` of them from `firstBlock` on, data's first and parity's after them. */
  check(bytes: Uint8Array, firstBlock: number, count: number): Promise<readonly boolean[]>
  /** For messages. */
  readonly name: string
}

/** Computes blocks that are damaged or cannot be read from the others of their groups. */
export class GroupHealer {
  readonly #parts: HealerParts
  #hopeless = 0

  constructor(parts: HealerParts) {
    this.#parts = parts
  }

  /**
   * These blocks of data, each whole or `undefined`; the last of a file is still filled up with zeros.
   * @throws MirrorError MEDIUM_UNREADABLE when nothing at all can be read any more.
   */
  async heal(firstBlock: number, count: number): Promise<(Buffer | undefined)[]> {
    const { groups, dataShards, parityShards } = this.#parts.code
    const { blockBytes } = this.#parts.data.space
    const most = Math.max(1, Math.floor(RUN_BYTES / blockBytes / (dataShards + parityShards)))
    const healed: (Buffer | undefined)[] = []
    while (healed.length < count) {
      const block = firstBlock + healed.length
      const firstGroup = block % groups
      // Neighbours are in neighbouring groups, up to the last, and then in the first again.
      const taken = Math.min(count - healed.length, groups - firstGroup, most)
      healed.push(...(await this.#healGroups(firstGroup, taken, Math.floor(block / groups))))
    }
    return healed
  }

  async #healGroups(firstGroup: number, count: number, wanted: number): Promise<(Buffer | undefined)[]> {
    const { data, parity, code, workers, check } = this.#parts
    const { groups, dataShards, parityShards } = code
    const { blockBytes, count: dataBlocks } = data.space
    const shardBytes = count * blockBytes
    const slab = Buffer.from(new SharedArrayBuffer((dataShards + parityShards) * shardBytes))
    const shards = await Promise.all(
      Array.from({ length: dataShards + parityShards }, async (_, shard) => {
        const isData = shard < dataShards
        const first = (isData ? shard : shard - dataShards) * groups + firstGroup
        const bytes = slab.subarray(shard * shardBytes, (shard + 1) * shardBytes)
        const states = await (isData ? data : parity).read(first, count, bytes)
        const isRight = await check(bytes, isData ? first : dataBlocks + first, states.length)
        return { states, isRight }
      }),
    )
    // Blocks past the last are of zeros, and cannot be lost.
    const isPresent = Array.from({ length: count }, (_, block) => shards.map(({ isRight }) => isRight[block] ?? true))
    this.#countHopeless(
      shards.map(({ states }) => states),
      count,
    )
    const answer = await workers.ask({
      kind: 'reconstruct',
      shards: slab,
      dataShards,
      parityShards,
      blockBytes,
      isPresent,
    })
    const found = slab.subarray(wanted * shardBytes, (wanted + 1) * shardBytes)
    const isRight = await check(found, wanted * groups + firstGroup, count)
    return Array.from({ length: count }, (_, block) => {
      if (!answer.isDone?.[block] || !isRight[block]) return undefined
      return Buffer.from(found.subarray(block * blockBytes, (block + 1) * blockBytes))
    })
  }

  #countHopeless(shards: readonly (readonly BlockState[])[], count: number): void {
    for (let block = 0; block < count; block++) {
      const isHopeless = shards.every((states) => (states[block] ?? 'unreadable') === 'unreadable')
      this.#hopeless = isHopeless ? this.#hopeless + 1 : 0
    }
    if (this.#hopeless < HOPELESS_GROUPS) return
    throw new MirrorError('MEDIUM_UNREADABLE', `nothing of ${this.#parts.name} can be read any more`)
  }
}
