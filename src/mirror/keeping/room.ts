import { MirrorError } from '../../errors.js'
import { ancestryOf } from '../../images/ancestry.js'
import { formatDigest, strongestDigest } from '../../images/digest.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Clock } from '../../parts/clock.js'
import type { Log } from '../../parts/log.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import { sumOf } from '../../parts/sum-of.js'
import type { BlobRef, ExpectedBlob, PartialBlob, SuspendedBlob } from '../../store/blob-store.js'
import type { HeldImage } from '../../store/image-store.js'
import type { Store } from '../../store/store.js'
import type { Catalogue } from '../catalogue.js'
import type { MirrorCounters } from '../counters.js'
import type { RecordHappening } from '../ledger.js'
import type { RoomStatus, TurnedAway } from '../mirror.js'
import { type Departure, type Kept, type KeptImage, planEviction, stayingImages } from './eviction-plan.js'

export interface RoomOptions {
  readonly store: Pick<Store, 'blobs' | 'images'>
  readonly catalogue: Catalogue
  /** How many bytes image files may take, unfinished ones included; `undefined` for as many as the disk has. */
  readonly quotaBytes: () => Promise<number | undefined>
  /** What keeps an image from leaving, and with it what it builds on; `undefined` for one that may. */
  readonly pinOf: (manifest: Manifest) => ImagePin | undefined
  /** Whether an image is to be here before anyone asks. */
  readonly isWanted: (uuid: Uuid) => boolean
  /** Whether a file that is not whole is one of those images'. */
  readonly isWantedFile: (left: ExpectedBlob) => boolean
  /** Images whose files are being fetched: what they build on is about to be needed. */
  readonly underWay: () => Iterable<Manifest>
  /** Files, by their sha256, that belong together for clients of Docker, whatever images of ours they are in. */
  readonly dockerImages: () => Iterable<readonly string[]>
  readonly counters: MirrorCounters
  readonly record: RecordHappening
  readonly clock: Clock
  readonly log: Log
}

/** Why an image never leaves. */
export interface ImagePin {
  /** Who said so: `configuration`, or an operator. */
  readonly by: string
  /** The filter of the configuration, or the operator's reason; in words. */
  readonly text: string
}

/** Room that was made because somebody wanted it, or would be. */
export interface Vacuum {
  readonly wantedBytes: number
  readonly departures: readonly Departure[]
}

/** What comes by another road than flights, and in its own time: on media that people carry. */
export interface Awaited {
  /** Files by their sha256: what is left of them is gone on with, however old it is, and those that are whole do not leave. */
  readonly sha256s: ReadonlySet<string>
  /** What these build on is about to be needed. */
  readonly manifests: readonly Manifest[]
}

const NOTHING_AWAITED: Awaited = { sha256s: new Set(), manifests: [] }

/** For whom room is made. */
interface Arrival {
  /** What is left of the same file, and is about to be gone on with. */
  readonly own?: SuspendedBlob | undefined
  /** It is wanted itself: what is wanted never leaves for one another, or they would be fetched in turns for ever. */
  readonly isWanted?: boolean
}

/** Nobody comes back for a download that was left a week ago: whoever wants the file fetches the rest within a day. */
const LEFTOVER_TTL_MS = 7 * 86_400_000

/** Room for image files: how much there may be, and who leaves when there is none. */
export class Room {
  #options: RoomOptions
  /** Room is made for one after the other: each finds what those before it were promised. */
  readonly #making = new OneAtATime()
  #quotaBytes: number | undefined
  #evictedBytes = 0
  #freeBytes: number | undefined
  #turnedAway: TurnedAway | undefined
  #awaited: () => Awaited = () => NOTHING_AWAITED

  constructor(options: RoomOptions) {
    this.#options = options
  }

  /** What there may be from now on; `tidy` lets go of what is too much. */
  change(quotaBytes: RoomOptions['quotaBytes']): void {
    this.#options = { ...this.#options, quotaBytes }
  }

