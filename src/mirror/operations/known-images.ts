import { setImmediate as nextTurn } from 'node:timers/promises'
import { isMirrorError, MirrorError } from '../../errors.js'
import { ancestryOf } from '../../images/ancestry.js'
import { type Filter, matchesFilter } from '../../images/filter.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { JsonObject } from '../../parts/json-object.js'
import type { BlobRef, BlobStore } from '../../store/blob-store.js'
import type { LedgerEntry } from '../../store/ledger-store.js'
import type { Catalogue } from '../catalogue.js'
import { cameBy } from './came-by.js'
import type { AncestryAnswer, ClaimFacts, HeldFileFacts, ImageDetails, ImageRow, Page } from './image-answers.js'
import type { Pins } from './pins.js'

export interface KnownImagesOptions {
  readonly store: { readonly blobs: Pick<BlobStore, 'lastUsedMs'> }
  readonly catalogue: Catalogue
  readonly pins: Pick<Pins, 'isPinned' | 'of'>
  readonly maxAncestry: number
  /** What we have of an image, asked of upstreams if need be. */
  readonly find: (uuid: Uuid, signal: AbortSignal) => Promise<Manifest | undefined>
  /** The kept blob that is this file, if any. */
  readonly blobOf: (manifest: Manifest, fileIndex: number) => BlobRef | undefined
  /** When it was last read from end to end and found right. */
  readonly lastCheckMs: (sha256: string) => number | undefined
  /** The newest entries of the ledger about an image, so many as are looked at for the bundle that it came by. */
  readonly entriesAbout: (uuid: Uuid) => Promise<readonly LedgerEntry[]>
}

export interface ImageQuery {
  readonly isHeld: boolean | undefined
  readonly isPinned: boolean | undefined
  readonly filter: Filter | undefined
  readonly limit: number
  /** The uuid of the last image of the page before. */
  readonly marker: string | undefined
}

/** Images looked at between two turns of the event loop: a filter may have to parse each manifest. */
const IMAGES_A_TURN = 500

/** What we know of images, for operators: also those that clients are not shown. */
export class KnownImages {
  readonly #options: KnownImagesOptions
  /** All of them in order, as long as nothing changes. */
  #sorted: { readonly changes: number; readonly manifests: readonly Manifest[] } | undefined

  constructor(options: KnownImagesOptions) {
    this.#options = options
  }

