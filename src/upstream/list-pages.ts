import { isMirrorError } from '../errors.js'

/** What was on one page of a list, as far as paging goes. */
export interface Page {
  /** Elements on it. */
  readonly length: number
  /** Images on it that were on no page before. */
  readonly freshCount: number
  readonly last: PagePoint | undefined
  /** The last image that is older than `last`. */
  readonly beforeLast: PagePoint | undefined
  /** Of `publishedMs` of its images; without images, Infinity and -Infinity. */
  readonly earliestMs: number
  readonly latestMs: number
  readonly hasMarker: boolean
}

export interface PagePoint {
  readonly uuid: string
  /** 0 for an image that was never published, as sdc-imgapi sorts it. */
  readonly publishedMs: number
}

export interface PageQuery {
  readonly marker: string
  readonly limit: number
}

/** What imgadm asks for, and the least a server may cut a list at (sdc-imgapi docs/index.md, "ListImages"). */
export const PAGE_LENGTH = 1000
const PAGE_LENGTH_LIMIT = 64 * PAGE_LENGTH
const PAGES_LIMIT = 1000

/**
 * Walks a list page by page until nothing more comes, and answers why it is `incomplete` if the end was not reached.
 *
 * The first request has neither limit nor marker: fewer than 1,000 images are all there are. Then `marker` is the last
 * uuid. Servers differ: sdc-imgapi gives everything at once, its marker is inclusive, goes by date alone, and its order
 * among equal dates changes from call to call; dsapid ignores both parameters and lists newest first; others take a
 * marker as exclusive. So: whatever was seen before does not count; a full page without anything new is asked again
 * longer (a run of equal dates may fill it); a page longer than asked was the whole list anyway.
 *
 * Sources: upstream-quirks of sdc-imgapi 4.13.1 and dsapid 0.7.2 as seen running; imgadm's paging is smartos-live,
 * src/img/node_modules/sdc-clients, `listImages`.
 *
 * @param getPage asked one at a time. Its failures pass through, except that a server which misbehaves after the first
 *   page, because it cannot page, has told us something all the same.
 */
export async function walkPages(
  getPage: (query: PageQuery | undefined) => Promise<Page>,
): Promise<{ incomplete: string | undefined; isInFirstPage: boolean }> {
  let reached = await getPage(undefined)
  let isInFirstPage = true
  const done = (incomplete?: string) => ({ incomplete, isInFirstPage: isInFirstPage && incomplete === undefined })
  if (reached.length < PAGE_LENGTH) return done()

  let limit = PAGE_LENGTH
  let isExclusive = false
  for (let pages = 1; pages < PAGES_LIMIT; pages++) {
    // After an exclusive marker, the rest of its instant would be missed: mark one instant earlier.
    const marker = (isExclusive ? reached.beforeLast : undefined) ?? reached.last
    if (!marker) return done('a full page without a single uuid to go on from')
    const page = await attempt(() => getPage({ marker: marker.uuid, limit }))
    if (typeof page === 'string') return done(page)
    if (page.freshCount > 0) isInFirstPage = false
    if (!page.hasMarker && !isExclusive && reached.beforeLast) {
      isExclusive = true
      continue
    }
    if (page.length < PAGE_LENGTH) return done()
    if (page.freshCount > 0 && page.last?.uuid !== marker.uuid) {
      reached = page
      continue
    }
    if (page.length > limit && page.freshCount === 0) return done()
    if (page.length < limit && page.freshCount === 0) {
      // Asked for more, got 1,000 again, all of them from the marker on and none later than what we had: either the list
      // ends there by chance, or it is cut there.
      const startsAtMarker = page.earliestMs >= marker.publishedMs
      const mayBeCut = page.length === PAGE_LENGTH && startsAtMarker && page.latestMs === reached.last?.publishedMs
      return done(mayBeCut ? `${PAGE_LENGTH} images share one published_at, and it gives no more at once` : undefined)
    }
    limit *= 2
    if (limit > PAGE_LENGTH_LIMIT) return done(`more than ${PAGE_LENGTH_LIMIT} images share one published_at`)
  }
  return done(`it did not end within ${PAGES_LIMIT} pages`)
}

async function attempt(getPage: () => Promise<Page>): Promise<Page | string> {
  try {
    return await getPage()
  } catch (error) {
    if (isMirrorError(error, 'UPSTREAM_MISBEHAVED')) return error.message
    throw error
  }
}
