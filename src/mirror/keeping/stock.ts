import { ancestryOf } from '../../images/ancestry.js'
import { strongestDigest } from '../../images/digest.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import { sumOf } from '../../parts/sum-of.js'
import type { BlobRef, ExpectedBlob, SuspendedBlob } from '../../store/blob-store.js'
import type { Store } from '../../store/store.js'
import type { Catalogue } from '../catalogue.js'
import { type Kept, type KeptImage, type Stray, stayingImages } from './eviction-plan.js'

export interface StockOptions {
  readonly store: Pick<Store, 'blobs' | 'images'>
  readonly catalogue: Catalogue
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
}

/** Why an image never leaves. */
export interface ImagePin {
  /** Who said so: `configuration`, or an operator. */
  readonly by: string
  /** The filter of the configuration, or the operator's reason; in words. */
  readonly text: string
}

/** What comes by another road than flights, and in its own time: on media that people carry. */
export interface Awaited {
  /** Files by their sha256: what is left of them is gone on with, however old it is, and those that are whole do not leave. */
  readonly sha256s: ReadonlySet<string>
  /** What these build on is about to be needed. */
  readonly manifests: readonly Manifest[]
}

/** For whom stock is taken. */
export interface StockQuestion {
  /** Uuids of images, and sha256 of strays, that turned out to be in use. */
  readonly busy?: ReadonlySet<Uuid | string>
  /** What is left of a file, and is about to be gone on with. */
  readonly own?: SuspendedBlob | undefined
  /** Instead of the one that stock was built with. */
  readonly isWanted?: StockOptions['isWanted']
}

interface ImagesHere {
  readonly images: readonly KeptImage[]
  /** The size of every blob that is a file of one of them, by sha256. */
  readonly sizes: ReadonlyMap<string, number>
}

const NOTHING_AWAITED: Awaited = { sha256s: new Set(), manifests: [] }
const NOBODY: ReadonlySet<string> = new Set()

/** What is kept here, and what of it may leave at this moment. In memory; takes time for images, and for no more strays than are asked for. */
export class Stock {
  readonly #options: StockOptions
  #awaited: () => Awaited = () => NOTHING_AWAITED

  constructor(options: StockOptions) {
    this.#options = options
  }

  /** @param awaited asked whenever somebody is to leave. */
  await(awaited: () => Awaited): void {
    this.#awaited = awaited
  }

