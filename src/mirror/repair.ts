import { isMirrorError } from '../errors.js'
import { strongestDigest } from '../images/digest.js'
import type { Log } from '../parts/log.js'
import { CHUNK_BYTES, type PartialBlob } from '../store/blob-store.js'
import type { Correction } from '../store/image-store.js'
import type { LivePriority } from '../upstream/upstream.js'
import type { Offer } from './reception.js'

export interface RepairOptions {
  /** Wholly received, and not what was promised. */
  readonly partial: PartialBlob
  readonly fileIndex: number
  readonly uuid: string
  /** Who to ask for a second copy, best first: those whose bytes are not in the file before those whose are. */
  readonly offers: readonly Offer[]
  readonly priority: LivePriority
  readonly signal: AbortSignal
  readonly log: Log
  readonly onBytes: (upstream: string, bytes: number) => void
}

/**
 * After each of so many differences the whole is looked at, so that the walk can stop early; after that only at the end,
 * since looking costs as much as reading the file.
 */
const EARLY_LOOKS = 4

/** When both copies may be damaged, in so few places in all, every mixture of the two is tried. */
const MOST_MIXED = 3

/** A second copy that differs in more places than this is another file, not a damaged one. */
const MOST_DIFFERENCES = 1024

/**
 * Mends a file whose digest is wrong, instead of fetching all of it again: what a second copy has differently is taken
 * over, until the whole is right. A mirror like us gives its chunk hashes, and then only the chunks that differ are
 * fetched; of anybody else the copy is read along the first one, and no further than needed.
 *
 * @returns what was corrected; `undefined` when no upstream could help. The partial is then no better than before.
 */
export async function repair(options: RepairOptions): Promise<readonly Correction[] | undefined> {
  const { log, offers, signal, uuid } = options
  for (const offer of offers) {
    try {
      const corrections = (await mendByChunks(options, offer)) ?? (await mendByWalking(options, offer))
      if (corrections) return corrections
    } catch (error) {
      signal.throwIfAborted()
      if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
      log.warn(
        { uuid, upstream: offer.upstream.name, err: error },
        `upstream ${offer.upstream.name} cannot help to mend image ${uuid}`,
      )
    }
  }
  return undefined
}

async function mendByChunks(options: RepairOptions, offer: Offer): Promise<readonly Correction[] | undefined> {
  const { fileIndex, partial, signal } = options
  const theirs = await offer.upstream.getChunks(offer.claim, fileIndex, signal)
  if (!theirs || theirs.chunkBytes !== CHUNK_BYTES) return undefined
  const ours = await partial.chunks()
  if (ours.length !== theirs.chunks.length) return undefined
  const differing = ours.flatMap((hash, index) => (hash === theirs.chunks[index] ? [] : [index]))
  if (differing.length === 0 || differing.length > ours.length / 2) return undefined
  const mending = new Mending(options, offer)
  for (const index of differing) {
    const startBytes = index * CHUNK_BYTES
    await mending.compare(startBytes, Math.min(startBytes + CHUNK_BYTES, partial.expected.sizeBytes), 'no looks')
  }
  return await mending.finish()
}

async function mendByWalking(options: RepairOptions, offer: Offer): Promise<readonly Correction[] | undefined> {
  const mending = new Mending(options, offer)
  await mending.compare(0, options.partial.expected.sizeBytes, 'early looks')
  return await mending.finish()
}

/** One attempt with one second copy. */
class Mending {
  readonly #options: RepairOptions
  readonly #offer: Offer
  readonly #corrections: Correction[] = []
  /** What stood there before, for each correction. */
  readonly #replaced: Buffer[] = []
  #isRight = false

  constructor(options: RepairOptions, offer: Offer) {
    this.#options = options
    this.#offer = offer
  }