  /** From now on, what is awaited does not leave to make room. @param awaited asked whenever somebody is to leave. */
  await(awaited: () => Awaited): void {
    this.#awaited = awaited
  }

  /**
   * Starts receiving a file, once there is room for it.
   * @throws MirrorError STORE_FULL when nothing more may be let go of: it is for the caller to serve the file without
   *   keeping it. STORE_BROKEN.
   */
  receive(expected: ExpectedBlob): Promise<PartialBlob> {
    return this.#making.run(async () => {
      if (!(await this.#makeRoomFor(expected))) throw await this.#turnAway(expected)
      const partial = await this.#options.store.blobs.receive(expected)
      if (this.#turnedAway && this.#turnedAway.neededBytes <= expected.sizeBytes) this.#turnedAway = undefined
      return partial
    })
  }

  /**
   * Lets go of what was used longest ago until `sizeBytes` more fit. Answers false when they would not fit even then;
   * nothing is let go of in vain, unless something turns out to be in use. The room is promised to nobody: `receive` does
   * both.
   */
  makeRoom(sizeBytes: number): Promise<boolean> {
    return this.#making.run(() => this.#makeRoom(sizeBytes))
  }

  /** What `makeRoom` would let go of to free so many bytes, in that order. Changes nothing. */
  whatWouldLeave(sizeBytes: number, isWanted = this.#options.isWanted): readonly Departure[] {
    return planEviction(this.#takeStock(new Set(), undefined, isWanted), sizeBytes)
  }

  /** What would leave for so many bytes more, as far as that may be. Changes nothing. */
  async whatWouldLeaveFor(sizeBytes: number, isWanted = this.#options.isWanted): Promise<readonly Departure[]> {
    return this.whatWouldLeave(await this.#shortBytes(sizeBytes), isWanted)
  }

  /** Whether so many bytes more fit without anything leaving that is wanted. */
  async fitsBesideTheWanted(sizeBytes: number): Promise<boolean> {
    const shortBytes = await this.#shortBytes(sizeBytes)
    const departures = this.whatWouldLeave(shortBytes)
    return (
      shortBytes <= sumOf(departures.map(({ sizeBytes: freed }) => freed)) &&
      !departures.some(({ isWanted }) => isWanted)
    )
  }

  /** How much all files together may take, and those of them, by sha256, that stay whatever else is to be here. */
  async bounds(): Promise<{ readonly roomBytes: number; readonly staying: ReadonlyMap<string, number> }> {
    const quotaBytes = (await this.#options.quotaBytes()) ?? Number.POSITIVE_INFINITY
    const diskBytes = this.#usedBytes() + (await this.#options.store.blobs.freeBytes())
    const { images } = this.#takeStock(new Set(), undefined)
    const staying = stayingImages(images)
    const files = images.flatMap(({ blobs, uuid }) => (staying.has(uuid) ? blobs : []))
    return {
      roomBytes: Math.min(quotaBytes, diskBytes),
      staying: new Map(files.map(({ sha256, sizeBytes }) => [sha256, sizeBytes])),
    }
  }

  /** What keeps this very image from leaving, if anything does. */
  pinOf(manifest: Manifest): ImagePin | undefined {
    return this.#options.pinOf(manifest)
  }

  /** What `vacuum` would let go of. */
  async planVacuum(sizeBytes?: number): Promise<Vacuum> {
    const wantedBytes = sizeBytes ?? Math.max(0, await this.#overQuotaBytes(0))
    return { wantedBytes, departures: this.whatWouldLeave(wantedBytes) }
  }

  /**
   * Frees so many bytes, or as many as may be: without a number, what the quota is exceeded by. Answers what has left.
   * What would have to go beyond what turns out to be in use stays.
   */
  vacuum(sizeBytes?: number): Promise<Vacuum> {
    return this.#making.run(async () => {
      const wantedBytes = sizeBytes ?? Math.max(0, await this.#overQuotaBytes(0))
      const departures: Departure[] = []
      await this.#free(wantedBytes, {}, departures)
      return { wantedBytes, departures }
    })
  }

  /**
   * Lets go of one image, now: of its record, and of those of its files that nobody else needs. Answers the bytes freed.
   * @param by whoever wants it gone, for the ledger.
   * @param refuse asked when its turn has come; throws what forbids it.
   * @throws MirrorError IMAGE_BUSY when somebody reads it, STORE_BROKEN.
   */
  letGo(uuid: Uuid, by: string, refuse: () => void): Promise<number> {
    return this.#making.run(async () => {
      refuse()
      const { images } = this.#takeStock(new Set(), undefined)
      const needed = new Set([...this.#options.dockerImages()].flat())
      for (const image of images) if (image.uuid !== uuid) for (const { sha256 } of image.blobs) needed.add(sha256)
      const own = images.find((image) => image.uuid === uuid)?.blobs ?? []
      const freed = new Map(own.flatMap(({ sha256, sizeBytes }) => (needed.has(sha256) ? [] : [[sha256, sizeBytes]])))
      if (!(await this.#letGoOfImage(uuid, [...freed.keys()]))) {
        throw new MirrorError('IMAGE_BUSY', `image ${uuid} is being read; try again in a while`)
      }
      const freedBytes = sumOf(freed.values())
      const { counters, record } = this.#options
      this.#evictedBytes += freedBytes
      counters.evicted(freedBytes)
      record('deleted', uuid, { by, sha256s: [...freed.keys()], sizeBytes: freedBytes })
      return freedBytes
    })
  }

  /** Removes downloads that nobody has gone on with for a week, nor will, and goes back below the quota, as far as that may be. */
  async tidy(): Promise<void> {
    const { clock, log, store } = this.#options
    await this.#making.run(async () => {
      const freedBytes = await store.blobs.reclaim(clock.wallMs() - LEFTOVER_TTL_MS, this.#areAwaitedOrWanted())
      if (freedBytes > 0) log.info({ freedBytes }, 'removed what was left of downloads that nobody went on with')
      const shortBytes = await this.#overQuotaBytes(0)
      if (shortBytes > 0) await this.#free(shortBytes, {})
    })
  }

  status(): RoomStatus {
    const { images, strays } = this.#takeStock(new Set(), undefined)
    const staying = stayingImages(images)
    const pinned = new Map<string, number>()
    const evictable = new Map(strays.map(({ sha256, sizeBytes }) => [sha256, sizeBytes]))
    for (const { uuid, blobs } of images) {
      const those = staying.has(uuid) ? pinned : evictable
      for (const { sha256, sizeBytes } of blobs) those.set(sha256, sizeBytes)
    }
    for (const sha256 of pinned.keys()) evictable.delete(sha256)
    return {
      quotaBytes: this.#quotaBytes,
      usedBytes: this.#usedBytes(),
      pinnedBytes: sumOf(pinned.values()),
      evictableBytes: sumOf(evictable.values()),
      evictedBytes: this.#evictedBytes,
      freeBytes: this.#freeBytes,
      turnedAway: this.#turnedAway,
    }
  }

  /** Asks the disk what it has free, for `status`. */
  async look(): Promise<void> {
    this.#freeBytes = await this.#options.store.blobs.freeBytes().catch(() => undefined)
  }

  async #turnAway({ isOpenEnded, sizeBytes }: ExpectedBlob): Promise<MirrorError> {
    const freeBytes = Math.max(0, -(await this.#shortBytes(0)))
    this.#turnedAway = { atMs: this.#options.clock.wallMs(), neededBytes: isOpenEnded ? 0 : sizeBytes, freeBytes }
    const what = isOpenEnded ? 'a file of unknown length' : `a file of ${sizeBytes} bytes`
    const there = `${freeBytes} bytes are free, and nothing more may be let go of`
    return new MirrorError('STORE_FULL', `no room for ${what}: ${there}`)
  }

  /** A file that is left half done needs only the other half. */
  async #makeRoomFor(expected: ExpectedBlob): Promise<boolean> {
    if (expected.isOpenEnded) return await this.#makeRoom(0)
    const { isWantedFile, store } = this.#options
    const own = [...store.blobs.suspended()].find((left) => isSameFile(left.expected, expected))
    const missingBytes = Math.max(0, expected.sizeBytes - (own?.sizeOnDiskBytes ?? 0))
    return await this.#makeRoom(missingBytes, { own, isWanted: isWantedFile(expected) })
  }

  async #makeRoom(sizeBytes: number, arrival: Arrival = {}): Promise<boolean> {
    const shortBytes = await this.#shortBytes(sizeBytes)
    if (shortBytes <= 0) return true
    const mayFreeBytes = sumOf(this.#planFor(arrival, shortBytes, new Set()).map((departure) => departure.sizeBytes))
    return mayFreeBytes >= shortBytes && (await this.#free(shortBytes, arrival))
  }

  #planFor({ isWanted = false, own }: Arrival, bytes: number, busy: ReadonlySet<Uuid | string>): readonly Departure[] {
    const plan = planEviction(this.#takeStock(busy, own), bytes)
    return isWanted ? plan.filter((departure) => !departure.isWanted) : plan
  }

  /** Whether so much was freed. What turns out to be in use stays, and the next in the line goes in its place. */
  async #free(wantedBytes: number, arrival: Arrival, left: Departure[] = []): Promise<boolean> {
    const busy = new Set<Uuid | string>()
    let missingBytes = wantedBytes
    // Planned anew after each, as the world goes on meanwhile. Every round frees something, or knows one more that is busy.
    while (missingBytes > 0) {
      const plan = this.#planFor(arrival, missingBytes, busy)
      const first = plan.findIndex(({ sizeBytes }) => sizeBytes > 0)
      if (first < 0) return false
      for (const departure of plan.slice(0, first + 1)) {
        if (await this.#letGo(departure)) {
          missingBytes -= departure.sizeBytes
          left.push(departure)
        } else for (const each of departure.uuid ? [departure.uuid] : departure.sha256s) busy.add(each)
      }
    }
    return true
  }

  async #letGo(departure: Departure): Promise<boolean> {
    const { counters, log, record, store } = this.#options
    const { isWanted, kind, uuid, sha256s, sizeBytes, lastUsedMs, why } = departure
    try {
      // Those that are wanted leave after all others, so that none that is not is left by then.
      const staying = isWanted ? this.#areAwaited() : this.#areAwaitedOrWanted()
      if (kind === 'leftover') await store.blobs.reclaim(lastUsedMs + 1, staying)
      else if (!(await this.#letGoOfImage(uuid, sha256s))) return false
    } catch (error) {
      log.error({ uuid, sha256s, err: error }, 'what was to make room could not be let go of')
      return false
    }
    this.#evictedBytes += sizeBytes
    counters.evicted(sizeBytes)
    if (kind !== 'leftover') record('evicted', uuid, { sha256s, sizeBytes, why, images: uuid ? [uuid] : [] })
    log.info({ kind, uuid, sha256s, sizeBytes, lastUsedMs }, `let go of ${uuid ? `image ${uuid}` : why}`)
    return true
  }

  /**
   * The record goes first, then the bytes. A crash in between leaves bytes that are no image's: they serve whoever asks for them
   * by their digest, and are the first to leave next time. The other way round it would leave an image that counts as held,
   * is listed as held though every upstream has withdrawn it, and cannot be served.
   */
  async #letGoOfImage(uuid: Uuid | undefined, sha256s: readonly string[]): Promise<boolean> {
    const { catalogue, store } = this.#options
    const held = uuid && store.images.get(uuid)
    if (held) {
      await store.images.forget(held.manifest.uuid)
      catalogue.letGo(held.manifest.uuid)
    }
    let leftCount = 0
    // An image of our own may have come to be of the same bytes meanwhile.
    const isOwn = (sha256: string) =>
      [...store.images.all()].some((image) => image.publication && image.files.some((file) => file.sha256 === sha256))
    for (const sha256 of sha256s) if (await store.blobs.letGo(sha256, () => isOwn(sha256))) leftCount++
    if (leftCount === sha256s.length) return true
    // Somebody is reading: the image stays what it was. With some of its files gone, it is only what is left of it.
    if (held && leftCount === 0) await this.#takeBack(held)
    return false
  }

  async #takeBack(image: HeldImage): Promise<void> {
    await this.#options.store.images.keep(image)
    this.#options.catalogue.hold(image)
  }

  /** How much is missing for so many bytes more. Negative: how much would still be left. */
  async #shortBytes(sizeBytes: number): Promise<number> {
    const overDiskBytes = sizeBytes - (await this.#options.store.blobs.freeBytes())
    return Math.max(overDiskBytes, await this.#overQuotaBytes(sizeBytes))
  }

  /** By how much the quota would be exceeded with so many bytes more. Negative: by how much it would not. */
  async #overQuotaBytes(sizeBytes: number): Promise<number> {
    this.#quotaBytes = await this.#options.quotaBytes()
    return this.#quotaBytes === undefined ? Number.NEGATIVE_INFINITY : this.#usedBytes() + sizeBytes - this.#quotaBytes
  }

  #usedBytes(): number {
    const { blobs } = this.#options.store
    let usedBytes = blobs.keptBytes + blobs.receivingBytes
    for (const { sizeOnDiskBytes } of blobs.suspended()) usedBytes += sizeOnDiskBytes
    return usedBytes
  }

  /** What is kept, as far as it may leave. @param busy uuids of images, and sha256 of strays, that cannot leave now. */
  #takeStock(
    busy: ReadonlySet<Uuid | string>,
    own: SuspendedBlob | undefined,
    isWanted = this.#options.isWanted,
  ): Kept {
    const { blobs, images: records } = this.#options.store
    const unknown = new Map<string, BlobRef>()
    for (const ref of blobs.all()) unknown.set(ref.sha256, ref)
    const awaited = this.#awaited()
    const images = this.#keptImages(busy, unknown, awaited, isWanted)
    const dockerUses = unknown.size > 0 ? this.#dockerUses() : new Map<string, number>()
    const strays = [...unknown.values()]
      .filter(({ sha256 }) => !busy.has(sha256) && !awaited.sha256s.has(sha256))
      // Nobody knows which files an image has whose record cannot be read: any that seems to be nobody's may be one of them.
      .filter(({ sha256 }) => records.damaged().length === 0 || dockerUses.has(sha256))
      .map(({ sha256, sizeBytes }) => ({
        sha256,
        sizeBytes,
        lastUsedMs: dockerUses.get(sha256) ?? blobs.lastUsedMs(sha256) ?? 0,
        isOfDocker: dockerUses.has(sha256),
      }))
    return { images, strays, leftovers: this.#leftovers(own) }
  }

  /** When each file that Docker's clients need was used last, or another one of an image it is in. */
  #dockerUses(): Map<string, number> {
    const uses = new Map<string, number>()
    for (const sha256s of this.#options.dockerImages()) {
      const lastUses = sha256s.map((sha256) => this.#options.store.blobs.lastUsedMs(sha256) ?? 0)
      const lastUsedMs = Math.max(0, ...lastUses)
      for (const sha256 of sha256s) uses.set(sha256, Math.max(lastUsedMs, uses.get(sha256) ?? 0))
    }
    return uses
  }

  /**
   * Not the one that is about to be gone on with, nor any that was touched after it, as leftovers are reclaimed by age
   * alone.
   */
  #leftovers(own: SuspendedBlob | undefined): Kept['leftovers'] {
    const isAwaited = this.#areAwaited()
    const left = [...this.#options.store.blobs.suspended()]
      .filter(({ expected }) => !isAwaited(expected))
      .map(({ expected, sizeOnDiskBytes, touchedMs }) => ({
        sizeBytes: sizeOnDiskBytes,
        touchedMs,
        isWanted: this.#options.isWantedFile(expected),
      }))
    return own ? left.filter(({ touchedMs }) => touchedMs < own.touchedMs) : left
  }

  #areAwaited(): (left: ExpectedBlob) => boolean {
    const { sha256s } = this.#awaited()
    return ({ digests }) => digests.some(({ algorithm, hex }) => algorithm === 'sha256' && sha256s.has(hex))
  }

  #areAwaitedOrWanted(): (left: ExpectedBlob) => boolean {
    const isAwaited = this.#areAwaited()
    return (left) => isAwaited(left) || this.#options.isWantedFile(left)
  }

