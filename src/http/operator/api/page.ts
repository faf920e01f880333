import { z } from 'zod'

const MOST_ON_A_PAGE = 1000

/** What every endpoint takes that answers a list. */
export const pageQuery = {
  limit: z.coerce
    .number(`right is a number from 1 to ${MOST_ON_A_PAGE}`)
    .int()
    .min(1)
    .max(MOST_ON_A_PAGE)
    .default(MOST_ON_A_PAGE)
    .meta({ description: 'How many at most.' }),
  marker: z.string().max(256).optional().meta({ description: 'What `next` of the page before this one says.' }),
}

/** The shape of a page. `next` is the marker of the page behind it; null on the last one. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.strictObject({ items: z.array(item), next: z.string().nullable() })
}

/**
 * The items behind `marker`, at most `limit`. A marker that has gone in between begins anew, which repeats, but misses nothing.
 * @param markOf what an item is found again by.
 */
export function pageFrom<Item>(
  items: readonly Item[],
  { limit, marker }: { limit: number; marker?: string | undefined },
  markOf: (item: Item) => string,
): { items: Item[]; next: string | null } {
  const start = marker === undefined ? 0 : items.findIndex((item) => markOf(item) === marker) + 1
  const page = items.slice(start, start + limit)
  const isLast = start + limit >= items.length
  return { items: page, next: isLast ? null : markOf(page.at(-1)!) }
}
