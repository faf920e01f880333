import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import { SealedFile } from './sealed-file.js'
import type { UnsettledStore } from './unsettled-store.js'

/** 67 bytes each: so many do not come together while a disk is well. */
const FILE_LIMIT_BYTES = 8 * 1024 * 1024

/** In `unsettled.json`: few are unsettled at a time. */
export class UnsettledFile implements UnsettledStore {
  readonly #file: SealedFile<{ readonly sha256s: readonly string[] }>
  readonly #path: string
  readonly #log: Log

  constructor({ log, ...places }: Places & { log: Log }) {
    this.#path = join(places.root, 'unsettled.json')
    const what = 'which files are being published or deleted'
    this.#file = new SealedFile({ ...places, path: this.#path, what, limitBytes: FILE_LIMIT_BYTES })
    this.#log = log
  }

  async load(): Promise<readonly string[]> {
    const found = await this.#file.load((aside) => {
      this.#log.warn({ path: this.#path, aside }, 'it is not known which files publishing left behind: they stay')
    })
    return found?.sha256s ?? []
  }

  save(sha256s: readonly string[]): Promise<void> {
    return this.#file.save({ sha256s })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#file.idle()
  }
}