  /** Takes out of `unknown` what is a file of some image. */
  #keptImages(
    busy: ReadonlySet<Uuid | string>,
    unknown: Map<string, BlobRef>,
    awaited: Awaited,
    isWanted: RoomOptions['isWanted'],
  ): KeptImage[] {
    const { catalogue, store, underWay } = this.#options
    const own = [...store.images.all()].flatMap(({ manifest, publication }) => (publication ? [manifest] : []))
    const needed = new Set([...underWay(), ...own, ...awaited.manifests].flatMap((image) => this.#ancestorsOf(image)))
    const images: KeptImage[] = []
    const add = (manifest: Manifest, refs: readonly BlobRef[]) => {
      const { uuid } = manifest
      // Of what was published here there may be no other copy in the world.
      const isOurs = store.images.get(uuid)?.publication !== undefined
      // What was made here of a layer that imgadm cannot unpack costs more than its fetching, each time anew.
      const isMade = catalogue.originalsOf(uuid).some(({ withdrawnMs }) => withdrawnMs === undefined)
      const isAwaited = refs.some(({ sha256 }) => awaited.sha256s.has(sha256))
      const isNeeded = needed.has(uuid) || isAwaited || this.pinOf(manifest) !== undefined
      const mustStay = isOurs || isMade || busy.has(uuid) || isNeeded
      const lastUsedMs = Math.max(0, ...refs.map(({ sha256 }) => store.blobs.lastUsedMs(sha256) ?? 0))
      const ancestors = this.#ancestorsOf(manifest)
      images.push({ uuid, ancestors, blobs: refs, lastUsedMs, mustStay, isWanted: isWanted(uuid) })
    }
    const refsByImage = new Map<Uuid, BlobRef[]>()
    for (const { manifest, files } of store.images.all()) {
      const refs = files.flatMap(({ sha256 }) => store.blobs.find({ algorithm: 'sha256', hex: sha256 }) ?? [])
      if (refs.length > 0) refsByImage.set(manifest.uuid, refs)
    }
    for (const [uuid, refs] of refsByImage) add(catalogue.find(uuid) ?? store.images.get(uuid)!.manifest, refs)
    for (const refs of refsByImage.values()) for (const { sha256 } of refs) unknown.delete(sha256)
    // An image of which only some files have come yet is nowhere written down as held.
    if (unknown.size === 0) return images
    for (const manifest of catalogue.all()) {
      if (refsByImage.has(manifest.uuid)) continue
      const refs = manifest.files.flatMap(({ digests, sizeBytes }) => {
        const digest = strongestDigest(digests)
        return (digest && store.blobs.find(digest, sizeBytes)) ?? []
      })
      if (refs.length === 0) continue
      add(manifest, refs)
      for (const { sha256 } of refs) unknown.delete(sha256)
    }
    return images
  }

  /** None of a chain that is a ring or endless: it is refused to whoever asks, and nobody can need it. */
  #ancestorsOf(manifest: Manifest): readonly Uuid[] {
    const { images, missing, broken } = ancestryOf(manifest, (uuid) => this.#options.catalogue.find(uuid))
    if (broken) return []
    const known = images.slice(1).map(({ uuid }) => uuid)
    return missing ? [...known, missing] : known
  }
}

function isSameFile(a: ExpectedBlob, b: ExpectedBlob): boolean {
  if (a.isOnce || b.isOnce) return false
  const [digestOfA, digestOfB] = [strongestDigest(a.digests), strongestDigest(b.digests)]
  if (!digestOfA || !digestOfB || a.sizeBytes !== b.sizeBytes) return false
  return formatDigest(digestOfA) === formatDigest(digestOfB)
}
