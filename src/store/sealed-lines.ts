import { dirname } from 'node:path'
import { hasCode } from '../errors.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import { type Places, writeEvidence } from './evidence.js'
import type { OpenedFile } from './file-system.js'
import { type Line, readLines } from './read-lines.js'
import { isSealed, openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { writeFully, writeWhole } from './whole-files.js'

/** Far more than any line of ours. */
const LINE_LIMIT_BYTES = 64 * 1024
const BLOCK_BYTES = 1024 * 1024
/** Outdated lines that are never worth a rewrite. */
const OUTDATED_ALLOWED_BYTES = 1024 * 1024
/** Of damaged lines, so much is kept as evidence. */
const EVIDENCE_LINES = 20
const EVIDENCE_BYTES = 4096

export interface SealedLinesOptions extends Places {
  readonly path: string
  /** What the file is about, for messages: `the tags of registries`. */
  readonly what: string
  /** Takes in one line of the file at start, as it was appended; answers false for one that means nothing to us. */
  readonly take: (line: unknown) => boolean
  /** Everything that counts, as lines: what the file is written anew from. */
  readonly current: () => Iterable<object>
  readonly log: Log
}

/**
 * An append-only file of JSON objects, one a line, each with a CRC of its own. Lines mean what they say when they are read in
 * order; a last line that a crash has torn was never promised to anyone, and is cut off. The file is written anew, from memory,
 * when most of it is outdated, or when some of it is damaged.
 */
export class SealedLines {
  readonly #options: SealedLinesOptions
  readonly #turns = new OneAtATime()
  /** Up to where the file is known to be good; behind it stands at most what a failed write has left. */
  #goodBytes = 0
  /** What the lines that count took when that was looked at last. */
  #currentBytes = 0
  #exists = false

  /** Reads the file, if there is one; its directory must be there. Rejects with what the disk says. */
  static async open(options: SealedLinesOptions): Promise<SealedLines> {
    const lines = new SealedLines(options)
    await lines.#load()
    return lines
  }

  private constructor(options: SealedLinesOptions) {
    this.#options = options
  }

  /**
   * Adds lines; durable when it resolves. `apply` is called once they are, so that memory knows what the file knows.
   * @throws MirrorError STORE_FULL, STORE_BROKEN; nothing of them counts then.
   */
  append(lines: readonly object[], apply: () => void): Promise<void> {
    return this.#turns.run(async () => {
      try {
        await this.#write(lines)
        apply()
        if (this.#goodBytes > 2 * this.#currentBytes + OUTDATED_ALLOWED_BYTES) await this.#rewrite()
      } catch (cause) {
        throw storeFailure(`cannot write down ${this.#options.what}`, cause)
      }
    })
  }

  /** Reads the file again, and writes it anew if it is not as it was written. Answers what was wrong, if anything was. */
  audit(): Promise<{ path: string; complaint: string; isMended: boolean } | undefined> {
    return this.#turns.run(async () => {
      const { path, what } = this.#options
      if (!this.#exists) return undefined
      try {
        const { damaged, goodBytes } = await this.#readDamage()
        if (damaged.length === 0 && goodBytes >= this.#goodBytes) return undefined
        const missingBytes = Math.max(0, this.#goodBytes - goodBytes)
        const complaint = `${damaged.length} lines are damaged, and ${missingBytes} bytes missing`
        await this.#setAside(complaint, damaged)
        return { path, complaint, isMended: await this.#rewrite() }
      } catch (cause) {
        throw storeFailure(`cannot read ${what} again`, cause)
      }
    })
  }

  /** Waits for what is being written. */
  idle(): Promise<void> {
    return this.#turns.idle()
  }

  async #load(): Promise<void> {
    const { fileSystem, log, path, take, what } = this.#options
    let file: OpenedFile
    try {
      file = await fileSystem.open(path, 'write')
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return
      throw cause
    }
    this.#exists = true
    const damaged: Buffer[] = []
    let damagedCount = 0
    try {
      for await (const { bytes, endBytes } of readLines(file, LINE_LIMIT_BYTES)) {
        if (!bytes || !take(openSealedJson(bytes))) {
          damagedCount++
          if (damaged.length < EVIDENCE_LINES) damaged.push(evidenceOf(bytes))
        }
        this.#goodBytes = endBytes
      }
      if ((await file.sizeBytes()) > this.#goodBytes) {
        log.info({ path }, `the end of ${what} was never written to the end, and is cut off`)
        await file.truncate(this.#goodBytes)
        await file.sync()
      }
    } finally {
      await file.close()
    }
    this.#currentBytes = sizeOf(this.#options.current())
    if (damagedCount === 0) return
    const complaint = `${damagedCount} lines are damaged`
    log.error({ path, damagedLines: damagedCount }, `of ${what} ${complaint}: what they said is forgotten`)
    await this.#setAside(complaint, damaged)
    await this.#rewrite()
  }

  async #setAside(complaint: string, damaged: readonly Buffer[]): Promise<void> {
    const lines = damaged.map((line) => line.toString('base64'))
    await writeEvidence(this.#options, this.#options.path, { complaint, lines })
  }

  /** The first damaged lines before `#goodBytes`, each cut to a bearable length, and up to where there are whole lines. */
  async #readDamage(): Promise<{ damaged: Buffer[]; goodBytes: number }> {
    const { fileSystem, path } = this.#options
    const damaged: Buffer[] = []
    let goodBytes = 0
    let file: OpenedFile
    try {
      file = await fileSystem.open(path, 'read')
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return { damaged, goodBytes }
      throw cause
    }
    try {
      for await (const line of readLines(file, LINE_LIMIT_BYTES)) {
        if (line.endBytes > this.#goodBytes) break
        if (!isReadable(line) && damaged.length < EVIDENCE_LINES) damaged.push(evidenceOf(line.bytes))
        goodBytes = line.endBytes
      }
    } finally {
      await file.close()
    }
    return { damaged, goodBytes }
  }

  async #write(lines: readonly object[]): Promise<void> {
    const file = await this.#openFile()
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

  async #openFile(): Promise<OpenedFile> {
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

  /** Writes the file anew with what counts. The old one serves as well: failing here harms nobody. Answers whether it did. */
  async #rewrite(): Promise<boolean> {
    const { current, fileSystem, log, partial, path, what } = this.#options
    const sizeBytes = sizeOf(current())
    try {
      await writeWhole(fileSystem, path, blocksOf(current()), partial)
    } catch (error) {
      log.warn({ path, err: error }, `${what} could not be written anew`)
      // Only the last step, the sync of the directory, fails with the new file in place.
      const facts = await fileSystem.describe(path).catch(() => undefined)
      if (facts?.sizeBytes !== sizeBytes) return false
    }
    this.#goodBytes = sizeBytes
    this.#currentBytes = sizeBytes
    return true
  }
}

function isReadable({ bytes }: Line): boolean {
  return bytes !== undefined && isSealed(bytes)
}

function evidenceOf(bytes: Buffer | undefined): Buffer {
  return Buffer.from(bytes?.subarray(0, EVIDENCE_BYTES) ?? '')
}

function textOf(line: object): string {
  return `${sealJson(JSON.stringify(line))}\n`
}

function sizeOf(lines: Iterable<object>): number {
  let sizeBytes = 0
  for (const line of lines) sizeBytes += Buffer.byteLength(textOf(line))
  return sizeBytes
}

/** The lines as bytes, about BLOCK_BYTES at a time. */
function* blocksOf(lines: Iterable<object>): Generator<Buffer> {
  let block: string[] = []
  let blockLength = 0
  for (const line of lines) {
    const text = textOf(line)
    block.push(text)
    blockLength += text.length
    if (blockLength < BLOCK_BYTES) continue
    yield Buffer.from(block.join(''))
    block = []
    blockLength = 0
  }
  if (blockLength > 0) yield Buffer.from(block.join(''))
}
