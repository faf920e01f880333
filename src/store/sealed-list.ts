import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import type { Places } from './evidence.js'
import { SealedFile } from './sealed-file.js'

export interface SealedListOptions {
  /** Directly in the data directory: `pins.json`. */
  readonly fileName: string
  /** What the list is called in it: `pins`. */
  readonly key: string
  /** What is in it, for messages: `the pins`. */
  readonly what: string
  /** A larger file is not read. */
  readonly limitBytes: number
  /** What is told when it was damaged, and how loud: what is lost with it, and what follows. */
  readonly loss: { readonly level: 'warn' | 'error'; readonly message: string }
}

/** A list in a small file of the data directory, written anew with every change: `{ "<key>": [...] }`, sealed (`sealJson`). */
export class SealedList<Item> {
  readonly #options: SealedListOptions
  readonly #path: string
  readonly #file: SealedFile<Readonly<Record<string, readonly Item[]>>>
  readonly #log: Log

  constructor({ log, ...places }: Places & { log: Log }, options: SealedListOptions) {
    const { fileName, limitBytes, what } = options
    this.#options = options
    this.#path = join(places.root, fileName)
    this.#file = new SealedFile({ ...places, path: this.#path, what, limitBytes })
    this.#log = log
  }

  /** What was saved last; nothing of a damaged file, which is set aside and told of. Rejects with what the disk says. */
  async load(): Promise<readonly Item[]> {
    const { key, loss } = this.#options
    const found = await this.#file.load((aside) => {
      this.#log[loss.level]({ path: this.#path, aside }, `${loss.message}; see ${aside}`)
    })
    return found?.[key] ?? []
  }

  /** As `load`, and leaves a damaged file where it is: then `undefined`. */
  async look(): Promise<readonly Item[] | undefined> {
    const found = await this.#file.look()
    return found === 'damaged' ? undefined : (found?.[this.#options.key] ?? [])
  }

  /** Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN; what was saved before stands then. */
  save(items: readonly Item[]): Promise<void> {
    return this.#file.save({ [this.#options.key]: items })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#file.idle()
  }
}