  /** Reads a range of the second copy, and takes over what differs. Stops when the whole has become right. */
  async compare(startBytes: number, endBytes: number, looks: 'early looks' | 'no looks'): Promise<void> {
    const { fileIndex, onBytes, partial, priority, signal } = this.#options
    const { sizeBytes } = partial.expected
    const answer = await this.#offer.upstream.openFile({
      statement: this.#offer.claim,
      fileIndex,
      startBytes,
      ...(endBytes < sizeBytes && { endBytes }),
      priority,
      signal,
    })
    try {
      let position = answer.startBytes
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        signal.throwIfAborted()
        onBytes(this.#offer.upstream.name, chunk.length)
        const within = chunk.subarray(Math.max(0, startBytes - position), Math.max(0, endBytes - position))
        if (within.length > 0) await this.#takeOver(Math.max(position, startBytes), within, looks)
        position += chunk.length
        if (this.#isRight || position >= endBytes) return
      }
    } finally {
      answer.body.destroy()
    }
  }

  /** What was corrected, if the whole is right now. */
  async finish(): Promise<readonly Correction[] | undefined> {
    if (this.#corrections.length === 0) return undefined
    if (this.#isRight || (await this.#look())) return this.#corrections
    return this.#corrections.length <= MOST_MIXED ? await this.#mix() : undefined
  }

  /** Each copy wrong in another place: some of what was taken over must be put back. Never all of it, that was wrong. */
  async #mix(): Promise<readonly Correction[] | undefined> {
    const all = 2 ** this.#corrections.length - 1
    let taken = all
    for (let mixture = all - 1; mixture > 0; mixture--) {
      for (const [index, { startBytes }] of this.#corrections.entries()) {
        const bit = 2 ** index
        if ((mixture & bit) === (taken & bit)) continue
        const bytes = this.#replaced[index]!
        this.#replaced[index] = await this.#exchange(startBytes, bytes)
      }
      taken = mixture
      if (await this.#look()) return this.#corrections.filter((_, index) => (mixture & (2 ** index)) !== 0)
    }
    return undefined
  }

  /** Puts bytes in place, and answers those that were there. */
  async #exchange(startBytes: number, bytes: Buffer): Promise<Buffer> {
    const { partial } = this.#options
    const before = Buffer.allocUnsafe(bytes.length)
    for (let filled = 0; filled < before.length; ) {
      filled += await partial.read(before.subarray(filled), startBytes + filled)
    }
    await partial.splice(startBytes, bytes, { upstream: this.#offer.upstream.name, location: this.#offer.upstream.url })
    return before
  }

  async #takeOver(positionBytes: number, theirs: Buffer, looks: 'early looks' | 'no looks'): Promise<void> {
    const { partial } = this.#options
    const ours = Buffer.allocUnsafe(theirs.length)
    for (let filled = 0; filled < ours.length; )
      filled += await partial.read(ours.subarray(filled), positionBytes + filled)
    const difference = differenceOf(ours, theirs)
    if (!difference || this.#corrections.length >= MOST_DIFFERENCES) return
    const [first, last] = difference
    const [startBytes, endBytes] = [positionBytes + first, positionBytes + last + 1]
    const wrongFrom = partial.extents.filter((extent) => extent.startBytes < endBytes && extent.endBytes > startBytes)
    const rightFrom = this.#offer.upstream.name
    this.#replaced.push(await this.#exchange(startBytes, theirs.subarray(first, last + 1)))
    this.#corrections.push({ startBytes, endBytes, wrongFrom, rightFrom, atMs: Date.now() })
    if (looks === 'early looks' && this.#corrections.length <= EARLY_LOOKS) this.#isRight = await this.#look()
  }

  async #look(): Promise<boolean> {
    const { partial } = this.#options
    return (await partial.digestNow()) === strongestDigest(partial.expected.digests)?.hex
  }
}

/** The first and the last place where two buffers of one length differ. */
function differenceOf(one: Buffer, other: Buffer): readonly [number, number] | undefined {
  if (one.equals(other)) return undefined
  let [first, last] = [0, one.length - 1]
  while (one[first] === other[first]) first++
  while (one[last] === other[last]) last--
  return [first, last]
}
