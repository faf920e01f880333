import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { isImageRecord, manifestOfRecord } from '../images/image-record.js'
import { fromStored, type StoredManifest, toStored } from '../images/stored-manifest.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { forEachConcurrently } from '../parts/for-each-concurrently.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Flaw } from './audit-store.js'
import { type Places, setFileAside } from './evidence.js'
import type { FileSystem } from './file-system.js'
import type { DamagedRecord, HeldImage, ImageStore } from './image-store.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** A manifest is at most 1 MiB, and its JSON stands in JSON here; of an image of our own there is a record of that size too. */
const FILE_LIMIT_BYTES = 8 * 1024 * 1024
const READS_AT_A_TIME = 32

/** `images/<uuid>.json`: a HeldImage as it is, but for its manifest, which is in its form for rest. */
type ImageAtRest = Omit<HeldImage, 'manifest'> & { readonly manifest: StoredManifest }

/** Held images as one sealed file each, all read at start: 10,000 take about a second. */
export class DiskImageStore implements ImageStore {
  readonly #directory: string
  readonly #places: Places
  readonly #fileSystem: FileSystem
  readonly #images = new Map<Uuid, HeldImage>()
  readonly #damaged = new Map<Uuid, DamagedRecord>()
  #changes = 0
  /** So that of two writes of one image the later one is on the disk as it is in memory. */
  readonly #writing = new OneAtATime()

  static async open(options: {
    root: string
    partial: string
    fileSystem: FileSystem
    log: Log
  }): Promise<DiskImageStore> {
    const { root, fileSystem, log } = options
    const directory = join(root, 'images')
    const store = new DiskImageStore(directory, options)
    try {
      await ensureDirectory(fileSystem, directory)
      const { damaged, images } = await readImages(directory, { fileSystem, log })
      for (const image of images) store.#images.set(image.manifest.uuid, image)
      for (const record of damaged) store.#damaged.set(record.uuid, record)
    } catch (cause) {
      throw storeFailure(`cannot read the images in ${directory}`, cause)
    }
    return store
  }

  private constructor(directory: string, places: Places) {
    this.#directory = directory
    this.#places = places
    this.#fileSystem = places.fileSystem
  }

  all(): Iterable<HeldImage> {
    return this.#images.values()
  }

  get(uuid: Uuid): HeldImage | undefined {
    return this.#images.get(uuid)
  }

  get changes(): number {
    return this.#changes
  }

  damaged(): readonly DamagedRecord[] {
    return [...this.#damaged.values()]
  }

  async keep(image: HeldImage): Promise<void> {
    const { uuid } = image.manifest
    await this.#writing.run(async () => {
      try {
        await this.#write(image)
      } catch (cause) {
        throw storeFailure(`cannot keep image ${uuid}`, cause)
      }
      this.#images.set(uuid, image)
      this.#changes++
      this.#damaged.delete(uuid)
    })
  }

  async forget(uuid: Uuid): Promise<void> {
    await this.#writing.run(async () => {
      try {
        await this.#fileSystem.remove(this.#pathOf(uuid))
        await this.#fileSystem.syncDirectory(this.#directory)
      } catch (cause) {
        throw storeFailure(`cannot forget image ${uuid}`, cause)
      }
      this.#images.delete(uuid)
      this.#changes++
    })
  }

  async audit(): Promise<readonly Flaw[]> {
    const flaws: Flaw[] = []
    try {
      const uuids = [...this.#images.keys()].map((uuid) => `${uuid}.json`)
      const names = new Set([...uuids, ...(await this.#fileSystem.list(this.#directory))])
      // Each file by itself, so that nobody waits for all of them.
      for (const name of names) {
        const flaw = await this.#writing.run(() => this.#auditFile(name))
        if (flaw) flaws.push(flaw)
      }
    } catch (cause) {
      throw storeFailure(`cannot read the images in ${this.#directory} again`, cause)
    }
    return flaws
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    return this.#writing.idle()
  }

  #pathOf(uuid: Uuid): string {
    return join(this.#directory, `${uuid}.json`)
  }

  async #write(image: HeldImage): Promise<void> {
    const content = Buffer.from(sealJson(JSON.stringify(toRest(image))))
    await writeWhole(this.#fileSystem, this.#pathOf(image.manifest.uuid), content, this.#places.partial)
  }

  /** What we know of the image is good: the file is to say the same. */
  async #auditFile(name: string): Promise<Flaw | undefined> {
    const path = join(this.#directory, name)
    const uuid = uuidOf(name)
    const known = uuid && this.#images.get(uuid)
    const isThere = (await this.#fileSystem.describe(path)) !== undefined
    // Forgotten since we asked for names.
    if (!known && !isThere) return undefined
    // Told of already, and for an operator to look at where it is: what it says may be all that is known of the image.
    if (!known && uuid && this.#damaged.has(uuid)) return undefined
    const found = isThere ? await readImage(this.#fileSystem, this.#directory, name).catch(() => undefined) : undefined
    if (known && found && isDeepStrictEqual(toRest(found), toRest(known))) return undefined
    const complaint = isThere ? 'it is not as it was written' : 'it has vanished'
    if (isThere) await setFileAside(this.#places, path, { complaint })
    if (known) await this.#write(known)
    return { kind: 'image', path, complaint, isMended: known !== undefined }
  }
}

/** Every image in `images/`, and the files that are none any more. Only reads. */
export async function readImages(
  directory: string,
  { fileSystem, log }: { fileSystem: FileSystem; log: Log },
): Promise<{ readonly images: readonly HeldImage[]; readonly damaged: readonly DamagedRecord[] }> {
  const images: HeldImage[] = []
  const damaged: DamagedRecord[] = []
  await forEachConcurrently(await fileSystem.list(directory), READS_AT_A_TIME, async (name) => {
    const path = join(directory, name)
    const image = await readImage(fileSystem, directory, name).catch((error: unknown) => {
      log.error({ path, err: error }, 'the file of an image cannot be read')
      return undefined
    })
    if (image) return void images.push(image)
    const uuid = uuidOf(name)
    if (uuid) damaged.push({ uuid, path })
    log.error({ path }, 'the file of an image is damaged; the image counts as not held')
  })
  return { images, damaged }
}

/** Answers `undefined` for what is not an image as we wrote it, under its own name. */
async function readImage(fileSystem: FileSystem, directory: string, name: string): Promise<HeldImage | undefined> {
  const uuid = uuidOf(name)
  if (!uuid) return undefined
  const text = await readWhole(fileSystem, join(directory, name), FILE_LIMIT_BYTES)
  const atRest = text && (openSealedJson(text) as ImageAtRest | undefined)
  if (!atRest) return undefined
  const { files, heldSinceMs, upstream, publication } = atRest
  if (publication !== undefined && !isImageRecord(publication.record)) return undefined
  // The record says more than the text that is served: by which flags the image is listed.
  const manifest = publication ? manifestOfRecord(publication.record) : fromStored(atRest.manifest)
  if (manifest.uuid !== uuid) return undefined
  return { manifest, files, heldSinceMs, upstream, ...(publication && { publication }) }
}

function uuidOf(name: string): Uuid | undefined {
  return name.endsWith('.json') ? parseUuid(name.slice(0, -'.json'.length)) : undefined
}

function toRest(image: HeldImage): ImageAtRest {
  return { ...image, manifest: toStored(image.manifest) }
}
