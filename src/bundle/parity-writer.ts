import { createHash, type Hash } from 'node:crypto'
import { MirrorError } from '../errors.js'
import type { VolumeFile } from '../images/bundle/volume-index.js'
import { inOrder } from '../parts/in-order.js'
import { memoryPages } from '../parts/memory-pages.js'
import type { Medium, WritingMediumFile } from '../store/medium.js'
import { BlockReader } from './block-reader.js'
import type { BlockSpace } from './block-space.js'
import type { BlockWorkers } from './block-workers.js'
import { HASH_BYTES, type VolumeLayout } from './volume-layout.js'
import { volumePath } from './volume-path.js'

/** So much of a volume is in hand at a time, twice: one part is read while the other is computed. */
const RUN_BYTES = 16 * 1024 * 1024
const AHEAD = 2

interface ParityPlace {
  readonly medium: Medium
  readonly directory: string
  readonly workers: BlockWorkers
  readonly signal: AbortSignal
}

/**
 * Reads back every block from the medium, holds it against its hash, and writes parity; then reads that back, too.
 * @param hashes of all blocks of data, followed by room for those of parity, which is filled in.
 * @throws MirrorError MEDIUM_UNREADABLE when the medium has other bytes than were written, MEDIUM_FULL.
 */
export async function writeParity(
  { data, parity }: VolumeLayout,
  hashes: Buffer,
  place: ParityPlace,
): Promise<readonly VolumeFile[]> {
  if (!parity) {
    await readBack(data, hashes, place)
    return []
  }
  const { dataShards, parityShards, groups } = parity
  const { blockBytes } = data
  const shards = dataShards + parityShards
  const runGroups = Math.max(1, Math.min(groups, Math.floor(RUN_BYTES / blockBytes / shards)))
  const slabs = Array.from({ length: AHEAD + 1 }, () => memoryPages(runGroups * shards * blockBytes))
  const reader = new BlockReader(place.medium, place.directory, data, { isPastCache: true })
  const files = new ParityFiles(place, parity.space)
  const encode = async (run: number) => {
    const firstGroup = run * runGroups
    const count = Math.min(runGroups, groups - firstGroup)
    const slab = slabs[run % slabs.length]!.subarray(0, count * shards * blockBytes)
    const shardBytes = count * blockBytes
    const firsts = Array.from({ length: dataShards }, (_, shard) => shard * groups + firstGroup)
    await Promise.all(
      firsts.map((first, shard) => {
        const target = slab.subarray(shard * shardBytes, (shard + 1) * shardBytes)
        return reader.read(first, count, target)
      }),
    )
    const lengths = new Uint32Array(firsts.flatMap((first) => lengthsOf(data, first, count)))
    const question = { kind: 'encode', shards: slab, dataShards, parityShards, blockBytes, lengths } as const
    const answer = await place.workers.ask(question)
    return { firstGroup, count, firsts, slab, found: Buffer.from(answer.hashes) }
  }
  try {
    const runs = Array.from({ length: Math.ceil(groups / runGroups) }, (_, run) => run)
    for await (const { firstGroup, count, firsts, slab, found } of inOrder(runs, AHEAD, encode)) {
      place.signal.throwIfAborted()
      const size = count * HASH_BYTES
      for (const [shard, first] of firsts.entries()) {
        compare(data, first, found.subarray(shard * size, (shard + 1) * size), hashes, place.medium)
      }
      for (let row = 0; row < parityShards; row++) {
        const block = row * groups + firstGroup
        const shard = dataShards + row
        found.copy(hashes, (data.count + block) * HASH_BYTES, shard * size, (shard + 1) * size)
        await files.write(block, slab.subarray(shard * count * blockBytes, (shard + 1) * count * blockBytes))
      }
    }
    const written = await files.finish()
    await readBack(parity.space, hashes.subarray(data.count * HASH_BYTES), place)
    return written
  } finally {
    await files.close()
    await reader.close()
  }
}

/** Of each of these blocks, without the zeros that fill it up; of those past the last, 0. */
function lengthsOf(space: BlockSpace, firstBlock: number, count: number): number[] {
  const lengths = new Array<number>(count).fill(0)
  for (const span of space.spans(firstBlock, count)) {
    for (let block = 0; block < span.count; block++) {
      const left = span.sizeBytes - block * space.blockBytes
      lengths[span.firstBlock - firstBlock + block] = Math.min(space.blockBytes, left)
    }
  }
  return lengths
}

