import { dirname } from 'node:path'
import { hasCode } from '../errors.js'
import { type Places, writeEvidence } from './evidence.js'
import type { OpenedFile } from './file-system.js'
import { readLines } from './read-lines.js'
import { isSealed } from './sealed-json.js'
import { writeFully, writeWhole } from './whole-files.js'

const BLOCK_BYTES = 1024 * 1024
/** Of damaged lines, so much is kept as evidence. */
const EVIDENCE_LINES = 20
const EVIDENCE_BYTES = 4096

export interface LineFileOptions extends Places {
  readonly path: string
  /** Longer lines are damage. */
  readonly lineLimitBytes: number
}

/** Lines that are not as they were written. */
export interface LineDamage {
  readonly damagedLines: number
  readonly missingBytes: number
  /** The first of them, each cut to a bearable length. */
  readonly samples: readonly Buffer[]
}

/**
 * An append-only file of sealed lines (`sealJson`), which knows up to where it is good: what a failed write has left behind that
 * does not count, and is cut off by the next one. What the lines mean is its owner's business.
 *
 * One call at a time. Failures are what the disk says.
 */
export class LineFile {
  readonly #options: LineFileOptions
  /** Up to where the file is known to be good; behind it stands at most what a failed write has left. */
  #goodBytes = 0
  #exists = false

  constructor(options: LineFileOptions) {
    this.#options = options
  }

  /** Of the lines that count and of those that count no more. */
  get sizeBytes(): number {
    return this.#goodBytes
  }

