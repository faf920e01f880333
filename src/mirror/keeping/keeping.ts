import { MirrorError } from '../../errors.js'
import type { Filter } from '../../images/filter.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import { type Clock, systemClock } from '../../parts/clock.js'
import type { Log } from '../../parts/log.js'
import type { ExpectedBlob, OpenBlob } from '../../store/blob-store.js'
import type { Store } from '../../store/store.js'
import type { Catalogue } from '../catalogue.js'
import type { MirrorCounters } from '../counters.js'
import type { RecordHappening } from '../ledger.js'
import type { KeepingStatus } from '../mirror.js'
import type { Offer } from '../reception.js'
import { type BlobInReading, BlobsInReading } from './blobs-in-reading.js'
import type { ChunkChecks } from './checked-chunk.js'
import { Mender } from './mender.js'
import { ReadChecks, type VerifyOnRead } from './read-checks.js'
import { Room } from './room.js'
import { type ReadingNow, Scrubber } from './scrubber.js'
import type { ImagePin } from './stock.js'
import { VerifiedBlob } from './verified-blob.js'

/** What the operator decided about keeping. */
export interface KeepingRules {
  /** How many bytes image files may take; asked again and again, as a share of a disk changes with it. */
  readonly quotaBytes: () => Promise<number | undefined>
  /** Of the configuration. */
  readonly pins: readonly Filter[]
  /** `undefined`: nothing is read again in the background. */
  readonly scrub: { readonly everyMs: number; readonly bytesPerSecond: number } | undefined
  readonly verifyOnRead: VerifyOnRead
}

export interface KeepingOptions extends Omit<KeepingRules, 'pins'> {
  /** As StockOptions says. */
  readonly pinOf: (manifest: Manifest) => ImagePin | undefined
  /** As StockOptions says. */
  readonly isWanted: (uuid: Uuid) => boolean
  /** As StockOptions says. */
  readonly isWantedFile: (left: ExpectedBlob) => boolean
  readonly store: Store
  readonly catalogue: Catalogue
  /** Images whose files are being fetched. */
  readonly underWay: () => Iterable<Manifest>
  /** As StockOptions says. */
  readonly dockerImages: () => Iterable<readonly string[]>
  readonly offersOf: (manifest: Manifest) => readonly Offer[]
  /** Whether `fetch` makes the file of this image of another one, whoever offers it. */
  readonly isMadeHere: (manifest: Manifest) => boolean
  /** Fetches a file that is not kept. Resolves when it is, rejects when nobody delivers it. */
  readonly fetch: (manifest: Manifest, fileIndex: number) => Promise<void>
  /** As MenderOptions says. */
  readonly onChange: () => void
  readonly counters: MirrorCounters
  readonly record: RecordHappening
  readonly log: Log
  readonly clock?: Clock
}

const PATIENCE_MS = 20_000
/** How often old leftovers are removed, the quota is looked at, and lost blobs are tried for again. */
const ROUND_MS = 3_600_000

/** What becomes of blobs once they are kept: there is room for them, they stay good, and what leaves here is good. */
export class Keeping {
  readonly room: Room
  #options: KeepingOptions
  readonly #clock: Clock
  readonly #mender: Mender
  readonly #scrubber: Scrubber
  readonly #checks: ReadChecks
  readonly #chunkChecks: ChunkChecks
  readonly #blobsInReading: BlobsInReading
  readonly #abort = new AbortController()
  #rounds: Promise<void> | undefined
  /** Aborted, it is time for the next round. */
  #napping = new AbortController()

