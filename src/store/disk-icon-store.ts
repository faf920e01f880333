import { join } from 'node:path'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { FileSystem } from './file-system.js'
import type { IconStore, IconType, KeptIcon } from './image-store.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** Twice what IMGAPI takes (sdc-imgapi, lib/constants.js, `MAX_ICON_SIZE`); a larger file is none of ours. */
const ICON_LIMIT_BYTES = 256 * 1024
const EXTENSIONS: Record<IconType, string> = { 'image/jpeg': 'jpg', 'image/gif': 'gif', 'image/png': 'png' }
const NAME = /^([0-9a-f-]{36})\.(jpg|gif|png)$/

/** Icons as plain files, to be looked at with any viewer. */
export class DiskIconStore implements IconStore {
  readonly #directory: string
  readonly #partial: string
  readonly #fileSystem: FileSystem
  /** What there is, so that the many images without an icon cost no look at the disk. */
  readonly #types = new Map<Uuid, IconType>()
  readonly #writing = new OneAtATime()

  static async open(options: { root: string; partial: string; fileSystem: FileSystem }): Promise<DiskIconStore> {
    const { root, partial, fileSystem } = options
    const store = new DiskIconStore(join(root, 'icons'), partial, fileSystem)
    try {
      await ensureDirectory(fileSystem, store.#directory)
      for (const name of await fileSystem.list(store.#directory)) await store.#note(name)
    } catch (cause) {
      throw storeFailure(`cannot read the icons in ${store.#directory}`, cause)
    }
    return store
  }

  private constructor(directory: string, partial: string, fileSystem: FileSystem) {
    this.#directory = directory
    this.#partial = partial
    this.#fileSystem = fileSystem
  }

  async get(uuid: Uuid): Promise<KeptIcon | undefined> {
    const contentType = this.#types.get(uuid)
    if (!contentType) return undefined
    const path = this.#pathOf(uuid, contentType)
    try {
      const facts = await this.#fileSystem.describe(path)
      const bytes = await readWhole(this.#fileSystem, path, ICON_LIMIT_BYTES)
      return facts && bytes && { contentType, bytes, keptMs: toSeconds(facts.modifiedMs) }
    } catch (cause) {
      throw storeFailure(`cannot read the icon of image ${uuid}`, cause)
    }
  }

  async keep(uuid: Uuid, icon: { readonly contentType: IconType; readonly bytes: Buffer }): Promise<KeptIcon> {
    const { contentType, bytes } = icon
    const path = this.#pathOf(uuid, contentType)
    return await this.#writing.run(async () => {
      try {
        await writeWhole(this.#fileSystem, path, bytes, this.#partial)
        const before = this.#types.get(uuid)
        this.#types.set(uuid, contentType)
        if (before && before !== contentType) await this.#fileSystem.remove(this.#pathOf(uuid, before))
        const facts = await this.#fileSystem.describe(path)
        return { contentType, bytes, keptMs: toSeconds(facts?.modifiedMs ?? 0) }
      } catch (cause) {
        throw storeFailure(`cannot keep the icon of image ${uuid}`, cause)
      }
    })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }

  /** Of two icons of an image, which a crash between writing the one and removing the other leaves, the newer counts. */
  async #note(name: string): Promise<void> {
    const [, text, extension] = NAME.exec(name) ?? []
    const uuid = parseUuid(text)
    const found = (Object.keys(EXTENSIONS) as IconType[]).find((type) => EXTENSIONS[type] === extension)
    if (!uuid || !found) return
    const known = this.#types.get(uuid)
    if (known && (await this.#modifiedMs(uuid, known)) > (await this.#modifiedMs(uuid, found))) return
    this.#types.set(uuid, found)
  }

  async #modifiedMs(uuid: Uuid, contentType: IconType): Promise<number> {
    return (await this.#fileSystem.describe(this.#pathOf(uuid, contentType)))?.modifiedMs ?? 0
  }

  #pathOf(uuid: Uuid, contentType: IconType): string {
    return join(this.#directory, `${uuid}.${EXTENSIONS[contentType]}`)
  }
}

/** Last-Modified knows no fractions. */
function toSeconds(timeMs: number): number {
  return Math.floor(timeMs / 1000) * 1000
}
