import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import type { Pin, PinStore } from './pin-store.js'
import { SealedFile } from './sealed-file.js'

/** About 200 bytes a pin: enough for 300,000 of them. */
const FILE_LIMIT_BYTES = 64 * 1024 * 1024

/** Pins in `pins.json`. */
export class PinFile implements PinStore {
  readonly #file: SealedFile<{ readonly pins: readonly Pin[] }>
  readonly #path: string
  readonly #log: Log

  constructor({ log, ...places }: Places & { log: Log }) {
    this.#path = join(places.root, 'pins.json')
    this.#file = new SealedFile({ ...places, path: this.#path, what: 'the pins', limitBytes: FILE_LIMIT_BYTES })
    this.#log = log
  }

  async load(): Promise<readonly Pin[]> {
    const found = await this.#file.load((aside) => {
      this.#log.error({ path: this.#path, aside }, `the pins that operators had set are damaged and lost; see ${aside}`)
    })
    return found?.pins ?? []
  }

  /** As `load`, and leaves a damaged file where it is: its pins are `undefined`. */
  async look(): Promise<readonly Pin[] | undefined> {
    const found = await this.#file.look()
    return found === 'damaged' ? undefined : (found?.pins ?? [])
  }

  save(pins: readonly Pin[]): Promise<void> {
    return this.#file.save({ pins })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#file.idle()
  }
}
