import { MirrorError } from '../../errors.js'
import { ancestryOf } from '../../images/ancestry.js'
import { type ImageRecord, isActivated, manifestOfRecord } from '../../images/image-record.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Log } from '../../parts/log.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import type { HeldFile, HeldImage, Publication } from '../../store/image-store.js'
import type { Store } from '../../store/store.js'
import type { Catalogue } from '../catalogue.js'
import type { Channels } from '../channels.js'
import { declaredFiles, keptFiles, type RecordHappening } from '../ledger.js'
import type { ChangeOptions } from '../publishing.js'
import { accountsOf } from './access-list.js'
import { alreadyActivated, filesImmutable, imageExists, invalidData, originUnknown, unknownImage } from './refusals.js'
import { UnsettledFiles } from './unsettled-files.js'

export interface OwnImagesOptions {
  readonly store: Pick<Store, 'blobs' | 'images' | 'icons' | 'registry' | 'unsettled'>
  /** Whether clients of Docker may ask for this blob. */
  readonly isOfDocker: (sha256: string) => Promise<boolean>
  readonly catalogue: Catalogue
  readonly channels: Channels
  /** The longest ancestry that is followed, in images. */
  readonly maxAncestry: number
  readonly record: RecordHappening
  readonly log: Log
}

/** An image of our own, as it is kept. */
export interface OwnImage extends HeldImage {
  readonly publication: Publication
}

/** Says of which files, by their sha256, some may be no image's in a moment. */
type Note = (...sha256s: string[]) => Promise<void>

/** What an image becomes. Without `files`, they are what they were. */
export interface Change {
  readonly record: ImageRecord
  readonly files?: readonly HeldFile[]
}

/**
 * The images of our own: who may change them, one change after the other, on the disk first and then in the catalogue.
 *
 * All changes of all images stand in one line. The store writes its small files in one line anyway, and what hangs together
 * (an image and its origin) cannot change in between. Nothing that takes long is done in it.
 */
export class OwnImages {
  #options: OwnImagesOptions
  readonly #changing = new OneAtATime()
  /** Files that come, and files that leave: the same bytes may do both. */
  readonly #moving = new OneAtATime()
  readonly #unsettled: UnsettledFiles

  constructor(options: OwnImagesOptions) {
    this.#options = options
    this.#unsettled = new UnsettledFiles(options.store.unsettled, options.log)
  }

  goBy(rules: Pick<OwnImagesOptions, 'channels' | 'maxAncestry'>): void {
    this.#options = { ...this.#options, ...rules }
  }

