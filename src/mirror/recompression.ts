import { LRUCache } from 'lru-cache'
import { isMirrorError, MirrorError } from '../errors.js'
import type { Claim } from '../images/claim.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import { abortable } from '../parts/abortable.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import { SingleFlight } from '../parts/single-flight.js'
import type { Derivation } from '../store/registry-store.js'
import type { Store } from '../store/store.js'
import type { Catalogue } from './catalogue.js'
import type { Flights } from './flights.js'
import type { Room } from './keeping/room.js'
import type { RecordHappening } from './ledger.js'
import type { RecompressionStatus } from './mirror.js'
import type { Offer } from './reception.js'
import { recompressLayer } from './recompress-layer.js'

export interface RecompressionOptions {
  readonly store: Store
  readonly catalogue: Catalogue
  readonly flights: Flights
  readonly room: Room
  /** Whom to ask for what is claimed; none offline. */
  readonly offersFor: (claims: readonly Claim[]) => readonly Offer[]
  /** An image has its file: it can be written down as held. */
  readonly onMade: (manifest: Manifest) => void
  /** The most a layer may unpack to. */
  readonly maxUnpackedBytes: number
  /** How long a client waits for a layer to be packed anew. */
  readonly patienceMs: number
  readonly isOffline: boolean
  readonly record: RecordHappening
  readonly log: Log
}

/** Who was told to come back should find it done. */
const RETRY_AFTER_MS = 30_000
/** Layers that are remembered as refused, and as many as mislabelled. */
const REFUSED_REMEMBERED = 10_000
const REFUSED_SHOWN = 100

/** A file that has to be packed anew, and whoever has it as it is. */
interface Original {
  readonly sha256: string
  readonly sizeBytes: number
  readonly unpackedSha256: string
  readonly claims: readonly Claim[]
}

/**
 * Layers that imgadm cannot unpack, made into ones that it can: the original is fetched like any file, unpacked, compared with
 * what its image says that is, and packed as gzip. What came of it is written down (`Derivation`), and from then on is the
 * image's file for clients of IMGAPI; those of the registry have the original.
 *
 * It is done in the background for all that is listed, and at once for whoever asks. What was done once is not done again unless the file
 * is lost and somebody asks: size and digests are known, and the image stays listed.
 */
export class Recompression {
  #options: RecompressionOptions
  readonly #making = new SingleFlight<string, void>()
  /** One layer at a time for those who ask, and one beside it for nobody: no client waits for all of the background. */
  readonly #lanes = { client: new OneAtATime(), background: new OneAtATime() }
  /** By original and what it should unpack to: why nothing can be made of it. Another try would end the same way. */
  readonly #refused = new LRUCache<string, string>({ max: REFUSED_REMEMBERED })
  /** Layers that turned out to be zstd when they were here. What is found anew after a start is not written down. */
  readonly #mislabelled = new LRUCache<string, true>({ max: REFUSED_REMEMBERED })
  readonly #abort = new AbortController()
  readonly #underWay = new Set<Promise<unknown>>()
  #round: Promise<void> | undefined
  #isAnotherRoundWanted = false

  constructor(options: RecompressionOptions) {
    this.#options = options
  }