  constructor(options: KeepingOptions) {
    const { clock = systemClock, scrub, verifyOnRead } = options
    this.#options = options
    this.#clock = clock
    this.room = new Room({ ...options, clock })
    this.#mender = new Mender(options)
    const mend: Mender['mend'] = (sha256, damage) => this.#mender.mend(sha256, damage)
    const imagesWith = (sha256: string) => [...imagesWithBlob(options.store, sha256)]
    this.#scrubber = new Scrubber({ ...options, rounds: scrub, mend, imagesWith, clock })
    this.#checks = new ReadChecks(verifyOnRead, clock)
    this.#chunkChecks = {
      blobs: options.store.blobs,
      checks: this.#checks,
      counters: options.counters,
      onDamage: (sha256, chunk) => void mend(sha256, { foundBy: 'a read', chunks: [chunk] }),
    }
    this.#blobsInReading = new BlobsInReading(this.#chunkChecks)
  }

  start(): void {
    this.#scrubber.start()
    this.#rounds ??= this.#run()
  }

  /** From now on. What the quota says now is looked at once more, too. */
  change({ quotaBytes, scrub, verifyOnRead }: KeepingRules): void {
    this.#options = { ...this.#options, scrub, verifyOnRead }
    this.room.change(quotaBytes)
    this.#scrubber.change(scrub)
    this.#checks.change(verifyOnRead)
    this.#napping.abort()
  }

  /** The blob, read as `verifyOnRead` says, by one who hands it on to many. Takes over `blob`. */
  verified(blob: OpenBlob): OpenBlob {
    return this.#options.verifyOnRead === 'never' ? blob : new VerifiedBlob(blob, this.#chunkChecks)
  }

  /** The blob, read as `verifyOnRead` says, and together with all other clients who read it. Takes over `blob`. */
  forClient(blob: OpenBlob): BlobInReading {
    return this.#blobsInReading.join(blob)
  }

  /**
   * Waits while a damaged file is being put right from a few MiB: that costs the line less than fetching all of it. Not for
   * long, as whoever waits has not got a byte yet.
   */
  async patched(sha256: string): Promise<void> {
    const patching = this.#mender.patching(sha256)
    if (!patching) return
    const isOver = new AbortController()
    await Promise.race([patching, this.#clock.pause(PATIENCE_MS, isOver.signal)]).catch(() => {})
    isOver.abort()
  }

  /** When a blob was last read again from end to end, and was good; `undefined` if never, or if nothing is. */
  checkedMs(sha256: string): number | undefined {
    return this.#options.store.blobs.checkedMs(sha256)
  }

  /**
   * Reads a blob again now, and mends it if it is damaged; one that is lost is fetched again.
   * @throws the signal's reason; MirrorError STORE_BROKEN.
   */
  async examineNow(sha256: string, reading: ReadingNow): Promise<'good' | 'mended' | 'damaged'> {
    const isHere = () => this.#options.store.blobs.find({ algorithm: 'sha256', hex: sha256 }) !== undefined
    if (isHere()) return await this.#scrubber.examineNow(sha256, reading)
    await this.#mender.mendLost(sha256)
    return isHere() ? 'mended' : 'damaged'
  }

  /** Reads everything but image files again now. Answers how much was found damaged. */
  auditNow(): Promise<number> {
    return this.#scrubber.auditNow()
  }

  status(): KeepingStatus {
    const lost = [...this.#mender.lost()].map(({ manifest, fileIndex, sha256 }) => ({
      uuid: manifest.uuid,
      fileIndex,
      sha256,
    }))
    return {
      room: this.room.status(),
      scrub: this.#scrubber.status(),
      lost,
      damagedRecords: this.#options.store.images.damaged(),
    }
  }

  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await this.#mender.close()
    await this.#scrubber.close()
    await this.#rounds
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    while (!signal.aborted) {
      this.#napping = new AbortController()
      const nap = AbortSignal.any([signal, this.#napping.signal])
      try {
        await this.room.tidy()
        await this.#mender.mendLost()
      } catch (error) {
        this.#options.log.error({ err: error }, 'the store could not be tidied')
      }
      await this.#clock.pause(ROUND_MS, nap).catch(() => {})
    }
  }
}

/** Held images that have this file. */
function* imagesWithBlob({ images }: Pick<Store, 'images'>, sha256: string): Generator<Uuid> {
  for (const { manifest, files } of images.all()) if (files.some((file) => file.sha256 === sha256)) yield manifest.uuid
}
