import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { BlobStore } from './blob-store.js'
import type { FileSystem } from './file-system.js'
import { LineFile } from './line-file.js'
import type { Check, ScrubProgress, ScrubStore } from './scrub-store.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { readWhole, writeWhole } from './whole-files.js'

/** What mirrors before wrote had the checks in it too, up to this. */
const FILE_LIMIT_BYTES = 64 * 1024 * 1024
/** Of a check, with its seal: about 125 bytes. */
const LINE_LIMIT_BYTES = 256
/** Lines of checks that later ones have replaced are dropped when there is more than this of them. */
const OUTDATED_ALLOWED_BYTES = 1024 * 1024
const BEGINNING: ScrubProgress = { current: undefined, endedMs: undefined, auditedMs: undefined }

/** As it stands in `scrub.json`, sealed. */
interface AtRest extends ScrubProgress {
  /** Only of mirrors before: by sha256. */
  readonly checkedMs?: Readonly<Record<string, number>>
}

/**
 * `scrub.json` for where the scrub is, and `scrub-checks.log` for which blob was read when: a sealed line for each reading, appended,
 * so that writing down costs the same however many blobs there are.
 */
export class ScrubLog implements ScrubStore {
  readonly #path: string
  readonly #partial: string
  readonly #fileSystem: FileSystem
  readonly #log: Log
  readonly #checksPath: string
  readonly #checks: LineFile
  /** Something of it is damaged, or was not written: it is written anew from what is known. */
  #isToBeMended = false
  readonly #writing = new OneAtATime()

  constructor(options: { root: string; partial: string; fileSystem: FileSystem; log: Log }) {
    this.#path = join(options.root, 'scrub.json')
    this.#checksPath = join(options.root, 'scrub-checks.log')
    this.#partial = options.partial
    this.#fileSystem = options.fileSystem
    this.#log = options.log
    this.#checks = new LineFile({ ...options, path: this.#checksPath, lineLimitBytes: LINE_LIMIT_BYTES })
  }

  async load(take: (check: Check) => void): Promise<ScrubProgress> {
    const progress = await this.#loadProgress(take)
    try {
      const { damagedLines } = await this.#checks.load((line) => takeLine(line, take))
      this.#isToBeMended ||= damagedLines > 0
      if (damagedLines === 0) return progress
      this.#log.warn({ path: this.#checksPath, damagedLines }, 'of what the scrub has read, some is forgotten: damaged')
    } catch (error) {
      this.#isToBeMended = true
      this.#log.warn({ path: this.#checksPath, err: error }, 'what the scrub has read cannot be read; it begins anew')
    }
    return progress
  }

  /** As `load`, of a data directory that is somebody else's: nothing is changed. */
  async look(take: (check: Check) => void): Promise<void> {
    await this.#loadProgress(take)
    try {
      await this.#checks.look((line) => void takeLine(line, take))
    } catch (error) {
      this.#log.warn({ path: this.#checksPath, err: error }, 'what the scrub has read cannot be read')
    }
  }

  async #loadProgress(take: (check: Check) => void): Promise<ScrubProgress> {
    try {
      const text = await readWhole(this.#fileSystem, this.#path, FILE_LIMIT_BYTES)
      if (!text) return BEGINNING
      // The seal says that we wrote it and nobody changed it: its form needs no further look.
      const found = openSealedJson(text) as AtRest | undefined
      if (found) {
        const { checkedMs, current, endedMs, auditedMs } = found
        for (const [sha256, ms] of Object.entries(checkedMs ?? {})) take({ sha256, checkedMs: ms })
        if (checkedMs) this.#isToBeMended = true
        return { current, endedMs, auditedMs }
      }
      this.#log.warn({ path: this.#path }, 'how far the scrub had come is damaged; it begins anew')
    } catch (error) {
      this.#log.warn({ path: this.#path, err: error }, 'how far the scrub had come cannot be read; it begins anew')
    }
    return BEGINNING
  }

  save(
    progress: ScrubProgress,
    checks: Iterable<Check>,
    kept: Pick<BlobStore, 'keptCount' | 'checked'>,
  ): Promise<void> {
    const content = Buffer.from(sealJson(JSON.stringify(progress)))
    const lines = [...linesOf(checks)]
    return this.#writing.run(async () => {
      try {
        await this.#append(lines, kept)
        await writeWhole(this.#fileSystem, this.#path, content, this.#partial)
      } catch (cause) {
        this.#isToBeMended = true
        throw storeFailure('cannot write down how far the scrub has come', cause)
      }
    })
  }

  async #append(lines: readonly Buffer[], kept: Pick<BlobStore, 'keptCount' | 'checked'>): Promise<void> {
    const allowedBytes = LINE_LIMIT_BYTES * kept.keptCount + OUTDATED_ALLOWED_BYTES
    if (!this.#isToBeMended && this.#checks.sizeBytes <= allowedBytes) {
      if (lines.length > 0) await this.#checks.append(lines)
      return
    }
    let failure: unknown
    const all = linesOf(checksOf(kept))
    const isInPlace = await this.#checks.replace(all, (error) => {
      failure = error
    })
    if (!isInPlace) throw failure
    this.#isToBeMended = false
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }
}

/** Answers false for a line that is not as it was written. */
function takeLine(line: Buffer | undefined, take: (check: Check) => void): boolean {
  const check = line && (openSealedJson(line) as Check | undefined)
  if (!check) return false
  take(check)
  return true
}

function* checksOf(kept: Pick<BlobStore, 'checked'>): Generator<Check> {
  for (const { atMs: checkedMs, sha256 } of kept.checked()) yield { sha256, checkedMs }
}

function* linesOf(checks: Iterable<Check>): Generator<Buffer> {
  for (const { checkedMs, sha256 } of checks) yield Buffer.from(`${sealJson(JSON.stringify({ sha256, checkedMs }))}\n`)
}
