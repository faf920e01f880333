import { createHash } from 'node:crypto'
import { isMirrorError, MirrorError } from '../errors.js'
import type { Medium, WritingMediumFile } from '../store/medium.js'
import type { BlockStream, BlockWorkers } from './block-workers.js'
import { volumePath } from './volume-path.js'

/** A file of a volume, and where its bytes come from. */
export interface VolumeContent {
  /** Relative to the volume. */
  readonly path: string
  readonly sizeBytes: number
  /** What `read` must give; where it is not known, it is read once more beforehand. */
  readonly sha256?: string | undefined
  /** Its bytes from a place on, to the end; in pieces of any size. */
  read(startBytes: number): AsyncIterable<Uint8Array>
}

/** So much is read, hashed and written at a time. */
const SLAB_BYTES = 1024 * 1024
/** While one is filled the others are on their way to the medium and through the hashes. */
const SLABS = 3

export interface WrittenContent {
  readonly sha256: string
  /** Of its blocks, one after the other. */
  readonly hashes: Buffer
}

export interface ContentPlace {
  readonly medium: Medium
  readonly directory: string
  readonly workers: BlockWorkers
  readonly blockBytes: number
  readonly signal: AbortSignal
  readonly onProgress: (path: string, doneBytes: number) => void
}

/**
 * Writes a file so that it is there whole, and synced, when this has resolved. What is there from an earlier run is read, and not
 * written again: if all of it turns out to be other bytes than it should be, it is written from its beginning.
 * @throws MirrorError MEDIUM_FULL, MEDIUM_UNREADABLE, STORE_BROKEN when the bytes that come are not the promised ones; what `read` fails with.
 */
export async function writeContent(content: VolumeContent, place: ContentPlace): Promise<WrittenContent> {
  const known = content.sha256 ?? (await sha256Of(content, place.signal))
  const file = await place.medium.write(volumePath(place.directory, content.path))
  try {
    const slabs = Array.from({ length: SLABS }, () =>
      Buffer.from(new SharedArrayBuffer(Math.min(SLAB_BYTES, content.sizeBytes))),
    )
    const writing = { content, file, slabs, ...place }
    const presentBytes = Math.min(file.sizeBytes, content.sizeBytes)
    let written = presentBytes > 0 ? await writeFrom(presentBytes, writing) : undefined
    if (written?.sha256 !== known) written = await writeFrom(0, writing)
    if (written?.sha256 !== known) throw wrongSource(content, `has the SHA-256 ${written?.sha256}`)
    if (file.sizeBytes > content.sizeBytes) await file.truncate(content.sizeBytes)
    // Also when nothing was written: whoever wrote it may have been stopped just before this.
    await file.sync()
    return written
  } finally {
    await file.close()
  }
}

interface Writing extends ContentPlace {
  readonly content: VolumeContent
  readonly file: WritingMediumFile
  readonly slabs: readonly Buffer[]
}

/** Reads what is there, as far as whole slabs go, and writes the rest. `undefined` when what is there cannot be read. */
async function writeFrom(presentBytes: number, writing: Writing): Promise<WrittenContent | undefined> {
  const { content, workers, blockBytes } = writing
  const isWhole = presentBytes === content.sizeBytes
  const startBytes = isWhole ? presentBytes : presentBytes - (presentBytes % SLAB_BYTES)
  const line = new SlabLine(writing, workers.openStream(blockBytes))
  try {
    await line.takePresent(startBytes)
    if (startBytes < content.sizeBytes || content.sizeBytes === 0) await line.takeSource(startBytes)
    return await line.end()
  } catch (error) {
    if (startBytes > 0 && line.isReading && isMirrorError(error, 'MEDIUM_UNREADABLE')) return undefined
    throw error
  } finally {
    await line.close()
  }
}

/** Takes slabs through the hashes, and to the medium; each is used again when it has come through. */
class SlabLine {
  readonly #writing: Writing
  readonly #stream: BlockStream
  readonly #hashes: Buffer
  readonly #underWay: Promise<unknown>[] = []
  #next = 0
  #sha256: string | undefined
  /** Only what is on the medium already has been touched. */
  isReading = true

