import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import { type Places, setFileAside } from './evidence.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import type { UnsettledStore } from './unsettled-store.js'
import { readWhole, writeWhole } from './whole-files.js'

/** 67 bytes each: so many do not come together while a disk is well. */
const FILE_LIMIT_BYTES = 8 * 1024 * 1024

/** In `unsettled.json`, sealed, written anew with every change: few are unsettled at a time. */
export class UnsettledFile implements UnsettledStore {
  readonly #path: string
  readonly #places: Places
  readonly #log: Log
  readonly #writing = new OneAtATime()

  constructor({ log, ...places }: Places & { log: Log }) {
    this.#path = join(places.root, 'unsettled.json')
    this.#places = places
    this.#log = log
  }

  async load(): Promise<readonly string[]> {
    const text = await readWhole(this.#places.fileSystem, this.#path, FILE_LIMIT_BYTES)
    if (!text) return []
    // The seal says that we wrote it and nobody changed it: its form needs no further look.
    const found = openSealedJson(text) as { readonly sha256s: readonly string[] } | undefined
    if (found) return found.sha256s
    const aside = await setFileAside(this.#places, this.#path, { complaint: 'it is not as we wrote it' })
    this.#log.warn({ path: this.#path, aside }, 'it is not known which files publishing left behind: they stay')
    return []
  }

  save(sha256s: readonly string[]): Promise<void> {
    const content = Buffer.from(sealJson(JSON.stringify({ sha256s })))
    return this.#writing.run(async () => {
      try {
        await writeWhole(this.#places.fileSystem, this.#path, content, this.#places.partial)
      } catch (cause) {
        throw storeFailure('cannot write down which files are being published or deleted', cause)
      }
    })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }
}
