import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import type { ExportRecord, ExportStore } from './export-store.js'
import { SealedFile } from './sealed-file.js'

/** About 110 bytes an image. Whoever keeps records sees to it that they stay far below. */
const FILE_LIMIT_BYTES = 128 * 1024 * 1024

/** In `exports.json`. */
export class ExportFile implements ExportStore {
  readonly #file: SealedFile<{ readonly exports: readonly ExportRecord[] }>
  readonly #path: string
  readonly #log: Log

  constructor({ log, ...places }: Places & { log: Log }) {
    this.#path = join(places.root, 'exports.json')
    const what = 'which bundles were made here'
    this.#file = new SealedFile({ ...places, path: this.#path, what, limitBytes: FILE_LIMIT_BYTES })
    this.#log = log
  }

  async load(): Promise<readonly ExportRecord[]> {
    const found = await this.#file.load((aside) => {
      const lost = `which bundles were made here is damaged and lost; see ${aside}. Series begin with 1 again`
      this.#log.error({ path: this.#path, aside }, lost)
    })
    return found?.exports ?? []
  }

  save(exports: readonly ExportRecord[]): Promise<void> {
    return this.#file.save({ exports })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#file.idle()
  }
}
