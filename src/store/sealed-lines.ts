import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Places } from './evidence.js'
import { complaintAbout, LineFile } from './line-file.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'

/** Far more than any line of ours. */
const LINE_LIMIT_BYTES = 64 * 1024
/** Outdated lines that are never worth a rewrite. */
const OUTDATED_ALLOWED_BYTES = 1024 * 1024

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
  readonly #file: LineFile
  readonly #turns = new OneAtATime()
  /** What the lines that count took when that was looked at last. */
  #currentBytes = 0

  /** Reads the file, if there is one; its directory must be there. Rejects with what the disk says. */
  static async open(options: SealedLinesOptions): Promise<SealedLines> {
    const lines = new SealedLines(options)
    await lines.#load()
    return lines
  }

  private constructor(options: SealedLinesOptions) {
    this.#options = options
    this.#file = new LineFile({ ...options, lineLimitBytes: LINE_LIMIT_BYTES })
  }

  /**
   * Adds lines; durable when it resolves. `apply` is called once they are, so that memory knows what the file knows.
   * @throws MirrorError STORE_FULL, STORE_BROKEN; nothing of them counts then.
   */
  append(lines: readonly object[], apply: () => void): Promise<void> {
    return this.#turns.run(async () => {
      try {
        await this.#file.append(bytesOf(lines))
        apply()
        if (this.#file.sizeBytes > 2 * this.#currentBytes + OUTDATED_ALLOWED_BYTES) await this.#rewrite()
      } catch (cause) {
        throw storeFailure(`cannot write down ${this.#options.what}`, cause)
      }
    })
  }

  /** Reads the file again, and writes it anew if it is not as it was written. Answers what was wrong, if anything was. */
  audit(): Promise<{ path: string; complaint: string; isMended: boolean } | undefined> {
    return this.#turns.run(async () => {
      const { path, what } = this.#options
      try {
        const damage = await this.#file.findDamage()
        if (!damage) return undefined
        const complaint = complaintAbout(damage)
        await this.#file.keepEvidence(complaint, damage.samples)
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
    const { current, log, path, take, what } = this.#options
    const found = await this.#file.load((line) => line !== undefined && take(openSealedJson(line)))
    const { cutOffBytes, damagedLines, samples } = found
    if (cutOffBytes > 0) log.info({ path }, `the end of ${what} was never written to the end, and is cut off`)
    this.#currentBytes = sizeOf(current())
    if (damagedLines === 0) return
    const complaint = `${damagedLines} lines are damaged`
    log.error({ path, damagedLines }, `of ${what} ${complaint}: what they said is forgotten`)
    await this.#file.keepEvidence(complaint, samples)
    await this.#rewrite()
  }

  /** Writes the file anew with what counts. The old one serves as well: failing here harms nobody. Answers whether it did. */
  async #rewrite(): Promise<boolean> {
    const { current, log, path, what } = this.#options
    const isInPlace = await this.#file.replace(bytesOf(current()), (error) =>
      log.warn({ path, err: error }, `${what} could not be written anew`),
    )
    if (isInPlace) this.#currentBytes = this.#file.sizeBytes
    return isInPlace
  }
}

function* bytesOf(lines: Iterable<object>): Generator<Buffer> {
  for (const line of lines) yield Buffer.from(`${sealJson(JSON.stringify(line))}\n`)
}

function sizeOf(lines: Iterable<object>): number {
  let sizeBytes = 0
  for (const line of bytesOf(lines)) sizeBytes += line.length
  return sizeBytes
}
