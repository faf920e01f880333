import type { Filter } from '../../images/filter.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Log } from '../../parts/log.js'
import { type BlobRef, CHUNK_BYTES } from '../../store/blob-store.js'
import type { LedgerReader } from '../../store/ledger-store.js'
import type { AtRest, MeasuredBlob, RestingBlob, RestingStore } from '../../store/resting-store.js'
import { Catalogue, type CatalogueOptions } from '../catalogue.js'
import { type Job, type JobProgress, Jobs } from '../jobs.js'
import { measuredManifest } from '../measured-manifest.js'
import { ENTRIES_LOOKED_AT } from './came-by.js'
import { KnownImages } from './known-images.js'
import { pinFactsOf } from './pins.js'

export interface RestingImagesOptions extends Pick<CatalogueOptions, 'withdrawn' | 'policies'> {
  readonly store: RestingStore
  /** Of the same directory. */
  readonly ledger: Pick<LedgerReader, 'newest'>
  /** Names of upstreams in order of precedence. Without it, those that told something, in the order of their names. */
  readonly precedence: readonly string[] | undefined
  /** Of the configuration. */
  readonly pins: readonly Filter[]
  readonly maxAncestry: number
  readonly log: Log
}

/** What a data directory says when nobody is there to be asked. */
export interface RestingStatus {
  readonly dataDirectory: string
  readonly imagesKnown: number
  readonly imagesHeld: number
  readonly blobsKept: number
  readonly bytesKept: number
  readonly imagesPinned: number
  /** Claims of upstreams that disagree. */
  readonly conflicts: number
  /** Files of held images that are not here. */
  readonly lost: readonly { readonly uuid: Uuid; readonly fileIndex: number; readonly sha256: string }[]
  readonly damagedRecords: readonly { readonly uuid: Uuid; readonly path: string }[]
  readonly arePinsDamaged: boolean
  /** When each upstream told its whole catalogue last, ms since 1970. */
  readonly upstreams: readonly { readonly name: string; readonly lastHeardMs: number | null }[]
}

/** What reading has found, in files. */
export interface RestingVerification {
  readonly good: number
  readonly damaged: number
  /** Images whose record is damaged: which files they have is not known. */
  readonly damagedRecords: number
}

/** A file to read, of the first held image that it is of. */
interface Reading {
  readonly name: string
  readonly note: string
  readonly sha256: string
  /** The manifest's, with all digests that are promised of it. */
  readonly file: Manifest['files'][number]
}

/**
 * A data directory that no mirror uses, as its operator would be told of it by one. Nothing is asked of upstreams, and nothing is
 * changed: what is damaged stays as it is.
 */
export class RestingImages {
  /** @throws MirrorError STORE_UNUSABLE, STORE_BROKEN. */
  static async read(options: RestingImagesOptions): Promise<RestingImages> {
    return new RestingImages(options, await options.store.look())
  }

  readonly images: KnownImages
  readonly #store: RestingStore
  readonly #atRest: AtRest
  readonly #catalogue: Catalogue
  readonly #precedence: readonly string[]
  readonly #jobs: Jobs

  private constructor(
    { ledger, log, maxAncestry, pins, precedence, store, ...rules }: RestingImagesOptions,
    atRest: AtRest,
  ) {
    this.#store = store
    this.#atRest = atRest
    this.#jobs = new Jobs({ log })
    this.#precedence = precedence ?? [...new Set(atRest.claims.map(({ upstream }) => upstream))].sort()
    this.#catalogue = new Catalogue({ ...rules, precedence: this.#precedence, log })
    for (const image of atRest.images) {
      this.#catalogue.hold(
        image,
        measuredManifest(image, ({ hex }, sizeBytes) => this.#blob(hex, sizeBytes)),
      )
    }
    this.#catalogue.hear(atRest.claims)
    const own = new Map((atRest.pins ?? []).map((pin) => [pin.uuid, pin]))
    const pinsOf = (manifest: Manifest) =>
      pinFactsOf(manifest, { own: own.get(manifest.uuid), passing: [], configured: pins })
    this.images = new KnownImages({
      // When a file was last read is in the index, which is the mirror's alone.
      store: { blobs: { lastUsedMs: () => undefined } },
      catalogue: this.#catalogue,
      pins: { of: pinsOf, isPinned: (manifest) => pinsOf(manifest).length > 0 },
      maxAncestry,
      find: async (uuid) => this.#catalogue.find(uuid),
      blobOf: (manifest, fileIndex) => this.#blobOf(manifest, fileIndex),
      entriesAbout: (uuid) => ledger.newest(uuid, ENTRIES_LOOKED_AT),
      lastCheckMs: (sha256) => atRest.checkedMs.get(sha256),
    })
  }

  /** Of the directory. */
  get path(): string {
    return this.#store.path
  }

  isHeld(uuid: Uuid): boolean {
    return this.#catalogue.held(uuid) !== undefined
  }