  /** By name, then date, then uuid. A marker that has gone in between begins anew. */
  async list({ isHeld, isPinned, filter, limit, marker }: ImageQuery): Promise<Page<ImageRow>> {
    const manifests = this.#inOrder()
    const start = marker === undefined ? 0 : manifests.findIndex(({ uuid }) => uuid === marker) + 1
    const items: ImageRow[] = []
    for (let place = start; place < manifests.length; place++) {
      if (place % IMAGES_A_TURN === IMAGES_A_TURN - 1) await nextTurn()
      const manifest = manifests[place]!
      if (isHeld !== undefined && this.isHeld(manifest) !== isHeld) continue
      if (isPinned !== undefined && this.#options.pins.isPinned(manifest) !== isPinned) continue
      if (filter && !matchesFilter(filter, manifest)) continue
      // One more than asked for: there is a next page.
      if (items.length === limit) return { items, next: items.at(-1)!.uuid }
      items.push(this.row(manifest))
    }
    return { items, next: null }
  }

  /** All that match, for work on many at once; in order. */
  async select(filter: Filter | undefined): Promise<readonly Manifest[]> {
    const selected: Manifest[] = []
    for (const [place, manifest] of this.#inOrder().entries()) {
      if (place % IMAGES_A_TURN === IMAGES_A_TURN - 1) await nextTurn()
      if (!filter || matchesFilter(filter, manifest)) selected.push(manifest)
    }
    return selected
  }

  /** @throws MirrorError IMAGE_UNKNOWN. */
  async get(uuid: Uuid, signal: AbortSignal): Promise<Manifest> {
    const manifest = await this.#options.find(uuid, signal)
    if (!manifest) throw new MirrorError('IMAGE_UNKNOWN', `image ${uuid} not found`)
    return manifest
  }

  /** @throws MirrorError IMAGE_UNKNOWN, STORE_BROKEN. */
  async show(uuid: Uuid, signal: AbortSignal): Promise<ImageDetails> {
    const { catalogue, pins } = this.#options
    const manifest = await this.get(uuid, signal)
    const conflicts = catalogue.conflicts().filter((conflict) => conflict.uuid === uuid)
    return {
      ...this.row(manifest),
      manifest: JSON.parse(manifest.json) as JsonObject,
      claims: catalogue.claimsOf(uuid).map((claim): ClaimFacts => {
        const [file] = claim.manifest.files
        return {
          upstream: claim.upstream,
          isListed: claim.isListed,
          firstHeardMs: claim.firstHeardMs,
          lastHeardMs: claim.lastHeardMs,
          withdrawnMs: claim.withdrawnMs ?? null,
          sha1: file?.digests.find(({ algorithm }) => algorithm === 'sha1')?.hex ?? null,
          sizeBytes: file?.sizeBytes ?? null,
        }
      }),
      conflicts: conflicts.map(({ uuid: _same, ...facts }) => facts),
      pins: pins.of(manifest),
      cameBy: catalogue.held(uuid) ? await this.#cameBy(uuid) : null,
      files: this.#heldFiles(manifest),
    }
  }

  async #cameBy(uuid: Uuid): Promise<ImageDetails['cameBy']> {
    try {
      return cameBy(await this.#options.entriesAbout(uuid))
    } catch (error) {
      // What the disk does not give cannot be told; everything else can.
      if (!isMirrorError(error, 'STORE_BROKEN')) throw error
      return null
    }
  }

  /** Its origins are asked of the upstreams, if nobody has told us of them. @throws MirrorError IMAGE_UNKNOWN. */
  async ancestry(uuid: Uuid, signal: AbortSignal): Promise<AncestryAnswer> {
    const { images, missing, broken } = await this.ancestryOf(await this.get(uuid, signal), signal)
    return {
      images: images.map((manifest) => this.row(manifest)),
      missing: missing ?? null,
      broken: broken?.message ?? null,
      bytesToPull: images.reduce((sum, manifest) => sum + this.#bytesToPull(manifest), 0),
    }
  }

  /** As `images/ancestry.ts` says it, with what can be had from upstreams. */
  async ancestryOf(leaf: Manifest, signal: AbortSignal): Promise<ReturnType<typeof ancestryOf>> {
    const { catalogue, find, maxAncestry } = this.#options
    for (;;) {
      const ancestry = ancestryOf(leaf, (uuid) => catalogue.find(uuid), maxAncestry)
      if (ancestry.missing === undefined || !(await find(ancestry.missing, signal))) return ancestry
    }
  }

  /** Written down as held, and all its files are here. */
  isHeld(manifest: Manifest): boolean {
    const { blobOf, catalogue } = this.#options
    const isWrittenDown = catalogue.held(manifest.uuid) !== undefined
    return isWrittenDown && manifest.files.every((_, index) => blobOf(manifest, index) !== undefined)
  }

  /** How many are; those that are being published here have no file yet, and are not among them. */
  countHeld(): number {
    let held = 0
    for (const manifest of this.#options.catalogue.all()) {
      if (manifest.files.length > 0 && this.isHeld(manifest)) held++
    }
    return held
  }

  row(manifest: Manifest): ImageRow {
    const { blobOf, catalogue, pins, store } = this.#options
    const { uuid, name, version, os, type, state, isPublic, publishedAt, origin, files } = manifest
    const held = this.isHeld(manifest) ? catalogue.held(uuid) : undefined
    const publishedMs = publishedAt === undefined ? Number.NaN : Date.parse(publishedAt)
    const reads = held
      ? files.map((_, index) => store.blobs.lastUsedMs(blobOf(manifest, index)?.sha256 ?? '') ?? 0)
      : []
    return {
      uuid,
      name,
      version,
      os,
      type,
      state,
      isPublic,
      publishedMs: Number.isNaN(publishedMs) ? null : publishedMs,
      origin: origin ?? null,
      sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      isHeld: held !== undefined,
      isPinned: pins.isPinned(manifest),
      upstream: this.#upstreamOf(manifest),
      heldSinceMs: held?.heldSinceMs ?? null,
      lastReadMs: Math.max(0, ...reads) || null,
    }
  }

  #upstreamOf({ uuid, json }: Manifest): string {
    const held = this.#options.catalogue.held(uuid)
    if (held?.publication) return 'published here'
    const claim = this.#options.catalogue.claimsOf(uuid).find(({ manifest }) => manifest.json === json)
    return claim?.upstream ?? held?.upstream ?? ''
  }

  #heldFiles(manifest: Manifest): HeldFileFacts[] {
    const { blobOf, catalogue, lastCheckMs } = this.#options
    const files = catalogue.held(manifest.uuid)?.files ?? []
    return files.flatMap(({ extents }, index) => {
      const blob = manifest.files[index] && blobOf(manifest, index)
      if (!blob) return []
      const { sizeBytes, sha256, sha1, md5, keptMs } = blob
      return {
        index,
        sizeBytes,
        sha256,
        sha1,
        md5,
        keptMs,
        checkedMs: lastCheckMs(sha256) ?? null,
        extents: extents.map(({ startBytes, endBytes, upstream }) => ({ startBytes, endBytes, upstream })),
      }
    })
  }

  #bytesToPull(manifest: Manifest): number {
    const absent = manifest.files.filter((_, index) => !this.#options.blobOf(manifest, index))
    return absent.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  }

  #inOrder(): readonly Manifest[] {
    const { catalogue } = this.#options
    if (this.#sorted?.changes !== catalogue.changes) {
      this.#sorted = { changes: catalogue.changes, manifests: [...catalogue.all()].sort(byNameDateAndUuid) }
    }
    return this.#sorted.manifests
  }
}

function byNameDateAndUuid(one: Manifest, other: Manifest): number {
  return (
    compare(one.name, other.name) ||
    compare(one.publishedAt ?? '', other.publishedAt ?? '') ||
    compare(one.uuid, other.uuid)
  )
}

function compare(one: string, other: string): number {
  return one < other ? -1 : Number(one > other)
}