  /** From now on layers may unpack to this. What was refused before is tried again. */
  change(maxUnpackedBytes: number): void {
    if (maxUnpackedBytes === this.#options.maxUnpackedBytes) return
    this.#options = { ...this.#options, maxUnpackedBytes }
    this.#refused.clear()
    this.wake()
  }

  /** Looks for what is to be done, soon. To be called when the catalogue has changed. */
  wake(): void {
    if (this.#round) {
      this.#isAnotherRoundWanted = true
      return
    }
    if (this.#abort.signal.aborted || this.#options.catalogue.unready().length === 0) return
    this.#round = this.#work().finally(() => {
      this.#round = undefined
      if (!this.#isAnotherRoundWanted) return
      this.#isAnotherRoundWanted = false
      this.wake()
    })
  }

  /** Whether a layer is zstd, whatever its image says; known once it has been here. */
  isMislabelled(sha256: string): boolean {
    return this.#mislabelled.has(sha256) || this.#options.store.registry.derivationOf(sha256) !== undefined
  }

  /** A layer that is here is zstd, whatever its image says: all images with it are treated as if it had been said. */
  setApart(sha256: string): void {
    const { catalogue, log } = this.#options
    if (this.#mislabelled.has(sha256)) return
    this.#mislabelled.set(sha256, true)
    log.warn(
      { sha256 },
      `layer ${sha256} is compressed with zstd, which imgadm cannot unpack, and its image says otherwise`,
    )
    catalogue.remade(catalogue.claimedWith(sha256))
    this.wake()
  }

  /** Whether the file of this image is one that is made here. */
  makes({ uuid, files }: Manifest): boolean {
    const { catalogue } = this.#options
    return catalogue.originalsOf(uuid).some((claim) => {
      const made = this.#derivationOf(claim)
      return files[0]?.digests.some(({ algorithm, hex }) => algorithm === 'sha256' && hex === made?.sha256)
    })
  }

  /** Makes the file of an image, or joins whoever does. @throws as `recompressLayer`, and as a flight of the original. */
  async make(uuid: Uuid, lane: 'client' | 'background'): Promise<void> {
    const original = this.#originalOf(uuid)
    if (!original) {
      const refusal = this.#refusalOf(uuid)
      if (refusal !== undefined) throw new MirrorError('MANIFEST_INVALID', refusal)
      throw new MirrorError('UPSTREAM_UNREACHABLE', `no upstream offers a layer to make image ${uuid} of`)
    }
    const { sha256, unpackedSha256 } = original
    const making = this.#making.do(`${sha256} ${unpackedSha256}`, () =>
      this.#lanes[lane].run(() => this.#make(uuid, original)),
    )
    this.#underWay.add(making)
    try {
      await making
    } finally {
      this.#underWay.delete(making)
    }
    // Another image may have had the same layer made.
    this.#tell(original, [uuid])
  }

  /**
   * As `make`, for a client, who does not wait for ever.
   * @throws MirrorError IMAGE_NOT_READY when it takes longer: it goes on, and is there when they come back. IMAGE_UNKNOWN for what
   *   cannot be made, as there is no such image for them; IMAGE_INCOMPLETE offline.
   */
  async ready(uuid: Uuid, signal: AbortSignal): Promise<void> {
    const { patienceMs } = this.#options
    const impatience = AbortSignal.timeout(patienceMs)
    const making = this.make(uuid, 'client')
    making.catch(() => {})
    try {
      await abortable(making, AbortSignal.any([signal, impatience]))
    } catch (error) {
      if (isMirrorError(error, 'MANIFEST_INVALID')) {
        throw new MirrorError('IMAGE_UNKNOWN', `image ${uuid} cannot be offered: ${error.message}`, { cause: error })
      }
      if (error !== impatience.reason) throw error
      throw new MirrorError(
        'IMAGE_NOT_READY',
        `the layer of image ${uuid} is zstd, and being packed anew as gzip: come back in a while`,
        { retryAfterMs: RETRY_AFTER_MS },
      )
    }
  }

  status(): RecompressionStatus {
    const unready = this.#options.catalogue.unready()
    const refused = unready.flatMap((uuid) => {
      const reason = this.#refusalOf(uuid)
      return reason === undefined ? [] : [{ uuid, reason }]
    })
    return { waiting: unready.length - refused.length, refused: refused.slice(0, REFUSED_SHOWN) }
  }

  /** What is being made is given up. The flights are the caller's to close, before or with this. */
  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await Promise.allSettled([this.#round, ...this.#underWay])
  }

  /** Tries everything once. */
  async #work(): Promise<void> {
    const { catalogue, isOffline, log } = this.#options
    for (const uuid of catalogue.unready()) {
      const original = this.#originalOf(uuid)
      if (this.#abort.signal.aborted) return
      if (!original || this.#refused.has(keyOf(original))) continue
      if (isOffline && !this.#isKept(original)) continue
      try {
        await this.make(uuid, 'background')
      } catch (error) {
        if (this.#abort.signal.aborted) return
        if (!isMirrorError(error))
          log.error({ uuid, err: error }, `the layer of image ${uuid} could not be packed anew`)
        else log.warn({ uuid, err: error }, `image ${uuid} is not listed: ${error.message}`)
      }
    }
  }

  async #make(uuid: Uuid, original: Original): Promise<void> {
    const { log, maxUnpackedBytes, record, room, store } = this.#options
    const { signal } = this.#abort
    const { sha256, sizeBytes, unpackedSha256 } = original
    signal.throwIfAborted()
    const before = store.registry.derivationOf(sha256)
    if (before && store.blobs.find({ algorithm: 'sha256', hex: before.sha256 }, before.sizeBytes)) return
    const refusal = this.#refused.get(keyOf(original))
    if (refusal !== undefined) throw new MirrorError('MANIFEST_INVALID', refusal)
    await this.#fetch(uuid, original)
    const startedMs = Date.now()
    const made = await recompressLayer(
      { sha256, unpackedSha256 },
      { blobs: store.blobs, room, maxUnpackedBytes, signal },
    ).catch((error: unknown) => {
      if (isMirrorError(error, 'MANIFEST_INVALID')) this.#refused.set(keyOf(original), error.message)
      throw error
    })
    const derivation: Derivation = {
      fromSha256: sha256,
      sha256: made.sha256,
      sha1: made.sha1,
      md5: made.md5,
      sizeBytes: made.sizeBytes,
      how: 'zstd to gzip',
      atMs: Date.now(),
    }
    await store.registry.keepDerivation(derivation)
    record('recompressed', uuid, {
      ...{ how: derivation.how, fromSha256: sha256, fromBytes: sizeBytes, unpackedSha256 },
      ...{ sizeBytes: made.sizeBytes, sha256: made.sha256, sha1: made.sha1, md5: made.md5 },
    })
    const facts = { uuid, from: sha256, sha256: made.sha256, fromBytes: sizeBytes, sizeBytes: made.sizeBytes }
    log.info({ ...facts, durationMs: Date.now() - startedMs }, `packed layer ${sha256} anew: from zstd to gzip`)
    if (before && before.sha256 !== made.sha256) await this.#replace(before, uuid)
    this.#tell(original, this.#options.catalogue.unready())
  }

  async #fetch(uuid: Uuid, original: Original): Promise<void> {
    const { flights, isOffline, offersFor } = this.#options
    if (this.#isKept(original)) return
    if (isOffline) {
      throw new MirrorError(
        'IMAGE_INCOMPLETE',
        `image ${uuid} is not complete here, and this mirror is offline: it lacks the layer to make its file of`,
      )
    }
    const offers = offersFor(original.claims)
    const [first] = offers
    if (!first) throw new MirrorError('UPSTREAM_UNREACHABLE', `no configured upstream offers image ${uuid} any more`)
    const { manifest } = first.claim
    const flight = flights.find(manifest, 0) ?? flights.start(manifest, 0, offers)
    const { fingerprint } = await flight.ended
    if (!fingerprint) throw new MirrorError('STORE_FULL', `no room to keep layer ${original.sha256}, to pack it anew`)
  }

  /** Images that wait for this layer hear of it. */
  #tell({ sha256 }: Original, candidates: readonly Uuid[]): void {
    const { catalogue, onMade } = this.#options
    const waiting = candidates.filter((uuid) => this.#originalOf(uuid)?.sha256 === sha256)
    catalogue.remade(waiting)
    for (const uuid of waiting) {
      const manifest = catalogue.find(uuid)
      if (manifest && this.makes(manifest)) onMade(manifest)
    }
  }

  /** Another zlib packs otherwise: who held what was made before, and has lost it, holds it no more. */
  async #replace({ sha256 }: Derivation, uuid: Uuid): Promise<void> {
    const { catalogue, log, record, store } = this.#options
    log.warn({ uuid, sha256 }, `what layer of image ${uuid} was made before is lost, and what it is made now differs`)
    for (const { manifest, files, publication } of [...store.images.all()]) {
      if (publication || files[0]?.sha256 !== sha256) continue
      await store.images.forget(manifest.uuid)
      catalogue.letGo(manifest.uuid)
      const why = 'what was made of its layer is lost, and what is made now differs'
      record('evicted', manifest.uuid, { sha256s: [sha256], sizeBytes: 0, why, images: [manifest.uuid] })
    }
  }

  #originalOf(uuid: Uuid): Original | undefined {
    const claims = this.#options.catalogue.originalsOf(uuid)
    const first = claims.find(({ unpackedSha256 }) => unpackedSha256 !== undefined)
    const file = first?.manifest.files[0]
    const sha256 = sha256Of(first)
    if (!file || sha256 === undefined || first?.unpackedSha256 === undefined) return undefined
    const alike = claims.filter((claim) => sha256Of(claim) === sha256)
    return { sha256, sizeBytes: file.sizeBytes, unpackedSha256: first.unpackedSha256, claims: alike }
  }

  /** Why nothing can be made of what there is of this image, if that is known. */
  #refusalOf(uuid: Uuid): string | undefined {
    const original = this.#originalOf(uuid)
    if (original) return this.#refused.get(keyOf(original))
    const [claim] = this.#options.catalogue.originalsOf(uuid)
    if (!claim) return undefined
    const without = 'nothing is made of it without "recompress: gzip" of its upstream, and a diff_id in its config'
    return `layer ${sha256Of(claim)} is compressed with zstd, which imgadm cannot unpack, though its media type says otherwise; ${without}`
  }

  #derivationOf(claim: Claim): Derivation | undefined {
    const sha256 = sha256Of(claim)
    return sha256 === undefined ? undefined : this.#options.store.registry.derivationOf(sha256)
  }

  #isKept({ sha256, sizeBytes }: Original): boolean {
    return this.#options.store.blobs.find({ algorithm: 'sha256', hex: sha256 }, sizeBytes) !== undefined
  }
}

function keyOf({ sha256, unpackedSha256 }: Original): string {
  return `${sha256} ${unpackedSha256}`
}

function sha256Of(claim: Claim | undefined): string | undefined {
  return claim?.manifest.files[0]?.digests.find(({ algorithm }) => algorithm === 'sha256')?.hex
}
