import { MirrorError } from '../../errors.js'
import { formatDigest, strongestDigest } from '../../images/digest.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Clock } from '../../parts/clock.js'
import type { Log } from '../../parts/log.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import { sumOf } from '../../parts/sum-of.js'
import type { ExpectedBlob, PartialBlob, SuspendedBlob } from '../../store/blob-store.js'
import type { HeldImage } from '../../store/image-store.js'
import type { MirrorCounters } from '../counters.js'
import type { RecordHappening } from '../ledger.js'
import type { RoomStatus, TurnedAway } from '../mirror.js'
import { type Departure, planEviction, stayingImages } from './eviction-plan.js'
import { type Awaited, type ImagePin, Stock, type StockOptions } from './stock.js'

export interface RoomOptions extends StockOptions {
  /** How many bytes image files may take, unfinished ones included; `undefined` for as many as the disk has. */
  readonly quotaBytes: () => Promise<number | undefined>
  readonly counters: MirrorCounters
  readonly record: RecordHappening
  readonly clock: Clock
  readonly log: Log
}

/** Room that was made because somebody wanted it, or would be. */
export interface Vacuum {
  readonly wantedBytes: number
  readonly departures: readonly Departure[]
}

/** For whom room is made. */
interface Arrival {
  /** What is left of the same file, and is about to be gone on with. */
  readonly own?: SuspendedBlob | undefined
  /** It is wanted itself: what is wanted never leaves for one another, or they would be fetched in turns for ever. */
  readonly isWanted?: boolean
}

/** Nobody comes back for a download that was left a week ago: whoever wants the file fetches the rest within a day. */
const LEFTOVER_TTL_MS = 7 * 86_400_000

/**
 * What a plan takes for granted may be so old: what would take longer to find out than it is worth, such as what is wanted, or what a
 * catalogue says. What could do harm is looked at whenever something is about to leave.
 */
const PLAN_TTL_MS = 1000

/** Room for image files: how much there may be, and who leaves when there is none. */
export class Room {
  #options: RoomOptions
  /** Room is made for one after the other: each finds what those before it were promised. */
  readonly #making = new OneAtATime()
  #quotaBytes: number | undefined
  #evictedBytes = 0
  #freeBytes: number | undefined
  #turnedAway: TurnedAway | undefined
  readonly #stock: Stock

  constructor(options: RoomOptions) {
    this.#options = options
    this.#stock = new Stock(options)
  }

  /** What there may be from now on; `tidy` lets go of what is too much. */
  change(quotaBytes: RoomOptions['quotaBytes']): void {
    this.#options = { ...this.#options, quotaBytes }
  }

  /** From now on, what is awaited does not leave to make room. @param awaited asked whenever somebody is to leave. */
  await(awaited: () => Awaited): void {
    this.#stock.await(awaited)
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
    return planEviction(this.#stock.take({ isWanted }), sizeBytes)
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
    const { images } = this.#stock.take()
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
      const { images } = this.#stock.take()
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
      const freedBytes = await store.blobs.reclaim(clock.wallMs() - LEFTOVER_TTL_MS, this.#stock.areAwaitedOrWanted())
      if (freedBytes > 0) log.info({ freedBytes }, 'removed what was left of downloads that nobody went on with')
      const shortBytes = await this.#overQuotaBytes(0)
      if (shortBytes > 0) await this.#free(shortBytes, {})
    })
  }

  status(): RoomStatus {
    return {
      quotaBytes: this.#quotaBytes,
      usedBytes: this.#usedBytes(),
      ...this.#stock.measure(),
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
    const plan = planEviction(this.#stock.take({ busy, own }), bytes)
    return isWanted ? plan.filter((departure) => !departure.isWanted) : plan
  }

  /** Whether so much was freed. What turns out to be in use stays, and the next in the line goes in its place. */
  async #free(wantedBytes: number, arrival: Arrival, left: Departure[] = []): Promise<boolean> {
    const { clock, store } = this.#options
    const busy = new Set<Uuid | string>()
    let missingBytes = wantedBytes
    // Every round frees something, or knows one more that is busy: up to the first that frees something, a plan is as it was made this
    // very moment.
    while (missingBytes > 0) {
      const plan = this.#planFor(arrival, missingBytes, busy)
      const first = plan.findIndex(({ sizeBytes }) => sizeBytes > 0)
      if (first < 0) return false
      const world = { plannedMs: clock.steadyMs(), changes: store.images.changes }
      for (const [place, departure] of plan.entries()) {
        if (missingBytes <= 0 || (place > first && this.#mayHaveToStay(departure, world))) break
        const isHeld = departure.uuid !== undefined && store.images.get(departure.uuid) !== undefined
        if (!(await this.#letGo(departure))) {
          for (const each of departure.uuid ? [departure.uuid] : departure.sha256s) busy.add(each)
          break
        }
        if (isHeld) world.changes++
        missingBytes -= departure.sizeBytes
        left.push(departure)
      }
    }
    return true
  }

  /** Whether something has come to pass, since this departure was planned, that may forbid it: then it is time for a new plan. */
  #mayHaveToStay(
    { lastUsedMs, sha256s, uuid }: Departure,
    { changes, plannedMs }: { readonly plannedMs: number; readonly changes: number },
  ): boolean {
    const { clock, store } = this.#options
    // An image that came meanwhile may have the same file, or build on this one.
    if (clock.steadyMs() - plannedMs > PLAN_TTL_MS || store.images.changes !== changes) return true
    if (sha256s.some((sha256) => (store.blobs.lastUsedMs(sha256) ?? 0) > lastUsedMs)) return true
    return this.#stock.isNeeded(uuid, sha256s)
  }

  async #letGo(departure: Departure): Promise<boolean> {
    const { counters, log, record, store } = this.#options
    const { isWanted, kind, uuid, sha256s, sizeBytes, lastUsedMs, why } = departure
    try {
      // Those that are wanted leave after all others, so that none that is not is left by then.
      const areStaying = () => (isWanted ? this.#stock.areAwaited() : this.#stock.areAwaitedOrWanted())
      if (kind === 'leftover') await store.blobs.reclaim(lastUsedMs + 1, areStaying())
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
    const isOwn = (sha256: string) => {
      for (const { files, publication } of store.images.all()) {
        if (publication && files.some((file) => file.sha256 === sha256)) return true
      }
      return false
    }
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
}

function isSameFile(a: ExpectedBlob, b: ExpectedBlob): boolean {
  if (a.isOnce || b.isOnce) return false
  const [digestOfA, digestOfB] = [strongestDigest(a.digests), strongestDigest(b.digests)]
  if (!digestOfA || !digestOfB || a.sizeBytes !== b.sizeBytes) return false
  return formatDigest(digestOfA) === formatDigest(digestOfB)
}
