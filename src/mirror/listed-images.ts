import type { Manifest } from '../images/manifest.js'
import type { Catalogue } from './catalogue.js'
import type { ImageList } from './mirror.js'

export interface ListedImagesOptions {
  readonly catalogue: Catalogue
  readonly isOffline: boolean
  /** Whether all its files are kept. */
  readonly isWhole: (manifest: Manifest) => boolean
  /** The longest ancestry that is followed, in images. */
  readonly maxAncestry: () => number
}

/** How long the list of what is complete is believed when nothing seems to have changed. */
const COMPLETE_TTL_MS = 1_000

interface CompleteImages extends ImageList {
  /** The catalogue's revision it was made of. */
  readonly basis: number
  /** By the steady clock. */
  readonly lookedUpMs: number
}

/** What clients may list: all that is known and offered; offline, what is here with all that it builds on. */
export class ListedImages {
  readonly #options: ListedImagesOptions
  #complete: CompleteImages | undefined

  constructor(options: ListedImagesOptions) {
    this.#options = options
  }

  /** What they may list now, and a number that changes with it. */
  now(): ImageList {
    const { catalogue, isOffline } = this.#options
    return isOffline ? this.#completeNow() : { manifests: catalogue.listed(), revision: catalogue.revision }
  }

  /** The rules are others. */
  change(): void {
    this.#complete = undefined
  }

  /**
   * Looked up in the store for every image, so only when something may have changed, or after a while: what the store finds damaged
   * it puts away without telling us.
   */
  #completeNow(): CompleteImages {
    const { catalogue, isWhole, maxAncestry } = this.#options
    const basis = catalogue.revisionOfComplete
    const known = this.#complete
    const nowMs = performance.now()
    if (known?.basis === basis && nowMs - known.lookedUpMs < COMPLETE_TTL_MS) return known
    const manifests = catalogue.listedAndComplete(isWhole, maxAncestry())
    const isSame = known !== undefined && isSameList(known.manifests, manifests)
    const revision = isSame ? known.revision : (known?.revision ?? 0) + 1
    this.#complete = { manifests, revision, basis, lookedUpMs: nowMs }
    return this.#complete
  }
}

function isSameList(one: readonly Manifest[], other: readonly Manifest[]): boolean {
  if (one.length !== other.length) return false
  return one.every(({ json, channels }, place) => {
    const counterpart = other[place]!
    return json === counterpart.json && channels?.join() === counterpart.channels?.join()
  })
}