async function readBack(space: BlockSpace, hashes: Buffer, { medium, directory, workers, signal }: ParityPlace) {
  const { blockBytes } = space
  const runBlocks = Math.floor(RUN_BYTES / 4 / blockBytes)
  const slabs = Array.from({ length: AHEAD + 1 }, () => memoryPages(Math.min(runBlocks, space.count) * blockBytes))
  const reader = new BlockReader(medium, directory, space, { isPastCache: true })
  const hash = async (run: number) => {
    const count = Math.min(runBlocks, space.count - run * runBlocks)
    const slab = slabs[run % slabs.length]!.subarray(0, count * blockBytes)
    await reader.read(run * runBlocks, count, slab)
    const spans = [...space.spans(run * runBlocks, count)]
    const found = await Promise.all(
      spans.map(({ firstBlock, sizeBytes }) => {
        const startBytes = (firstBlock - run * runBlocks) * blockBytes
        const bytes = slab.subarray(startBytes, startBytes + sizeBytes)
        return workers.ask({ kind: 'hash', bytes, blockBytes, stream: undefined, isEnd: false })
      }),
    )
    return { first: run * runBlocks, found: Buffer.concat(found.map((answer) => answer.hashes)) }
  }
  try {
    const runs = Array.from({ length: Math.ceil(space.count / runBlocks) }, (_, run) => run)
    for await (const { first, found } of inOrder(runs, AHEAD, hash)) {
      signal.throwIfAborted()
      compare(space, first, found, hashes, medium)
    }
  } finally {
    await reader.close()
  }
}

function compare(space: BlockSpace, firstBlock: number, found: Buffer, hashes: Buffer, medium: Medium): void {
  for (const span of space.spans(firstBlock, found.length / HASH_BYTES)) {
    for (let block = span.firstBlock; block < span.firstBlock + span.count; block++) {
      const at = (block - firstBlock) * HASH_BYTES
      const right = hashes.subarray(block * HASH_BYTES, (block + 1) * HASH_BYTES)
      if (right.equals(found.subarray(at, at + HASH_BYTES))) continue
      const positionBytes = span.positionBytes + (block - span.firstBlock) * space.blockBytes
      const where = `${span.file.path}, byte ${positionBytes} and after`
      throw new MirrorError('MEDIUM_UNREADABLE', `${medium.path} does not give back what was written: ${where}`)
    }
  }
}

/** Files of parity, written from front to back. What is there already is left alone. */
class ParityFiles {
  readonly #place: ParityPlace
  readonly #space: BlockSpace
  readonly #files = new Map<string, { file: WritingMediumFile; presentBytes: number; hash: Hash; sizeBytes: number }>()

  constructor(place: ParityPlace, space: BlockSpace) {
    this.#place = place
    this.#space = space
  }

  async write(firstBlock: number, bytes: Buffer): Promise<void> {
    const { blockBytes } = this.#space
    for (const span of this.#space.spans(firstBlock, bytes.length / blockBytes)) {
      const startBytes = (span.firstBlock - firstBlock) * blockBytes
      const piece = bytes.subarray(startBytes, startBytes + span.sizeBytes)
      const { file, presentBytes, hash } = await this.#open(span.file)
      hash.update(piece)
      const isThere = span.positionBytes + piece.length <= presentBytes && (await isAt(file, span.positionBytes, piece))
      if (!isThere) await file.write(piece, span.positionBytes)
    }
  }

  async finish(): Promise<VolumeFile[]> {
    const written: VolumeFile[] = []
    for (const [path, { file, hash, sizeBytes }] of this.#files) {
      if (file.sizeBytes > sizeBytes) await file.truncate(sizeBytes)
      await file.sync()
      written.push({ path, sizeBytes, sha256: hash.digest('hex') })
    }
    return written.sort((one, other) => (one.path < other.path ? -1 : 1))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map(({ file }) => file.close()))
    this.#files.clear()
  }

  async #open({ path, sizeBytes }: { path: string; sizeBytes: number }) {
    const known = this.#files.get(path)
    if (known) return known
    const file = await this.#place.medium.write(volumePath(this.#place.directory, path))
    const opened = { file, presentBytes: file.sizeBytes, hash: createHash('sha256'), sizeBytes }
    this.#files.set(path, opened)
    return opened
  }
}

async function isAt(file: WritingMediumFile, positionBytes: number, bytes: Buffer): Promise<boolean> {
  const found = Buffer.alloc(bytes.length)
  // What cannot be read is written again: a medium may then use another sector.
  return (await file.read(found, positionBytes).catch(() => 0)) === bytes.length && found.equals(bytes)
}