  /** Finishes what a crash has left: an image that was given another uuid is gone under the old one. */
  async tidy(): Promise<void> {
    for (const image of [...this.#options.store.images.all()]) {
      if (isOwn(image) && image.publication.replaces) await this.#finishReplacing(image)
    }
  }

  /** Lets go of what a crash has left between a file and the image that was to have it, or had it. */
  async tidyFiles(): Promise<void> {
    await this.#letGoOf(await this.#unsettled.start())
  }

  /** Waits for changes under way. */
  idle(): Promise<void> {
    return this.#changing.idle()
  }

  get(uuid: Uuid): OwnImage | undefined {
    const image = this.#options.store.images.get(uuid)
    return image && isOwn(image) ? image : undefined
  }

  /**
   * The image, for one who wants to change it.
   * @throws MirrorError CHANNEL_UNKNOWN; IMAGE_UNKNOWN, also when it is not theirs to know of, or in another channel; NOT_OURS;
   *   NOT_OWNER; what the precondition throws.
   */
  findForChange(uuid: Uuid, { account, channel: asked, precondition }: ChangeOptions): OwnImage {
    const { catalogue, channels } = this.#options
    const channel = channels.resolve(asked, 'write')
    const image = this.get(uuid)
    const manifest = catalogue.find(uuid)
    if (manifest && !channels.shows(manifest, channel)) throw new MirrorError('IMAGE_UNKNOWN', 'image not found')
    if (!image) {
      if (!manifest) throw unknownImage(uuid)
      throw new MirrorError(
        'NOT_OURS',
        `image ${uuid} is an upstream's: it was not published here and cannot be changed`,
      )
    }
    const { record } = image.publication
    if (account && !mayKnow(account, record)) throw new MirrorError('IMAGE_UNKNOWN', 'image not found')
    if (account && record.owner !== account) {
      throw new MirrorError('NOT_OWNER', `account ${account} is not the owner of image ${uuid}`)
    }
    precondition?.(manifest ?? image.manifest)
    return image
  }

  /** @throws MirrorError as `findForChange`, and FILES_IMMUTABLE. */
  findForFile(uuid: Uuid, options: ChangeOptions): OwnImage {
    const image = this.findForChange(uuid, options)
    if (isActivated(image.publication.record)) throw filesImmutable(uuid)
    return image
  }

  /** @throws MirrorError IMAGE_EXISTS unless a new image may have that uuid. Whether it may is seen again in `add`. */
  refuseIfTaken(uuid: Uuid, isOffline: boolean): void {
    const before = this.get(uuid)
    if (before ? !isPlaceholder(before) : this.exists(uuid, isOffline)) throw imageExists(uuid)
  }

  /**
   * Whether clients are told of an image of that uuid, whoever's it is. What is only claimed while nobody can be asked for it is
   * not here: it may be brought by hand.
   */
  exists(uuid: Uuid, isOffline: boolean): boolean {
    const { catalogue } = this.#options
    return catalogue.held(uuid) !== undefined || (!isOffline && catalogue.isKnown(uuid))
  }

  /**
   * A new image. It may take the place of a placeholder.
   * @throws MirrorError IMAGE_EXISTS, ORIGIN_UNKNOWN, MANIFEST_INVALID for a ring of origins.
   */
  add(
    record: ImageRecord,
    { author }: Pick<ChangeOptions, 'author'>,
    { isOffline, importingFrom }: { readonly isOffline: boolean; readonly importingFrom?: string | undefined },
  ): Promise<Manifest> {
    return this.#changing.run(async () => {
      const uuid = record.uuid as Uuid
      const before = this.get(uuid)
      this.refuseIfTaken(uuid, isOffline)
      const manifest = manifestOfRecord(record)
      this.#checkOrigin(manifest)
      const [createdBy, changedMs] = [author.user, Date.now()]
      const publication = {
        record,
        createdBy,
        changedBy: author.user,
        changedMs,
        ...(importingFrom && { importingFrom }),
      }
      await this.#keep({ manifest, files: [], heldSinceMs: changedMs, upstream: '', publication })
      const { name, version } = manifest
      this.#options.record('created', uuid, { by: author.user, name, version })
      // What an upstream's image of that uuid may have left is not its icon.
      if (!before) await this.#options.store.icons.forget(uuid)
      return this.#asServed(manifest)
    })
  }

  /**
   * Changes an image as `decide` says, which sees it as it stands and throws to leave it so.
   * @throws MirrorError as `findForChange`.
   */
  change(uuid: Uuid, options: ChangeOptions, decide: (image: OwnImage) => Change | Promise<Change>): Promise<Manifest> {
    return this.#changing.run(async () => {
      const image = this.findForChange(uuid, options)
      return await this.#change(image, await decide(image), options)
    })
  }

  /**
   * Puts `file` in the place of whatever file the image had.
   * @throws MirrorError as `findForChange`, and ALREADY_ACTIVATED when that has happened while the file was on its way.
   */
  async putFile(
    uuid: Uuid,
    options: ChangeOptions,
    { wire, held }: { readonly wire: NonNullable<ImageRecord['files']>[number]; readonly held: HeldFile },
  ): Promise<Manifest> {
    return await this.settling((note) =>
      this.change(uuid, options, async (image) => {
        const { record } = image.publication
        if (isActivated(record)) throw alreadyActivated(uuid)
        await note(...image.files.map(({ sha256 }) => sha256))
        return { record: { ...record, files: [wire] }, files: [held] }
      }),
    )
  }

  /**
   * Removes an image, its icon, and its files as far as nobody else needs them.
   * @param decide as in `change`; what it answers is what stays: `undefined` for nothing.
   * @throws MirrorError as `findForChange`, and IMAGE_IN_USE.
   */
  async remove(uuid: Uuid, options: ChangeOptions, decide: (image: OwnImage) => Change | undefined): Promise<void> {
    await this.settling((note) => this.#remove(uuid, options, decide, note))
  }

  async #remove(
    uuid: Uuid,
    options: ChangeOptions,
    decide: (image: OwnImage) => Change | undefined,
    note: Note,
  ): Promise<void> {
    const isRemoved = await this.#changing.run(async () => {
      const image = this.findForChange(uuid, options)
      const change = decide(image)
      const channel = this.#options.channels.resolve(options.channel, 'write')
      this.#refuseIfInUse(uuid, change && channel)
      if (change) {
        await this.#change(image, change, options)
        return false
      }
      await note(...image.files.map(({ sha256 }) => sha256))
      await this.#forget(uuid)
      this.#options.record('deleted', uuid, { by: options.author.user })
      return true
    })
    if (isRemoved) await this.#options.store.icons.forget(uuid)
  }

  /** Runs `work` while no file is let go of here: between a file's being kept and its being held open, above all. */
  undisturbed<Value>(work: () => Promise<Value>): Promise<Value> {
    return this.#moving.run(work)
  }

  /**
   * Runs `work`, which says beforehand, by `note`, of which files it may leave some to no image: these are written down, so that
   * a crash leaves none behind for ever, and let go of at the end, however it ends, unless somebody needs them.
   */
  async settling<Value>(work: (note: Note) => Promise<Value>): Promise<Value> {
    const noted: string[] = []
    try {
      return await work(async (...sha256s) => {
        noted.push(...sha256s)
        await this.#unsettled.note(sha256s)
      })
    } finally {
      await this.#letGoOf(noted)
    }
  }

  /** Lets go of those that nobody needs. One that is being read stays, and leaves at the next start, or to make room. */
  async #letGoOf(sha256s: readonly string[]): Promise<void> {
    const { log } = this.#options
    for (const sha256 of sha256s) {
      let isSettled = false
      try {
        isSettled = await this.undisturbed(() => this.#settle(sha256))
      } catch (error) {
        // The image is changed all the same; the room comes back at the next start, or when some is needed.
        log.error({ sha256, err: error }, 'a file that no image needs any more could not be let go of')
      }
      await this.#unsettled.release(sha256, isSettled)
    }
  }

  /** Answers whether the file is gone, or is needed. */
  async #settle(sha256: string): Promise<boolean> {
    const { isOfDocker, store } = this.#options
    const isHere = () => store.blobs.find({ algorithm: 'sha256', hex: sha256 }) !== undefined
    if (!isHere() || this.#isNeeded(sha256)) return true
    // Nobody knows which files an image has whose record cannot be read: this may be one of them.
    if (store.images.damaged().length > 0) return false
    if (await isOfDocker(sha256)) return true
    await store.blobs.letGo(sha256, () => this.#isNeeded(sha256))
    return !isHere() || this.#isNeeded(sha256)
  }

  async #change(image: OwnImage, { record, files = image.files }: Change, options: ChangeOptions): Promise<Manifest> {
    const before = image.manifest
    const manifest = manifestOfRecord(record)
    const isRenamed = manifest.uuid !== before.uuid
    if (isRenamed && (this.get(manifest.uuid) || this.#options.catalogue.isKnown(manifest.uuid))) {
      throw imageExists(manifest.uuid)
    }
    if (isRenamed) this.#refuseIfInUse(before.uuid)
    if (isRenamed || manifest.origin !== before.origin) this.#checkOrigin(manifest)
    const { importingFrom, ...publication } = image.publication
    const changed: OwnImage = {
      manifest,
      files,
      heldSinceMs: image.heldSinceMs,
      upstream: '',
      publication: {
        ...publication,
        record,
        changedBy: options.author.user,
        changedMs: Date.now(),
        ...(importingFrom && !isActivated(record) && { importingFrom }),
        ...(isRenamed && { replaces: before.uuid }),
      },
    }
    if (isRenamed) await this.#takeIconAlong(before, manifest.uuid)
    await this.#keep(changed)
    this.#recordChange(image, changed)
    if (isRenamed) await this.#finishReplacing(changed)
    return this.#asServed(manifest)
  }

  #recordChange(before: OwnImage, { files, manifest, publication: { changedBy: by, record } }: OwnImage): void {
    const { name, uuid, version } = manifest
    const wasRecord = before.publication.record
    const kept = keptFiles(files, this.#options.store.blobs)
    if (files !== before.files) this.#options.record('file-added', uuid, { by, files: declaredFiles(manifest) })
    const isNews = isActivated(record) && !isActivated(wasRecord)
    if (isNews) this.#options.record('published', uuid, { by, name, version, files: kept })
    const fields = changedFields(wasRecord, record).filter((field) => field !== 'files')
    if (fields.length > 0) this.#options.record('changed', uuid, { by, fields })
  }

  /** With the channels it is in. */
  #asServed(manifest: Manifest): Manifest {
    return this.#options.catalogue.find(manifest.uuid) ?? manifest
  }

  async #takeIconAlong({ uuid, hasIcon }: Manifest, to: Uuid): Promise<void> {
    const icon = hasIcon ? await this.#options.store.icons.get(uuid) : undefined
    if (icon) await this.#options.store.icons.keep(to, icon)
  }

  async #finishReplacing(image: OwnImage): Promise<void> {
    const { replaces, ...publication } = image.publication
    if (replaces) {
      if (this.get(replaces)) await this.#forget(replaces)
      await this.#options.store.icons.forget(replaces)
    }
    await this.#keep({ ...image, publication })
  }

  async #keep(image: OwnImage): Promise<void> {
    await this.#options.store.images.keep(image)
    this.#options.catalogue.hold(image)
  }

  async #forget(uuid: Uuid): Promise<void> {
    await this.#options.store.images.forget(uuid)
    this.#options.catalogue.letGo(uuid)
  }

  #checkOrigin(manifest: Manifest): void {
    const { catalogue, maxAncestry } = this.#options
    const { origin, uuid } = manifest
    if (origin === undefined) return
    if (origin !== uuid && !catalogue.find(origin)) throw originUnknown(origin)
    const manifestOf = (each: Uuid) => (each === uuid ? manifest : catalogue.find(each))
    const { broken } = ancestryOf(manifest, manifestOf, maxAncestry)
    if (broken) throw invalidData('invalid image data', [{ field: 'origin', code: 'Invalid', message: broken.message }])
  }

  /**
   * Images that nobody could install any more: of all, or of those of the one channel it is to leave. An upstream's image of that uuid takes the place of ours for upstreams' images.
   */
  #refuseIfInUse(uuid: Uuid, channel?: string): void {
    const { catalogue, channels } = this.#options
    const isClaimed = catalogue.claimsOf(uuid).some((claim) => claim.withdrawnMs === undefined)
    const dependants = [...catalogue.all()]
      .filter(
        (image) => image.origin === uuid && (!isClaimed || this.get(image.uuid)) && channels.shows(image, channel),
      )
      .map((image) => image.uuid)
      .sort()
    if (dependants.length === 0) return
    const shown = dependants.length < 10 ? dependants : dependants.slice(0, 5)
    const more = dependants.length - shown.length
    throw new MirrorError(
      'IMAGE_IN_USE',
      `image "${uuid}" has ${dependants.length} dependent incremental image(s): ${shown.join(', ')}` +
        (more > 0 ? `, and ${more} more...` : ''),
    )
  }

  /** Whether some image has this file: one that is written down as held, or one of which it is what has come so far. */
  #isNeeded(sha256: string): boolean {
    const { catalogue, store } = this.#options
    for (const { files } of store.images.all()) if (files.some((file) => file.sha256 === sha256)) return true
    const blob = store.blobs.find({ algorithm: 'sha256', hex: sha256 })
    if (!blob) return false
    if (store.registry.isOfDerivation(sha256)) return true
    const isOf = ({ files }: Manifest) =>
      files.some(({ digests }) => digests.some(({ algorithm, hex }) => blob[algorithm] === hex))
    for (const manifest of catalogue.all()) if (isOf(manifest)) return true
    for (const manifest of catalogue.claimed()) if (isOf(manifest)) return true
    return false
  }
}

function isOwn(image: HeldImage): image is OwnImage {
  return image.publication !== undefined
}

/** What create-from-vm leaves behind for an import to fill. */
function isPlaceholder({ publication }: OwnImage): boolean {
  return publication.record.state === 'creating'
}

/** An account's own images, and active ones that are public or name it. */
function mayKnow(account: Uuid, record: ImageRecord): boolean {
  if (record.owner === account) return true
  return isActivated(record) && (record.public === true || accountsOf(record).includes(account))
}

/** The names of the fields in which two records differ. */
function changedFields(before: ImageRecord, after: ImageRecord): string[] {
  const [one, other] = [before, after] as unknown as Record<string, unknown>[]
  const names = new Set([...Object.keys(one!), ...Object.keys(other!)])
  return [...names].filter((name) => JSON.stringify(one![name]) !== JSON.stringify(other![name])).sort()
}
