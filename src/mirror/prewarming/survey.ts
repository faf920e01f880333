import { ancestryOf } from '../../images/ancestry.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { BlobRef } from '../../store/blob-store.js'
import type { Store } from '../../store/store.js'
import type { Catalogue } from '../catalogue.js'
import { type Flights, keyOfExpected, keyOfFile } from '../flights.js'
import type { Room } from '../keeping/room.js'
import type { Goal, PlanQuestion, WantedFile, WantedImage } from './plan.js'
import type { FetchTerms, Lines } from './schedule.js'
import { type Selection, wantedImages } from './wanted-images.js'

export interface SurveyorOptions {
  readonly catalogue: Catalogue
  readonly store: Pick<Store, 'blobs'>
  readonly flights: Flights
  readonly room: Room
  readonly maxAncestry: () => number
  /** What clients may list, and a number that changes with it. */
  readonly listed: () => { readonly manifests: readonly Manifest[]; readonly revision: number }
  readonly blobOf: (manifest: Manifest, fileIndex: number) => BlobRef | undefined
  readonly lines: () => Lines
}

/** A file, and where to ask for it. */
export interface SurveyedFile extends WantedFile {
  readonly manifest: Manifest
  readonly fileIndex: number
}

interface SurveyedImage extends WantedImage {
  readonly manifest: Manifest
  readonly files: readonly SurveyedFile[]
  /** An origin of which nobody has told us. */
  readonly missingOrigin: Uuid | undefined
}

interface SurveyedGoal extends Goal {
  readonly images: readonly SurveyedImage[]
}

/** What there is to plan with, as it is at one moment. */
export interface Survey extends PlanQuestion {
  readonly goals: readonly SurveyedGoal[]
}

export interface Wish {
  readonly policy: string
  readonly selection: Selection
  readonly terms: FetchTerms
}

/** Looks at what is wanted, what of it is here, and whence the rest would come. Asks nobody outside. */
export class Surveyor {
  readonly #options: SurveyorOptions
  /** What is wanted changes with the catalogue only, and filters may have to parse every manifest. */
  readonly #wanted = new WeakMap<Selection, { readonly revision: number; readonly manifests: readonly Manifest[] }>()

  constructor(options: SurveyorOptions) {
    this.#options = options
  }

  async survey(wishes: readonly Wish[], nowMs: number): Promise<Survey> {
    const { lines, room } = this.#options
    const { roomBytes, staying } = await room.bounds()
    const looked = new Map<Uuid, readonly SurveyedFile[]>()
    const begun = this.#begunBytes()
    const goals = wishes.map(({ policy, selection, terms }) => ({
      policy,
      terms,
      images: this.#wantedBy(selection).map((manifest) => this.#lookAt(manifest, looked, begun)),
    }))
    return { goals, lines: lines(), roomBytes, staying, nowMs }
  }

  #wantedBy(selection: Selection): readonly Manifest[] {
    const { manifests, revision } = this.#options.listed()
    const known = this.#wanted.get(selection)
    if (known?.revision === revision) return known.manifests
    const found = { revision, manifests: wantedImages(selection, manifests) }
    this.#wanted.set(selection, found)
    return found.manifests
  }

  #lookAt(
    manifest: Manifest,
    looked: Map<Uuid, readonly SurveyedFile[]>,
    begun: ReadonlyMap<string, number>,
  ): SurveyedImage {
    const { catalogue, maxAncestry } = this.#options
    const { broken, images, missing } = ancestryOf(manifest, (uuid) => catalogue.find(uuid), maxAncestry())
    const files = images.toReversed().flatMap((image) => {
      const known = looked.get(image.uuid) ?? this.#filesOf(image, begun)
      looked.set(image.uuid, known)
      return known
    })
    const orphan = files.find(({ missingBytes, offeredBy }) => missingBytes > 0 && offeredBy.length === 0)
    const obstacle =
      broken?.message ??
      (missing && `image ${missing}, which it builds on, is unknown`) ??
      (orphan && `nobody offers the file of image ${orphan.manifest.uuid}`)
    return { uuid: manifest.uuid, manifest, files, obstacle, missingOrigin: missing }
  }

  #filesOf(manifest: Manifest, begun: ReadonlyMap<string, number>): SurveyedFile[] {
    const { blobOf, catalogue } = this.#options
    const { upstreams } = this.#options.lines()
    const offeredBy = catalogue
      .offersOf(manifest.uuid)
      .map(({ upstream }) => upstream)
      .filter((name) => upstreams.has(name))
    return manifest.files.map(({ sizeBytes }, fileIndex) => {
      const blob = blobOf(manifest, fileIndex)
      const key = blob?.sha256 ?? keyOfFile(manifest, fileIndex)
      // A file of which all bytes are here is still to be verified: the last one is counted as missing.
      const missingBytes = blob ? 0 : Math.max(1, sizeBytes - (begun.get(key) ?? 0))
      return { key, sizeBytes, missingBytes, offeredBy, manifest, fileIndex }
    })
  }

  /** What is here of files that are not whole, by their key. */
  #begunBytes(): ReadonlyMap<string, number> {
    const { flights, store } = this.#options
    const begun = new Map<string, number>()
    for (const { expected, sizeOnDiskBytes } of store.blobs.suspended()) {
      const key = keyOfExpected(expected)
      if (key !== undefined) begun.set(key, sizeOnDiskBytes)
    }
    for (const flight of flights.all()) begun.set(keyOfFile(flight.manifest, flight.fileIndex), flight.receivedBytes)
    return begun
  }
}
