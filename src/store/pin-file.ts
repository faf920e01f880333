import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import { type Places, setFileAside } from './evidence.js'
import type { Pin, PinStore } from './pin-store.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { readWhole, writeWhole } from './whole-files.js'

/** About 200 bytes a pin: enough for 300,000 of them. */
const FILE_LIMIT_BYTES = 64 * 1024 * 1024

/** Pins in `pins.json`, sealed, written anew with every change. */
export class PinFile implements PinStore {
  readonly #path: string
  readonly #places: Places
  readonly #log: Log
  readonly #writing = new OneAtATime()

  constructor({ log, ...places }: Places & { log: Log }) {
    this.#path = join(places.root, 'pins.json')
    this.#places = places
    this.#log = log
  }

  async load(): Promise<readonly Pin[]> {
    const text = await readWhole(this.#places.fileSystem, this.#path, FILE_LIMIT_BYTES)
    if (!text) return []
    // The seal says that we wrote it and nobody changed it: its form needs no further look.
    const found = openSealedJson(text) as { readonly pins: readonly Pin[] } | undefined
    if (found) return found.pins
    const aside = await setFileAside(this.#places, this.#path, { kind: 'pins', complaint: 'it is not as we wrote it' })
    this.#log.error({ path: this.#path, aside }, `the pins that operators had set are damaged and lost; see ${aside}`)
    return []
  }

  save(pins: readonly Pin[]): Promise<void> {
    const content = Buffer.from(sealJson(JSON.stringify({ pins })))
    return this.#writing.run(async () => {
      try {
        await writeWhole(this.#places.fileSystem, this.#path, content, this.#places.partial)
      } catch (cause) {
        throw storeFailure('cannot write down the pins', cause)
      }
    })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }
}
