import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import type { PrewarmRecord, PrewarmStore } from './prewarm-store.js'
import { SealedFile } from './sealed-file.js'

/** About 250 bytes for each policy of the configuration. */
const FILE_LIMIT_BYTES = 8 * 1024 * 1024

/** In `prewarm.json`. */
export class PrewarmFile implements PrewarmStore {
  readonly #file: SealedFile<{ readonly policies: readonly PrewarmRecord[] }>
  readonly #log: Log

  constructor({ log, ...places }: Places & { log: Log }) {
    const path = join(places.root, 'prewarm.json')
    this.#file = new SealedFile({ ...places, path, what: 'what prewarming has spent', limitBytes: FILE_LIMIT_BYTES })
    this.#log = log
  }

  async load(): Promise<readonly PrewarmRecord[]> {
    const found = await this.#file.load((aside) => {
      this.#log.warn({ aside }, 'it is not known what prewarming has spent: the budgets begin anew')
    })
    return found?.policies ?? []
  }

  save(policies: readonly PrewarmRecord[]): Promise<void> {
    return this.#file.save({ policies })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#file.idle()
  }
}
