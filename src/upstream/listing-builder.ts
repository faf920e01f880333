import type { SetAside, Statement } from '../images/claim.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import type { JsonElement } from './json-array.js'
import type { Page } from './list-pages.js'
import { PageTally } from './page-tally.js'

/** Kept of what is set aside: a list that is all rubbish needs no longer proof. */
const SET_ASIDE_LIMIT = 1_000

/** What a manifest says, or why it is none we can use. */
export type Reading = Statement | { readonly reason: string }

/** Gathers one listing from the elements of its pages. An image that comes again on a later page does not count. */
export class ListingBuilder {
  readonly #read: (value: unknown) => Reading
  readonly #known = new Set<Uuid>()
  readonly #statements = new Map<Uuid, Statement>()
  readonly #setAside: SetAside[] = []
  #setAsideCount = 0
  #namelessCount = 0
  #page = new PageTally(undefined)
  #namelessOnPage: SetAside[] = []
  #namelessOnPageCount = 0

  constructor(read: (value: unknown) => Reading) {
    this.#read = read
  }

  /** By uuid, as listed: no filter has been applied. */
  get statements(): ReadonlyMap<Uuid, Statement> {
    return this.#statements
  }

  get setAside(): SetAside[] {
    const left = this.#setAsideCount - this.#setAside.length
    return left > 0 ? [...this.#setAside, { what: `${left} more`, reason: 'too many to name' }] : [...this.#setAside]
  }

  /** Images listed, usable or not. */
  get listedCount(): number {
    return this.#known.size + this.#namelessCount
  }

  startPage(markerUuid?: string): void {
    this.#page = new PageTally(markerUuid)
    this.#namelessOnPage = []
    this.#namelessOnPageCount = 0
  }

  add(element: JsonElement): void {
    this.#page.length += 1
    const uuid = 'value' in element ? parseUuid(fieldOf(element.value, 'uuid')) : undefined
    if (!uuid || !('value' in element)) {
      this.#namelessOnPageCount += 1
      if (this.#namelessOnPage.length < SET_ASIDE_LIMIT) {
        this.#namelessOnPage.push({ what: `#${element.index}`, reason: this.#reasonOf(element) })
      }
      return
    }
    const isFresh = !this.#known.has(uuid)
    if (isFresh) this.#keep(uuid, this.#read(element.value))
    else if (this.#page.has(uuid)) this.#compare(uuid, this.#read(element.value))
    this.#known.add(uuid)
    this.#page.pass(uuid, publishedMsOf(element.value), isFresh)
  }

  endPage(): Page {
    // A page that only repeats others repeats their faults too.
    const isRepeated = this.#page.freshCount === 0 && this.listedCount > 0
    if (!isRepeated) {
      this.#namelessCount += this.#namelessOnPageCount
      this.#setAsideCount += this.#namelessOnPageCount - this.#namelessOnPage.length
      for (const fault of this.#namelessOnPage) this.#putAside(fault)
    }
    return this.#page
  }

  #keep(uuid: Uuid, reading: Reading): void {
    if ('reason' in reading) this.#putAside({ what: uuid, reason: reading.reason })
    else this.#statements.set(uuid, reading)
  }

  #compare(uuid: Uuid, reading: Reading): void {
    const first = this.#statements.get(uuid)
    if (!first || 'reason' in reading || first.manifest.json === reading.manifest.json) return
    this.#putAside({ what: uuid, reason: 'is listed twice, differently; the first one stands' })
  }

  #reasonOf(element: JsonElement): string {
    if ('fault' in element) return element.fault
    const reading = this.#read(element.value)
    return 'reason' in reading ? reading.reason : 'has no uuid'
  }

  #putAside(fault: SetAside): void {
    this.#setAsideCount += 1
    if (this.#setAside.length < SET_ASIDE_LIMIT) this.#setAside.push(fault)
  }
}

/** As the upstream sorts: never published is before everything. */
function publishedMsOf(value: unknown): number {
  const publishedAt = fieldOf(value, 'published_at')
  const ms = typeof publishedAt === 'string' ? Date.parse(publishedAt) : Number.NaN
  return Number.isNaN(ms) ? 0 : ms
}

function fieldOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined
}
