import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { FileSystem } from './file-system.js'
import type { ScrubProgress, ScrubStore } from './scrub-store.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { readWhole, writeWhole } from './whole-files.js'

/** About 80 bytes a blob: enough for 800,000 of them. */
const FILE_LIMIT_BYTES = 64 * 1024 * 1024
const BEGINNING: ScrubProgress = {
  checkedMs: new Map(),
  current: undefined,
  endedMs: undefined,
  auditedMs: undefined,
}

/** As it stands in `scrub.json`, sealed. */
interface AtRest extends Omit<ScrubProgress, 'checkedMs'> {
  readonly checkedMs: Readonly<Record<string, number>>
}

export class ScrubLog implements ScrubStore {
  readonly #path: string
  readonly #partial: string
  readonly #fileSystem: FileSystem
  readonly #log: Log
  readonly #writing = new OneAtATime()

  constructor(options: { root: string; partial: string; fileSystem: FileSystem; log: Log }) {
    this.#path = join(options.root, 'scrub.json')
    this.#partial = options.partial
    this.#fileSystem = options.fileSystem
    this.#log = options.log
  }

  async load(): Promise<ScrubProgress> {
    try {
      const text = await readWhole(this.#fileSystem, this.#path, FILE_LIMIT_BYTES)
      if (!text) return BEGINNING
      // The seal says that we wrote it and nobody changed it: its form needs no further look.
      const found = openSealedJson(text) as AtRest | undefined
      if (found) {
        const { checkedMs, current, endedMs, auditedMs } = found
        return { checkedMs: new Map(Object.entries(checkedMs)), current, endedMs, auditedMs }
      }
      this.#log.warn({ path: this.#path }, 'how far the scrub had come is damaged; it begins anew')
    } catch (error) {
      this.#log.warn({ path: this.#path, err: error }, 'how far the scrub had come cannot be read; it begins anew')
    }
    return BEGINNING
  }

  save(progress: ScrubProgress): Promise<void> {
    const atRest: AtRest = { ...progress, checkedMs: Object.fromEntries(progress.checkedMs) }
    const content = Buffer.from(sealJson(JSON.stringify(atRest)))
    return this.#writing.run(async () => {
      try {
        await writeWhole(this.#fileSystem, this.#path, content, this.#partial)
      } catch (cause) {
        throw storeFailure('cannot write down how far the scrub has come', cause)
      }
    })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }
}
