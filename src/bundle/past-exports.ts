import { MirrorError } from '../errors.js'
import type { BundleIndex } from '../images/bundle/bundle-index.js'
import type { Uuid } from '../images/uuid.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { ExportRecord, ExportStore } from '../store/export-store.js'
import { type Receiver, receiverWith } from './receiver.js'

/** Records that are kept; of series, the last bundle of each is among them whatever its age. */
const MOST_RECORDS = 2_000
/** Images that records may name, all together: of the oldest, it is forgotten what they had. */
const MOST_IMAGES = 200_000

type Series = NonNullable<BundleIndex['series']>

/** Which bundles were made here, in which order. */
export class PastExports {
  readonly #store: ExportStore
  readonly #changing = new OneAtATime()
  #records: Promise<readonly ExportRecord[]> | undefined

  constructor(store: ExportStore) {
    this.#store = store
  }

  /** The place in its series of a bundle with these contents: the one it has, or the next. */
  async placeOf(name: string, contents: string): Promise<Series> {
    const records = await this.#load()
    const known = records.find(({ contents: same, series }) => series?.name === name && same === contents)
    if (known?.series) return known.series
    const last = records.findLast(({ series }) => series?.name === name)
    return { name, number: (last?.series?.number ?? 0) + 1, previous: last?.id }
  }

  /** When the bundle of this id was first begun; `undefined` for one that never was. */
  async begunMs(id: string): Promise<number | undefined> {
    return (await this.#load()).find((record) => record.id === id)?.atMs
  }

  /**
   * Whoever has taken in this bundle, and those before it in its series.
   * @param said the id of a bundle, or its first digits.
   * @throws MirrorError QUERY_INVALID when no such bundle was made here, or it is no longer known what it had.
   */
  async receiverOf(said: string): Promise<Receiver> {
    const records = await this.#load()
    const matching = records.filter(({ id }) => id.startsWith(said))
    const [found] = matching
    if (!found) throw new MirrorError('QUERY_INVALID', `no bundle ${said} was made here`)
    if (matching.length > 1) throw new MirrorError('QUERY_INVALID', `${said} may be any of ${matching.length} bundles`)
    const images = new Map<Uuid, readonly string[]>()
    for (let record: ExportRecord | undefined = found; record; record = before(record, records)) {
      if (!record.images) {
        throw new MirrorError('QUERY_INVALID', `it is no longer known here what bundle ${record.id} had`)
      }
      for (const [uuid, ...sha256s] of record.images) if (!images.has(uuid)) images.set(uuid, sha256s)
    }
    return receiverWith(images)
  }

  /** To be called before its first byte is written. @throws MirrorError QUERY_INVALID, STORE_FULL, STORE_BROKEN. */
  begin(id: string, contents: string, index: BundleIndex, atMs: number): Promise<void> {
    return this.#changing.run(async () => {
      const records = await this.#load()
      if (records.some((record) => record.id === id)) return
      const { for: receiver, images, requires, series } = index
      const last = series && records.findLast((record) => record.series?.name === series.name)
      if (series && last && series.number <= (last.series?.number ?? 0)) {
        throw new MirrorError(
          'QUERY_INVALID',
          `another export has taken number ${series.number} of ${series.name} meanwhile`,
        )
      }
      const had = [...images.map(({ files, manifest: { uuid } }) => ({ uuid, files })), ...requires]
      const record: ExportRecord = {
        ...{ id, contents, series, site: receiver?.site, atMs },
        images: had.map(({ files, uuid }) => [uuid, ...files.map(({ sha256 }) => sha256)]),
      }
      const kept = bounded([...records, record])
      await this.#store.save(kept)
      this.#records = Promise.resolve(kept)
    })
  }

  #load(): Promise<readonly ExportRecord[]> {
    // A disk that could not be read once may be read the next time.
    this.#records ??= this.#store.load().catch((error: unknown) => {
      this.#records = undefined
      throw error
    })
    return this.#records
  }
}

function before({ series }: ExportRecord, records: readonly ExportRecord[]): ExportRecord | undefined {
  return series && records.find(({ id }) => id === series.previous)
}

function bounded(records: readonly ExportRecord[]): readonly ExportRecord[] {
  const lasts = new Set(new Map(records.map(({ id, series }) => [series?.name, id])).values())
  const excess = records.length - MOST_RECORDS
  const kept = records.filter(({ id }, place) => place >= excess || lasts.has(id))
  let left = MOST_IMAGES
  return kept
    .toReversed()
    .map((record) => {
      left -= record.images?.length ?? 0
      return left < 0 ? { ...record, images: undefined } : record
    })
    .toReversed()
}
