import { OneAtATime } from '../parts/one-at-a-time.js'
import { type Places, setFileAside } from './evidence.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { readWhole, writeWhole } from './whole-files.js'

export interface SealedFileOptions extends Places {
  readonly path: string
  /** What is in it, for messages: `the pins`. */
  readonly what: string
  /** A larger file is not read. */
  readonly limitBytes: number
}

/** A small file of JSON, sealed (`sealJson`), and written anew with every change. */
export class SealedFile<Content extends object> {
  readonly #options: SealedFileOptions
  readonly #writing = new OneAtATime()

  constructor(options: SealedFileOptions) {
    this.#options = options
  }

  /**
   * What was saved last; `undefined` when there is none. A damaged file is set aside first, and `onDamage` told where it is.
   * Rejects with what the disk says.
   */
  async load(onDamage: (aside: string) => void): Promise<Content | undefined> {
    const found = await this.look()
    if (found !== 'damaged') return found
    onDamage(await setFileAside(this.#options, this.#options.path, { complaint: 'it is not as we wrote it' }))
    return undefined
  }

  /** As `load`, and leaves a damaged file where it is. */
  async look(): Promise<Content | 'damaged' | undefined> {
    const { fileSystem, limitBytes, path } = this.#options
    const text = await readWhole(fileSystem, path, limitBytes)
    if (!text) return undefined
    // The seal says that we wrote it and nobody changed it: its form needs no further look.
    return (openSealedJson(text) as Content | undefined) ?? 'damaged'
  }

  /** Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN; what was saved before stands then. */
  save(content: Content): Promise<void> {
    const { fileSystem, partial, path, what } = this.#options
    const text = Buffer.from(sealJson(JSON.stringify(content)))
    return this.#writing.run(async () => {
      try {
        await writeWhole(fileSystem, path, text, partial)
      } catch (cause) {
        throw storeFailure(`cannot write down ${what}`, cause)
      }
    })
  }

  /** Waits for what is being written. */
  idle(): Promise<void> {
    return this.#writing.idle()
  }
}
