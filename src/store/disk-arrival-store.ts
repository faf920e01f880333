import { hash } from 'node:crypto'
import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { ArrivalDocument, ArrivalStore, Arrivals } from './arrival-store.js'
import type { Flaw } from './audit-store.js'
import { type Places, setFileAside } from './evidence.js'
import { SealedFile } from './sealed-file.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** About 500 bytes each, and more of one with a thousand volumes. */
const LIST_LIMIT_BYTES = 64 * 1024 * 1024
/** As large as a `bundle.json` may be. */
const DOCUMENT_LIMIT_BYTES = 64 * 1024 * 1024
const ID = /^[0-9a-f]{64}$/

/**
 * In `bundles/`: the list of arrivals in `arrivals.json`, sealed, and what is kept of each bundle in a directory of its id, as it came, so
 * that `sha256sum` and `minisign` can look at it.
 */
export class DiskArrivalStore implements ArrivalStore {
  readonly #directory: string
  readonly #places: Places
  readonly #log: Log
  readonly #list: SealedFile<Arrivals>
  readonly #writing = new OneAtATime()

  static async open({ log, ...places }: Places & { log: Log }): Promise<DiskArrivalStore> {
    const store = new DiskArrivalStore(places, log)
    await ensureDirectory(places.fileSystem, store.#directory).catch((cause: unknown) => {
      throw storeFailure(`cannot make ${store.#directory}`, cause)
    })
    return store
  }

  private constructor(places: Places, log: Log) {
    this.#directory = join(places.root, 'bundles')
    this.#places = places
    this.#log = log
    this.#list = new SealedFile({
      ...places,
      path: join(this.#directory, 'arrivals.json'),
      what: 'which bundles have come',
      limitBytes: LIST_LIMIT_BYTES,
    })
  }

  async load(): Promise<Arrivals> {
    const found = await this.#list.load((aside) => {
      this.#log.error({ aside }, `which bundles have come is damaged and lost; see ${aside}. Import them again`)
    })
    if (!found) return { arrivals: [], excused: [] }
    const awaited = new Set(found.arrivals.filter(({ endedMs }) => endedMs === null).map(({ id }) => id))
    // What a crash has left between two steps.
    for (const id of await this.#ids()) if (!awaited.has(id)) await this.forgetDocuments(id)
    return found
  }

  save(arrivals: Arrivals): Promise<void> {
    return this.#list.save(arrivals)
  }

  async document(id: string, name: ArrivalDocument): Promise<Buffer | undefined> {
    const path = join(this.#directoryOf(id), name)
    try {
      return await readWhole(this.#places.fileSystem, path, DOCUMENT_LIMIT_BYTES)
    } catch (cause) {
      throw storeFailure(`cannot read ${path}`, cause)
    }
  }

  keepDocument(id: string, name: ArrivalDocument, bytes: Uint8Array): Promise<void> {
    const { fileSystem, partial } = this.#places
    const directory = this.#directoryOf(id)
    return this.#write(`cannot keep ${name} of bundle ${id}`, async () => {
      await ensureDirectory(fileSystem, directory)
      await writeWhole(fileSystem, join(directory, name), bytes, partial)
    })
  }

  forgetDocuments(id: string): Promise<void> {
    const { fileSystem } = this.#places
    const directory = this.#directoryOf(id)
    return this.#write(`cannot remove what is kept of bundle ${id}`, async () => {
      if (!(await fileSystem.describe(directory))) return
      for (const name of await fileSystem.list(directory)) await fileSystem.remove(join(directory, name))
      await fileSystem.removeDirectory(directory)
      await fileSystem.syncDirectory(this.#directory)
    })
  }

  /** Of each bundle that is awaited what it is. The medium brings again what is damaged. */
  async audit(): Promise<readonly Flaw[]> {
    const flaws: Flaw[] = []
    for (const id of await this.#ids()) {
      const path = join(this.#directoryOf(id), 'bundle.json')
      await this.#write(`cannot look at ${path}`, async () => {
        const bytes = await readWhole(this.#places.fileSystem, path, DOCUMENT_LIMIT_BYTES)
        if (!bytes || hash('sha256', bytes) === id) return
        const complaint = 'it does not have the sha256 it is named by'
        await setFileAside(this.#places, path, { complaint })
        flaws.push({ kind: 'bundle', path, complaint, isMended: false })
      })
    }
    return flaws
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await Promise.all([this.#writing.idle(), this.#list.idle()])
  }

  #directoryOf(id: string): string {
    if (!ID.test(id)) throw new Error(`${id} is no bundle's id`)
    return join(this.#directory, id)
  }

  async #ids(): Promise<string[]> {
    try {
      return (await this.#places.fileSystem.list(this.#directory)).filter((name) => ID.test(name))
    } catch (cause) {
      throw storeFailure(`cannot read ${this.#directory}`, cause)
    }
  }

  #write(failure: string, work: () => Promise<void>): Promise<void> {
    return this.#writing.run(async () => {
      try {
        await work()
      } catch (cause) {
        throw storeFailure(failure, cause)
      }
    })
  }
}
