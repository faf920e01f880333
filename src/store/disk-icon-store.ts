import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Flaw } from './audit-store.js'
import { type Places, setFileAside } from './evidence.js'
import type { FileSystem } from './file-system.js'
import type { IconStore, IconType, KeptIcon } from './image-store.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** Twice what IMGAPI takes (sdc-imgapi, lib/constants.js, `MAX_ICON_SIZE`); a larger file is none of ours. */
const ICON_LIMIT_BYTES = 256 * 1024
const EXTENSIONS: Record<IconType, string> = { 'image/jpeg': 'jpg', 'image/gif': 'gif', 'image/png': 'png' }
const SUM_LIMIT_BYTES = 1024
/** A line of sha256sum. */
const SUM = /^([0-9a-f]{64}) {2}\S+\n$/
const NAME = /^([0-9a-f-]{36})\.(jpg|gif|png)$/

/** Icons as plain files, to be looked at with any viewer. */
export class DiskIconStore implements IconStore {
  readonly #directory: string
  readonly #places: Places
  readonly #fileSystem: FileSystem
  /** What there is, so that the many images without an icon cost no look at the disk. */
  readonly #types = new Map<Uuid, IconType>()
  readonly #writing = new OneAtATime()

  static async open(options: { root: string; partial: string; fileSystem: FileSystem }): Promise<DiskIconStore> {
    const { root, fileSystem } = options
    const store = new DiskIconStore(join(root, 'icons'), options)
    try {
      await ensureDirectory(fileSystem, store.#directory)
      for (const name of await fileSystem.list(store.#directory)) await store.#note(name)
    } catch (cause) {
      throw storeFailure(`cannot read the icons in ${store.#directory}`, cause)
    }
    return store
  }

  private constructor(directory: string, places: Places) {
    this.#directory = directory
    this.#places = places
    this.#fileSystem = places.fileSystem
  }

  async get(uuid: Uuid): Promise<KeptIcon | undefined> {
    const contentType = this.#types.get(uuid)
    if (!contentType) return undefined
    const path = this.#pathOf(uuid, contentType)
    try {
      const facts = await this.#fileSystem.describe(path)
      const bytes = await readWhole(this.#fileSystem, path, ICON_LIMIT_BYTES)
      const sum = await this.#readSum(uuid, contentType)
      if (facts && bytes && (sum === undefined || sum === sumOf(bytes))) {
        return { contentType, bytes, keptMs: toSeconds(facts.modifiedMs) }
      }
      await this.#writing.run(() => this.#auditIcon(uuid, contentType))
      return undefined
    } catch (cause) {
      throw storeFailure(`cannot read the icon of image ${uuid}`, cause)
    }
  }

  async keep(uuid: Uuid, icon: { readonly contentType: IconType; readonly bytes: Buffer }): Promise<KeptIcon> {
    const { contentType, bytes } = icon
    const path = this.#pathOf(uuid, contentType)
    return await this.#writing.run(async () => {
      try {
        // The sum first: whoever finds the icon after a crash finds what to check it by.
        await this.#writeSum(uuid, contentType, sumOf(bytes))
        await writeWhole(this.#fileSystem, path, bytes, this.#places.partial)
        const before = this.#types.get(uuid)
        this.#types.set(uuid, contentType)
        if (before && before !== contentType) {
          await this.#fileSystem.remove(this.#pathOf(uuid, before))
          await this.#fileSystem.remove(this.#sumPathOf(uuid, before))
        }
        const facts = await this.#fileSystem.describe(path)
        return { contentType, bytes, keptMs: toSeconds(facts?.modifiedMs ?? 0) }
      } catch (cause) {
        throw storeFailure(`cannot keep the icon of image ${uuid}`, cause)
      }
    })
  }

  async forget(uuid: Uuid): Promise<void> {
    await this.#writing.run(async () => {
      const contentType = this.#types.get(uuid)
      if (!contentType) return
      try {
        await this.#fileSystem.remove(this.#pathOf(uuid, contentType))
        await this.#fileSystem.remove(this.#sumPathOf(uuid, contentType))
        await this.#fileSystem.syncDirectory(this.#directory)
        this.#types.delete(uuid)
      } catch (cause) {
        throw storeFailure(`cannot forget the icon of image ${uuid}`, cause)
      }
    })
  }

  async audit(): Promise<readonly Flaw[]> {
    const flaws: Flaw[] = []
    for (const [uuid, contentType] of [...this.#types]) {
      try {
        const flaw = await this.#writing.run(() => this.#auditIcon(uuid, contentType))
        if (flaw) flaws.push(flaw)
      } catch (cause) {
        throw storeFailure(`cannot read the icon of image ${uuid} again`, cause)
      }
    }
    return flaws
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }

  /** A damaged icon is set aside: whoever asks for it next has it fetched again. */
  async #auditIcon(uuid: Uuid, contentType: IconType): Promise<Flaw | undefined> {
    if (this.#types.get(uuid) !== contentType) return undefined
    const path = this.#pathOf(uuid, contentType)
    const bytes = await readWhole(this.#fileSystem, path, ICON_LIMIT_BYTES).catch(() => 'unreadable' as const)
    const sum = await this.#readSum(uuid, contentType)
    if (bytes instanceof Buffer && sum === undefined) {
      // Kept by a release that wrote none, or the sum itself is damaged: from now on it is known.
      await this.#writeSum(uuid, contentType, sumOf(bytes))
      return undefined
    }
    if (bytes instanceof Buffer && sum === sumOf(bytes)) return undefined
    this.#types.delete(uuid)
    const complaint = bytes === undefined ? 'it has vanished' : 'it is not what was kept'
    if (bytes !== undefined) await setFileAside(this.#places, path, { complaint, sha256: sum })
    return { kind: 'icon', path, complaint, isMended: false }
  }

  #sumPathOf(uuid: Uuid, contentType: IconType): string {
    return `${this.#pathOf(uuid, contentType)}.sha256`
  }

  /** `undefined` where there is none that can be read. */
  async #readSum(uuid: Uuid, contentType: IconType): Promise<string | undefined> {
    const path = this.#sumPathOf(uuid, contentType)
    const text = await readWhole(this.#fileSystem, path, SUM_LIMIT_BYTES).catch(() => undefined)
    return text && SUM.exec(text.toString('latin1'))?.[1]
  }

  async #writeSum(uuid: Uuid, contentType: IconType, sum: string): Promise<void> {
    const line = Buffer.from(`${sum}  ${uuid}.${EXTENSIONS[contentType]}\n`)
    await writeWhole(this.#fileSystem, this.#sumPathOf(uuid, contentType), line, this.#places.partial)
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

function sumOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