  /**
   * Reads the file, if there is one, and cuts off an end without newline: a crash has torn it, and it was promised to nobody.
   * @param take is given each line without its newline (`undefined` for one that is too long), valid until it returns, and its
   *   length with it; answers false for one that is damaged.
   * @returns how many bytes were cut off, and which lines were damaged.
   */
  async load(take: (line: Buffer | undefined, lengthBytes: number) => boolean) {
    const samples: Buffer[] = []
    let damagedLines = 0
    const file = await this.#openIfThere('write')
    if (!file) return { cutOffBytes: 0, damagedLines, samples }
    this.#exists = true
    try {
      for await (const { bytes, endBytes } of readLines(file, this.#options.lineLimitBytes)) {
        if (!take(bytes, endBytes - this.#goodBytes)) {
          damagedLines++
          addSample(samples, bytes)
        }
        this.#goodBytes = endBytes
      }
      const cutOffBytes = (await file.sizeBytes()) - this.#goodBytes
      if (cutOffBytes > 0) {
        await file.truncate(this.#goodBytes)
        await file.sync()
      }
      return { cutOffBytes, damagedLines, samples }
    } finally {
      await file.close()
    }
  }

  /** Gives `take` the lines, as `load` does, and leaves a torn end alone: somebody else may be writing it. */
  async look(take: (line: Buffer | undefined, lengthBytes: number) => void): Promise<void> {
    const file = await this.#openIfThere('read')
    if (!file) return
    try {
      let beginBytes = 0
      for await (const { bytes, endBytes } of readLines(file, this.#options.lineLimitBytes)) {
        take(bytes, endBytes - beginBytes)
        beginBytes = endBytes
      }
    } finally {
      await file.close()
    }
  }

  /** Adds lines, each with its newline; durable when it resolves. After a failure nothing of them counts. */
  async append(lines: Iterable<Buffer>): Promise<void> {
    const file = await this.#openOrCreate()
    try {
      const sizeBytes = await file.sizeBytes()
      if (sizeBytes < this.#goodBytes) throw new Error(`${this.#options.path} is shorter than what we wrote into it`)
      // An earlier failure may have left something behind the good part.
      if (sizeBytes > this.#goodBytes) await file.truncate(this.#goodBytes)
      let endBytes = this.#goodBytes
      try {
        for (const block of blocksOf(lines)) {
          await writeFully(file, block, endBytes)
          endBytes += block.length
        }
        await file.sync()
      } catch (cause) {
        // On a full disk this gives the room back; where not even that works, it is done before the next write.
        await file.truncate(this.#goodBytes).catch(() => {})
        throw cause
      }
      this.#goodBytes = endBytes
    } finally {
      await file.close()
    }
  }

  /**
   * Puts a file of these lines in the place of what is there, and answers whether it stands there now; if not, what was there does,
   * and is as good as it was. Never rejects: `complain` is told what the disk says.
   */
  async replace(lines: Iterable<Buffer>, complain: (error: unknown) => void): Promise<boolean> {
    const { fileSystem, partial, path } = this.#options
    let sizeBytes = 0
    const counted = function* () {
      for (const line of lines) {
        sizeBytes += line.length
        yield line
      }
    }
    try {
      await writeWhole(fileSystem, path, blocksOf(counted()), partial)
    } catch (error) {
      complain(error)
      // Only the last step, the sync of the directory, fails with the new file in place.
      if (!(await this.#isOfGoodLines(sizeBytes))) return false
    }
    this.#goodBytes = sizeBytes
    this.#exists = true
    return true
  }

  /** Reads the file again. Answers what is wrong, or `undefined` when it is as it was written. */
  async findDamage(): Promise<LineDamage | undefined> {
    if (!this.#exists) return undefined
    const { endBytes, ...damage } = await this.#examine(this.#goodBytes)
    const missingBytes = this.#goodBytes - endBytes
    return damage.damagedLines > 0 || missingBytes > 0 ? { ...damage, missingBytes } : undefined
  }

  /** Keeps samples of damage in `quarantine/`, with what there is to say of it. */
  async keepEvidence(complaint: string, samples: readonly Buffer[]): Promise<void> {
    const lines = samples.map((line) => line.toString('base64'))
    await writeEvidence(this.#options, this.#options.path, { complaint, lines })
  }

  /** Whether there is a file of exactly so many bytes, all of them whole lines as they were written. */
  async #isOfGoodLines(sizeBytes: number): Promise<boolean> {
    const { fileSystem, path } = this.#options
    try {
      if ((await fileSystem.describe(path))?.sizeBytes !== sizeBytes) return false
      const { damagedLines, endBytes } = await this.#examine(sizeBytes)
      return damagedLines === 0 && endBytes === sizeBytes
    } catch {
      return false
    }
  }

  /** Looks at the lines before `limitBytes`. `endBytes` is up to where there are any. */
  async #examine(limitBytes: number) {
    const samples: Buffer[] = []
    let damagedLines = 0
    let endBytes = 0
    const file = await this.#openIfThere('read')
    if (!file) return { damagedLines, endBytes, samples }
    try {
      for await (const line of readLines(file, this.#options.lineLimitBytes)) {
        if (line.endBytes > limitBytes) break
        if (!line.bytes || !isSealed(line.bytes)) {
          damagedLines++
          addSample(samples, line.bytes)
        }
        endBytes = line.endBytes
      }
    } finally {
      await file.close()
    }
    return { damagedLines, endBytes, samples }
  }

  async #openIfThere(how: 'read' | 'write'): Promise<OpenedFile | undefined> {
    try {
      return await this.#options.fileSystem.open(this.#options.path, how)
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return undefined
      throw cause
    }
  }

  async #openOrCreate(): Promise<OpenedFile> {
    const { fileSystem, path } = this.#options
    if (this.#exists) return await fileSystem.open(path, 'write')
    const file = await this.#create()
    try {
      await fileSystem.syncDirectory(dirname(path))
    } catch (cause) {
      await file.close()
      throw cause
    }
    this.#exists = true
    return file
  }

  async #create(): Promise<OpenedFile> {
    const { fileSystem, path } = this.#options
    try {
      return await fileSystem.open(path, 'create')
    } catch (cause) {
      // Made by an attempt that failed after it.
      if (hasCode(cause, 'EEXIST')) return await fileSystem.open(path, 'write')
      throw cause
    }
  }
}

export function complaintAbout({ damagedLines, missingBytes }: LineDamage): string {
  return `${damagedLines} lines are damaged, and ${missingBytes} bytes missing`
}

function addSample(samples: Buffer[], line: Buffer | undefined): void {
  if (samples.length < EVIDENCE_LINES) samples.push(Buffer.from(line?.subarray(0, EVIDENCE_BYTES) ?? ''))
}

/** Lines about BLOCK_BYTES at a time: a first catalogue is 150 MB. */
function* blocksOf(lines: Iterable<Buffer>): Generator<Buffer> {
  let block: Buffer[] = []
  let blockBytes = 0
  for (const line of lines) {
    block.push(line)
    blockBytes += line.length
    if (blockBytes < BLOCK_BYTES) continue
    yield Buffer.concat(block)
    block = []
    blockBytes = 0
  }
  if (blockBytes > 0) yield Buffer.concat(block)
}