  take({ busy = NOBODY, isWanted = this.#options.isWanted, own }: StockQuestion = {}): Kept {
    const awaited = this.#awaited()
    const { images, sizes } = this.#imagesHere(awaited, busy, isWanted)
    return { images, strays: this.#strays(sizes, awaited, busy), leftovers: this.#leftovers(own) }
  }

  /** What images take that must stay, and what may leave, leftovers aside. */
  measure(): { readonly pinnedBytes: number; readonly evictableBytes: number } {
    const awaited = this.#awaited()
    const { images, sizes } = this.#imagesHere(awaited, NOBODY, this.#options.isWanted)
    const uuids = stayingImages(images)
    const staying = new Map(sizesOf(images.filter(({ uuid }) => uuids.has(uuid))))
    const pinnedBytes = sumOf(staying.values())
    return { pinnedBytes, evictableBytes: sumOf(sizes.values()) - pinnedBytes + this.#strayBytes(sizes, awaited) }
  }

  /** Which leftovers are gone on with some day, however old they are. */
  areAwaited(): (left: ExpectedBlob) => boolean {
    const { sha256s } = this.#awaited()
    return ({ digests }) => digests.some(({ algorithm, hex }) => algorithm === 'sha256' && sha256s.has(hex))
  }

  areAwaitedOrWanted(): (left: ExpectedBlob) => boolean {
    const isAwaited = this.areAwaited()
    return (left) => isAwaited(left) || this.#options.isWantedFile(left)
  }

  /** Whether somebody needs one of these files, or this image, by now: for one that was free to leave a moment ago. */
  isNeeded(uuid: Uuid | undefined, sha256s: readonly string[]): boolean {
    const awaited = this.#awaited()
    if (sha256s.some((sha256) => awaited.sha256s.has(sha256))) return true
    const manifest = uuid && this.#options.catalogue.find(uuid)
    if (!manifest) return false
    return this.#options.pinOf(manifest) !== undefined || this.#neededFor(awaited).has(manifest.uuid)
  }

  /** Looked for one after the other, as there may be a million. */
  *#strays(
    ofImages: ReadonlyMap<string, number>,
    awaited: Awaited,
    busy: ReadonlySet<Uuid | string>,
  ): Generator<Stray> {
    const { blobs, images } = this.#options.store
    if (ofImages.size === blobs.keptCount) return
    const mayLeave = (sha256: string) => !ofImages.has(sha256) && !busy.has(sha256) && !awaited.sha256s.has(sha256)
    const uses = this.#dockerUses()
    const ofDocker = [...uses].flatMap(([sha256, lastUsedMs]): Stray[] => {
      const ref = mayLeave(sha256) ? this.#find(sha256) : undefined
      return ref ? [{ sha256, sizeBytes: ref.sizeBytes, lastUsedMs, isOfDocker: true }] : []
    })
    ofDocker.sort((one, other) => one.lastUsedMs - other.lastUsedMs)
    let at = 0
    // Nobody knows which files an image has whose record cannot be read: any that seems to be nobody's may be one of them.
    for (const { atMs, sha256, sizeBytes } of images.damaged().length > 0 ? [] : blobs.inOrderOfUse()) {
      if (uses.has(sha256) || !mayLeave(sha256)) continue
      while (at < ofDocker.length && ofDocker[at]!.lastUsedMs < atMs) yield ofDocker[at++]!
      yield { sha256, sizeBytes, lastUsedMs: atMs }
    }
    yield* ofDocker.slice(at)
  }

  /** All strays that may leave: what is no image's, without looking at each. */
  #strayBytes(ofImages: ReadonlyMap<string, number>, awaited: Awaited): number {
    const { blobs, images } = this.#options.store
    if (images.damaged().length > 0) {
      return sumOf([...this.#strays(ofImages, awaited, NOBODY)].map(({ sizeBytes }) => sizeBytes))
    }
    const staying = [...awaited.sha256s].filter((sha256) => !ofImages.has(sha256))
    const stayingBytes = sumOf(staying.map((sha256) => this.#find(sha256)?.sizeBytes ?? 0))
    return blobs.keptBytes - sumOf(ofImages.values()) - stayingBytes
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
    const isAwaited = this.areAwaited()
    const left = [...this.#options.store.blobs.suspended()]
      .filter(({ expected }) => !isAwaited(expected))
      .map(({ expected, sizeOnDiskBytes, touchedMs }) => ({
        sizeBytes: sizeOnDiskBytes,
        touchedMs,
        isWanted: this.#options.isWantedFile(expected),
      }))
    return own ? left.filter(({ touchedMs }) => touchedMs < own.touchedMs) : left
  }

  /** Images that somebody is about to build on. */
  #neededFor(awaited: Awaited): ReadonlySet<Uuid> {
    const { store, underWay } = this.#options
    const needed = new Set([...underWay(), ...awaited.manifests].flatMap((image) => this.#ancestorsOf(image)))
    for (const { manifest, publication } of store.images.all()) {
      if (publication) for (const each of this.#ancestorsOf(manifest)) needed.add(each)
    }
    return needed
  }

  #imagesHere(awaited: Awaited, busy: ReadonlySet<Uuid | string>, isWanted: StockOptions['isWanted']): ImagesHere {
    const { catalogue, pinOf, store } = this.#options
    const needed = this.#neededFor(awaited)
    const images: KeptImage[] = []
    const sizes = new Map<string, number>()
    const add = (manifest: Manifest, refs: readonly BlobRef[]) => {
      const { uuid } = manifest
      // Of what was published here there may be no other copy in the world.
      const isOurs = store.images.get(uuid)?.publication !== undefined
      // What was made here of a layer that imgadm cannot unpack costs more than its fetching, each time anew.
      const isMade = catalogue.originalsOf(uuid).some(({ withdrawnMs }) => withdrawnMs === undefined)
      const isAwaited = refs.some(({ sha256 }) => awaited.sha256s.has(sha256))
      const isNeeded = needed.has(uuid) || isAwaited || pinOf(manifest) !== undefined
      const mustStay = isOurs || isMade || busy.has(uuid) || isNeeded
      const lastUsedMs = Math.max(0, ...refs.map(({ sha256 }) => store.blobs.lastUsedMs(sha256) ?? 0))
      const ancestors = this.#ancestorsOf(manifest)
      images.push({ uuid, ancestors, blobs: refs, lastUsedMs, mustStay, isWanted: isWanted(uuid) })
      for (const { sha256, sizeBytes } of refs) sizes.set(sha256, sizeBytes)
    }
    const added = new Set<Uuid>()
    for (const { files, manifest } of store.images.all()) {
      const refs = files.flatMap(({ sha256 }) => this.#find(sha256) ?? [])
      if (refs.length === 0) continue
      added.add(manifest.uuid)
      add(catalogue.find(manifest.uuid) ?? manifest, refs)
    }
    // An image of which only some files have come yet is nowhere written down as held.
    if (sizes.size === store.blobs.keptCount) return { images, sizes }
    for (const manifest of catalogue.all()) {
      if (added.has(manifest.uuid)) continue
      const refs = manifest.files.flatMap(({ digests, sizeBytes }) => {
        const digest = strongestDigest(digests)
        return (digest && store.blobs.find(digest, sizeBytes)) ?? []
      })
      if (refs.length > 0) add(manifest, refs)
    }
    return { images, sizes }
  }

  /** None of a chain that is a ring or endless: it is refused to whoever asks, and nobody can need it. */
  #ancestorsOf(manifest: Manifest): readonly Uuid[] {
    const { images, missing, broken } = ancestryOf(manifest, (uuid) => this.#options.catalogue.find(uuid))
    if (broken) return []
    const known = images.slice(1).map(({ uuid }) => uuid)
    return missing ? [...known, missing] : known
  }

  #find(sha256: string): BlobRef | undefined {
    return this.#options.store.blobs.find({ algorithm: 'sha256', hex: sha256 })
  }
}

function* sizesOf(images: readonly KeptImage[]): Generator<[string, number]> {
  for (const { blobs } of images) for (const { sha256, sizeBytes } of blobs) yield [sha256, sizeBytes]
}
