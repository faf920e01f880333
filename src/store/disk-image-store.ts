import { join } from 'node:path'
import { fromStored, type StoredManifest, toStored } from '../images/stored-manifest.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { forEachConcurrently } from '../parts/for-each-concurrently.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { FileSystem } from './file-system.js'
import type { HeldImage, ImageStore } from './image-store.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** A manifest is at most 1 MiB, and its JSON stands in JSON here. */
const FILE_LIMIT_BYTES = 4 * 1024 * 1024
const READS_AT_A_TIME = 32

/** `images/<uuid>.json`: a HeldImage as it is, but for its manifest, which is in its form for rest. */
type ImageAtRest = Omit<HeldImage, 'manifest'> & { readonly manifest: StoredManifest }

/** Held images as one sealed file each, all read at start: 10,000 take about a second. */
export class DiskImageStore implements ImageStore {
  readonly #directory: string
  readonly #partial: string
  readonly #fileSystem: FileSystem
  readonly #images = new Map<Uuid, HeldImage>()
  /** So that of two writes of one image the later one is on the disk as it is in memory. */
  readonly #writing = new OneAtATime()

  static async open(options: {
    root: string
    partial: string
    fileSystem: FileSystem
    log: Log
  }): Promise<DiskImageStore> {
    const { root, partial, fileSystem, log } = options
    const directory = join(root, 'images')
    const store = new DiskImageStore(directory, partial, fileSystem)
    try {
      await ensureDirectory(fileSystem, directory)
      const names = await fileSystem.list(directory)
      await forEachConcurrently(names, READS_AT_A_TIME, async (name) => {
        const image = await store.#read(name).catch((error: unknown) => {
          log.error({ path: join(directory, name), err: error }, 'the file of an image cannot be read')
          return undefined
        })
        if (image) store.#images.set(image.manifest.uuid, image)
        else log.error({ path: join(directory, name) }, 'the file of an image is damaged; the image counts as not held')
      })
    } catch (cause) {
      throw storeFailure(`cannot read the images in ${directory}`, cause)
    }
    return store
  }

  private constructor(directory: string, partial: string, fileSystem: FileSystem) {
    this.#directory = directory
    this.#partial = partial
    this.#fileSystem = fileSystem
  }

  all(): Iterable<HeldImage> {
    return this.#images.values()
  }

  get(uuid: Uuid): HeldImage | undefined {
    return this.#images.get(uuid)
  }

  async keep(image: HeldImage): Promise<void> {
    const { uuid } = image.manifest
    await this.#writing.run(async () => {
      try {
        const atRest: ImageAtRest = { ...image, manifest: toStored(image.manifest) }
        const content = Buffer.from(sealJson(JSON.stringify(atRest)))
        await writeWhole(this.#fileSystem, join(this.#directory, `${uuid}.json`), content, this.#partial)
      } catch (cause) {
        throw storeFailure(`cannot keep image ${uuid}`, cause)
      }
      this.#images.set(uuid, image)
    })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }

  /** Answers `undefined` for what is not an image as we wrote it, under its own name. */
  async #read(name: string): Promise<HeldImage | undefined> {
    const uuid = name.endsWith('.json') ? parseUuid(name.slice(0, -'.json'.length)) : undefined
    if (!uuid) return undefined
    const text = await readWhole(this.#fileSystem, join(this.#directory, name), FILE_LIMIT_BYTES)
    const atRest = text && (openSealedJson(text) as ImageAtRest | undefined)
    if (!atRest) return undefined
    const manifest = fromStored(atRest.manifest)
    if (manifest.uuid !== uuid) return undefined
    const { files, heldSinceMs, upstream, locations } = atRest
    return { manifest, files, heldSinceMs, upstream, locations }
  }
}
