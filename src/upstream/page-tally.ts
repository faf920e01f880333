import type { Uuid } from '../images/uuid.js'
import type { Page, PagePoint } from './list-pages.js'

/** Counts what is on a page of a list while it arrives. */
export class PageTally implements Page {
  length = 0
  freshCount = 0
  last: PagePoint | undefined
  beforeLast: PagePoint | undefined
  earliestMs = Number.POSITIVE_INFINITY
  latestMs = Number.NEGATIVE_INFINITY
  hasMarker = false
  readonly #markerUuid: string | undefined
  readonly #uuids = new Set<Uuid>()

  constructor(markerUuid: string | undefined) {
    this.#markerUuid = markerUuid
  }

  /** Notes an image, in the page's order. */
  pass(uuid: Uuid, publishedMs: number, isFresh: boolean): void {
    if (isFresh) this.freshCount += 1
    if (uuid === this.#markerUuid) this.hasMarker = true
    if (this.last && this.last.publishedMs < publishedMs) this.beforeLast = this.last
    this.last = { uuid, publishedMs }
    this.earliestMs = Math.min(this.earliestMs, publishedMs)
    this.latestMs = Math.max(this.latestMs, publishedMs)
    this.#uuids.add(uuid)
  }

  has(uuid: Uuid): boolean {
    return this.#uuids.has(uuid)
  }
}