  status(): RestingStatus {
    const { blobs, damaged, heardMs, images, pins } = this.#atRest
    const all = [...this.#catalogue.all()]
    const rows = all.map((manifest) => this.images.row(manifest))
    const lost = images.flatMap(({ files, manifest }) =>
      files.flatMap(({ sha256 }, fileIndex) => (blobs.has(sha256) ? [] : { uuid: manifest.uuid, fileIndex, sha256 })),
    )
    return {
      dataDirectory: this.path,
      imagesKnown: all.length,
      imagesHeld: this.images.countHeld(),
      blobsKept: blobs.size,
      bytesKept: [...blobs.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      imagesPinned: rows.filter(({ isHeld, isPinned }) => isHeld && isPinned).length,
      conflicts: this.#catalogue.conflicts().length,
      lost,
      damagedRecords: damaged,
      arePinsDamaged: pins === undefined,
      upstreams: this.#precedence.map((name) => ({ name, lastHeardMs: heardMs.get(name) ?? null })),
    }
  }

  /**
   * Reads the files of held images, and compares their size and every digest with what was promised and with what was measured when
   * they were kept. Its result is a RestingVerification. @param uuids only these, if given; of held images.
   */
  verify(uuids: readonly Uuid[] | undefined): Job {
    const wanted = uuids && new Set(uuids)
    const title = `reading ${uuids?.length === 1 ? `image ${uuids[0]}` : uuids ? `${uuids.length} images` : 'held images'}`
    return this.#jobs.start({ kind: 'verify', title, by: 'nobody' }, async (progress) => {
      const readings = this.#readings(wanted)
      const damagedRecords = this.#atRest.damaged.filter(({ uuid }) => !wanted || wanted.has(uuid))
      for (const { file, name, note } of readings) progress.item(name, { note, sizeBytes: file.sizeBytes })
      for (const { path, uuid } of damagedRecords) progress.item(uuid, { state: 'failed', note: `${path} is damaged` })
      let good = 0
      for (const reading of readings) if (await this.#isGood(reading, progress)) good++
      const damaged = readings.length - good
      return { good, damaged, damagedRecords: damagedRecords.length } satisfies RestingVerification
    })
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    await this.#jobs.close()
    await this.#store.close()
  }

  #readings(wanted: ReadonlySet<Uuid> | undefined): Reading[] {
    const readings = new Map<string, Reading>()
    for (const { files, manifest } of this.#atRest.images) {
      if (wanted && !wanted.has(manifest.uuid)) continue
      for (const [index, { sha256 }] of files.entries()) {
        const file = manifest.files[index]
        // What several images share is read once.
        if (!file || readings.has(sha256)) continue
        const name = index === 0 ? manifest.uuid : `${manifest.uuid}/${index}`
        readings.set(sha256, { name, note: `${manifest.name} ${manifest.version}`, sha256, file })
      }
    }
    return [...readings.values()].sort((one, other) => (one.note < other.note ? -1 : 1))
  }

  async #isGood({ file, name, note, sha256 }: Reading, progress: JobProgress): Promise<boolean> {
    progress.signal.throwIfAborted()
    progress.item(name, { state: 'running' })
    const measured = await this.#store.measure(sha256, {
      signal: progress.signal,
      onBytes: (doneBytes) => progress.item(name, { doneBytes }),
    })
    const complaint = measured ? complaintOf(measured, sha256, file) : 'its file is not here'
    progress.item(name, { state: complaint ? 'failed' : 'done', ...(complaint && { note: `${note}: ${complaint}` }) })
    return complaint === undefined
  }

  /** The kept blob that is this file of a held image. */
  #blobOf(manifest: Manifest, fileIndex: number): BlobRef | undefined {
    const sha256 = this.#catalogue.held(manifest.uuid)?.files[fileIndex]?.sha256
    return sha256 === undefined ? undefined : this.#blob(sha256, manifest.files[fileIndex]!.sizeBytes)
  }

  #blob(sha256: string, sizeBytes: number): BlobRef | undefined {
    const blob = this.#atRest.blobs.get(sha256)
    return blob?.sizeBytes === sizeBytes ? asRef(blob) : undefined
  }
}

/** Of one whose fingerprint is lost, a mirror would measure again what is missing here. */
function asRef({ keptMs = 0, md5 = 'unknown', sha1 = 'unknown', sha256, sizeBytes }: RestingBlob): BlobRef {
  return { sizeBytes, sha256, sha1, md5, keptMs }
}

/** What is wrong with a file, or `undefined` for one that is all it was promised to be. */
function complaintOf(
  { chunks, digests, fingerprint, sizeBytes }: MeasuredBlob,
  sha256: string,
  file: Manifest['files'][number],
): string | undefined {
  if (sizeBytes !== file.sizeBytes) return `it has ${sizeBytes} bytes instead of ${file.sizeBytes}`
  const bad = chunks.flatMap((chunk, index) =>
    chunk === undefined || (fingerprint && fingerprint.chunks[index] !== chunk) ? [index] : [],
  )
  const where =
    bad.length > 0 ? `; wrong from byte ${bad[0]! * CHUNK_BYTES}, ${bad.length} of ${chunks.length} MiB` : ''
  if (!digests) return `a part of it cannot be read${where}`
  const promised = [
    { algorithm: 'sha256' as const, hex: sha256 },
    ...file.digests,
    ...(fingerprint ? (['sha1', 'md5'] as const).map((algorithm) => ({ algorithm, hex: fingerprint[algorithm] })) : []),
  ]
  const wrong = promised.find(({ algorithm, hex }) => digests[algorithm] !== hex)
  return wrong && `its ${wrong.algorithm} is ${digests[wrong.algorithm]}, not ${wrong.hex}${where}`
}
