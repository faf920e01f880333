import { isMirrorError, MirrorError } from '../errors.js'
import type { BundleIndex } from '../images/bundle/bundle-index.js'
import { bundleId } from '../images/bundle/bundle-names.js'
import { parseBundleIndex } from '../images/bundle/parse-bundle-index.js'
import type { Awaited } from '../mirror/keeping/stock.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Arrival, ArrivalStore, ExcusedSeries } from '../store/arrival-store.js'
import type { Lacking, SeriesGap } from './bundles.js'
import { findSeriesGaps } from './series-gaps.js'
import { awaitedImages, type LackingOptions, whatIsLacking } from './what-is-lacking.js'

/** Bundles of which something is lacking: what they are is in memory, together no more than this as JSON. */
const MOST_AWAITED = 256
const MOST_AWAITED_BYTES = 256 * 1024 * 1024
/** Bundles that are remembered, those that ended included: the oldest of these are forgotten first. */
const MOST_REMEMBERED = 10_000

export interface ArrivedBundlesOptions extends LackingOptions {
  readonly store: ArrivalStore
  readonly log: Log
}

/** A bundle of which something is lacking still. */
interface AwaitedBundle {
  readonly index: BundleIndex
  readonly sizeBytes: number
}

/** What an import found out of a bundle. */
export interface FoundBundle {
  readonly id: string
  readonly index: BundleIndex
  readonly bundleJson: Buffer
  /** As it lay beside it. */
  readonly bundleSignature: Buffer | undefined
  readonly volume: number
  readonly signedBy: { readonly key: string; readonly isTrusted: boolean } | undefined
}

/** Which bundles have come, and what is lacking of them: over restarts, until all is here or nobody waits any more. */
export class ArrivedBundles {
  readonly #options: ArrivedBundlesOptions
  /** What is in effect is what is written down. */
  readonly #changing = new OneAtATime()
  /** By id, in the order of their coming. */
  #arrivals: ReadonlyMap<string, Arrival> = new Map()
  #excused: readonly ExcusedSeries[] = []
  readonly #awaited = new Map<string, AwaitedBundle>()
  /** Bundles being imported, and how many imports are at it. */
  readonly #underWay = new Set<string>()

  constructor(options: ArrivedBundlesOptions) {
    this.#options = options
  }

  /** What cannot be read is told in the log: the medium brings it again. */
  async start(): Promise<void> {
    const { log, store } = this.#options
    try {
      const { arrivals, excused } = await store.load()
      this.#arrivals = new Map(arrivals.map((arrival) => [arrival.id, arrival]))
      this.#excused = excused
      for (const { endedMs, id } of arrivals) if (endedMs === null) await this.#bringBack(id)
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
      log.error({ err: error }, 'which bundles have come cannot be read: import again those that are not complete')
    }
  }

  get(id: string): Arrival | undefined {
    return this.#arrivals.get(id)
  }

  /** Those of which something is lacking, with what they are, in the order of their coming. */
  *awaited(): Generator<{ readonly arrival: Arrival; readonly index: BundleIndex }> {
    for (const [id, { index }] of this.#awaited) {
      const arrival = this.#arrivals.get(id)
      if (arrival) yield { arrival, index }
    }
  }