  constructor(writing: Writing, stream: BlockStream) {
    this.#writing = writing
    this.#stream = stream
    this.#hashes = Buffer.alloc(Math.ceil(writing.content.sizeBytes / writing.blockBytes) * 32)
  }

  async takePresent(endBytes: number): Promise<void> {
    const { content, file } = this.#writing
    for (let positionBytes = 0; positionBytes < endBytes; positionBytes += SLAB_BYTES) {
      const slab = (await this.#free()).subarray(0, Math.min(SLAB_BYTES, endBytes - positionBytes))
      if ((await file.read(slab, positionBytes)) < slab.length) {
        throw new MirrorError('MEDIUM_UNREADABLE', `${content.path} became shorter while it was read`)
      }
      this.#send(slab, positionBytes, { isToBeWritten: false })
    }
  }

  async takeSource(startBytes: number): Promise<void> {
    const { content, signal } = this.#writing
    this.isReading = false
    let slab = await this.#free()
    let [positionBytes, filledBytes] = [startBytes, 0]
    const send = async () => {
      this.#send(slab.subarray(0, filledBytes), positionBytes, { isToBeWritten: true })
      positionBytes += filledBytes
      filledBytes = 0
      slab = await this.#free()
    }
    for await (const bytes of content.read(startBytes)) {
      signal.throwIfAborted()
      if (positionBytes + filledBytes + bytes.length > content.sizeBytes)
        throw wrongSource(content, 'goes on after that')
      for (let taken = 0; taken < bytes.length; ) {
        const piece = bytes.subarray(taken, taken + slab.length - filledBytes)
        slab.set(piece, filledBytes)
        taken += piece.length
        filledBytes += piece.length
        if (filledBytes === slab.length) await send()
      }
    }
    if (positionBytes + filledBytes < content.sizeBytes) {
      throw wrongSource(content, `ends after ${positionBytes + filledBytes}`)
    }
    if (filledBytes > 0 || content.sizeBytes === 0) await send()
  }

  async end(): Promise<WrittenContent> {
    await Promise.all(this.#underWay)
    return { sha256: this.#sha256!, hashes: this.#hashes }
  }

  /** Waits for what is under way, whatever becomes of it: its memory and its file are about to go. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay)
    this.#stream.drop()
  }

  async #free(): Promise<Buffer> {
    this.#writing.signal.throwIfAborted()
    const slot = this.#next++ % SLABS
    await this.#underWay[slot]
    return this.#writing.slabs[slot]!
  }

  #send(bytes: Buffer, positionBytes: number, { isToBeWritten }: { isToBeWritten: boolean }): void {
    const { content, file, blockBytes, onProgress } = this.#writing
    const isEnd = positionBytes + bytes.length === content.sizeBytes
    const work = async () => {
      const [{ hashes, sha256 }] = await Promise.all([
        this.#stream.take(bytes, isEnd),
        isToBeWritten && bytes.length > 0 ? file.write(bytes, positionBytes) : undefined,
      ])
      this.#hashes.set(hashes, (positionBytes / blockBytes) * 32)
      this.#sha256 = sha256 ?? this.#sha256
      onProgress(content.path, positionBytes + bytes.length)
    }
    const sent = work()
    // Whoever needs the slab next, or the end, hears of it.
    sent.catch(() => {})
    this.#underWay[(this.#next - 1) % SLABS] = sent
  }
}

async function sha256Of(content: VolumeContent, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  for await (const bytes of content.read(0)) {
    signal.throwIfAborted()
    hash.update(bytes)
  }
  return hash.digest('hex')
}

function wrongSource({ path, sizeBytes, sha256 }: VolumeContent, what: string): MirrorError {
  const promised = sha256 === undefined ? '' : ` and the SHA-256 ${sha256}`
  return new MirrorError('STORE_BROKEN', `what was to be ${path} ${what}: right are ${sizeBytes} bytes${promised}`)
}
