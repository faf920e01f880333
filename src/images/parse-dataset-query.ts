import type { ListQuery } from './list-query.js'
import { parseListQuery } from './parse-list-query.js'
import type { Viewer } from './viewer.js'

/** What a DSAPI list may be asked for. */
export interface DatasetQuery {
  readonly images: ListQuery
  /** Private images of which v1 says that this account may have them. */
  readonly restrictedTo: string | undefined
}

/** DSAPI's filters, by the names IMGAPI has for them. */
const FILTERS = new Map([
  ['name', 'name'],
  ['version', 'version'],
  ['type', 'type'],
  ['os', 'os'],
  ['creator_uuid', 'owner'],
])

/**
 * The filters of a DSAPI list: exact ones, as sdc-clients (lib/dsapi.js) means them, and a leading `~` for "contains", which
 * no value begins with, as dsapid and IMGAPI have it. Whatever else is asked for is ignored: DSAPI knows no paging.
 */
export function parseDatasetQuery(params: URLSearchParams, viewer: Viewer): DatasetQuery {
  const known = new URLSearchParams()
  for (const [name, value] of params) {
    const filter = FILTERS.get(name)
    if (filter !== undefined) known.append(filter, value)
  }
  const restrictedTo = params.get('restricted_to_uuid') ?? undefined
  const images = parseListQuery(known, viewer)
  const isTwice = params.getAll('restricted_to_uuid').length > 1
  return { images: { ...images, isEmpty: images.isEmpty || isTwice }, restrictedTo }
}