  lacking(): readonly Lacking[] {
    return [...this.awaited()].flatMap(({ arrival, index }) => whatIsLacking(arrival, index, this.#options) ?? [])
  }

  lackingOf(id: string): Lacking | undefined {
    const arrival = this.#arrivals.get(id)
    const awaited = this.#awaited.get(id)
    return arrival && awaited && whatIsLacking(arrival, awaited.index, this.#options)
  }

  gaps(): readonly SeriesGap[] {
    return findSeriesGaps([...this.#arrivals.values()], this.#excused)
  }

  /** What is not to leave for want of room: files of images that are awaited, and of all in bundles being imported now. */
  needed(): Awaited {
    const images = [...this.#awaited].flatMap(([id, { index }]) =>
      this.#underWay.has(id) ? index.images : awaitedImages(index, this.#options.intake),
    )
    const layers = [...this.#awaited.values()].flatMap(({ index }) => index.docker.layers)
    return {
      sha256s: new Set([...images.flatMap(({ files }) => files), ...layers].map(({ sha256 }) => sha256)),
      manifests: images.map(({ manifest }) => manifest),
    }
  }

  /**
   * A volume of a bundle has come. Durable when it resolves. Answers what ends its being imported.
   * @throws MirrorError BUNDLE_INVALID when too much is awaited already; STORE_FULL, STORE_BROKEN.
   */
  async come(found: FoundBundle): Promise<() => void> {
    const { id, index } = found
    await this.#changing.run(async () => {
      const before = this.#arrivals.get(id)
      if (!this.#awaited.has(id)) {
        await this.#await(found)
        this.#awaited.set(id, { index, sizeBytes: found.bundleJson.length })
      }
      const after = comeAgain(before, found)
      await this.#save(new Map(this.#arrivals).set(id, after), this.#excused)
    })
    this.#underWay.add(id)
    return () => this.#underWay.delete(id)
  }

  /** Nothing of it is lacking, or nobody waits for it. Durable when it resolves. */
  async end(id: string): Promise<void> {
    await this.#changing.run(async () => {
      const arrival = this.#arrivals.get(id)
      if (!arrival) return
      const arrivals = new Map(this.#arrivals).set(id, { ...arrival, endedMs: arrival.endedMs ?? Date.now() })
      await this.#save(arrivals, this.#excused)
      this.#awaited.delete(id)
      // After a crash before this they are removed at start.
      await this.#options.store.forgetDocuments(id)
    })
  }

  /** As BundleImports has it. Answers what is not waited for any more: the whole id of a bundle, or `NAME:NUMBER`. */
  async forget(what: string): Promise<string> {
    const [, name, number] = /^(.+):(\d{1,9})$/.exec(what) ?? []
    if (name !== undefined) {
      await this.#excuse(name, Number(number))
      return what
    }
    const ids = [...this.#awaited.keys()].filter((id) => what.length >= 4 && id.startsWith(what.toLowerCase()))
    const [id, ...others] = ids
    if (!id) throw new MirrorError('BUNDLE_UNKNOWN', `no bundle ${what} is awaited; imgapi-mirror bundles lists them`)
    if (others.length > 0)
      throw new MirrorError('BUNDLE_UNKNOWN', `${ids.length} bundles begin with ${what}; write more`)
    await this.end(id)
    return id
  }

  async #excuse(name: string, upTo: number): Promise<void> {
    await this.#changing.run(async () => {
      if (![...this.#arrivals.values()].some(({ series }) => series?.name === name)) {
        throw new MirrorError('BUNDLE_UNKNOWN', `no bundle of a series ${name} has come`)
      }
      const others = this.#excused.filter((each) => each.name !== name)
      await this.#save(this.#arrivals, [...others, { name, upTo }])
    })
  }

  async #save(arrivals: ReadonlyMap<string, Arrival>, excused: readonly ExcusedSeries[]): Promise<void> {
    const ended = [...arrivals.values()].filter(({ endedMs }) => endedMs !== null)
    const forgotten = ended.slice(0, Math.max(0, arrivals.size - MOST_REMEMBERED)).map(({ id }) => id)
    const remembered = new Map(arrivals)
    for (const id of forgotten) remembered.delete(id)
    await this.#options.store.save({ arrivals: [...remembered.values()], excused })
    this.#arrivals = remembered
    this.#excused = excused
  }

  async #await({ bundleJson, bundleSignature, id }: FoundBundle): Promise<void> {
    const { store } = this.#options
    const sizeBytes = [...this.#awaited.values()].reduce((sum, each) => sum + each.sizeBytes, bundleJson.length)
    if (this.#awaited.size >= MOST_AWAITED || sizeBytes > MOST_AWAITED_BYTES) {
      throw new MirrorError(
        'BUNDLE_INVALID',
        `${this.#awaited.size} bundles are awaited already, and no more can be; forget some: imgapi-mirror bundles`,
      )
    }
    if (bundleSignature) await store.keepDocument(id, 'bundle.json.minisig', bundleSignature)
    await store.keepDocument(id, 'bundle.json', bundleJson)
  }

  async #bringBack(id: string): Promise<void> {
    const { log, store } = this.#options
    const bytes = await store.document(id, 'bundle.json')
    try {
      if (!bytes) throw new MirrorError('BUNDLE_INVALID', 'it is not there')
      if (bundleId(bytes) !== id) throw new MirrorError('BUNDLE_INVALID', 'it does not have the sha256 it is named by')
      this.#awaited.set(id, { index: await parseBundleIndex(bytes), sizeBytes: bytes.length })
    } catch (error) {
      if (!isMirrorError(error, 'BUNDLE_INVALID')) throw error
      log.error({ bundle: id, err: error }, `what bundle ${id} is cannot be read: import it again`)
    }
  }
}

function comeAgain(before: Arrival | undefined, { id, index, signedBy, volume }: FoundBundle): Arrival {
  const { from, images, series, volumes } = index
  const nowMs = Date.now()
  const wasTrusted = before?.signedBy?.isTrusted === true
  return {
    id,
    from,
    signedBy: wasTrusted ? before.signedBy : (signedBy ?? before?.signedBy ?? null),
    series: series ? { name: series.name, number: series.number, previous: series.previous ?? null } : null,
    images: images.length,
    volumes,
    volumesCome: [...new Set([...(before?.volumesCome ?? []), volume])].sort((a, b) => a - b),
    firstComeMs: before?.firstComeMs ?? nowMs,
    lastComeMs: nowMs,
    endedMs: null,
  }
}
