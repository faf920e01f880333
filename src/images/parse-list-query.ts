import { MirrorError } from '../errors.js'
import type { ListQuery, TextMatch } from './list-query.js'
import { parseUuid } from './uuid.js'
import { IMAGE_STATES, looseBoolean } from './validate-manifest.js'
import type { Viewer } from './viewer.js'

const STATES = [...IMAGE_STATES, 'all'] as const
const TAG_PREFIX = 'tag.'

/**
 * What the query string of ListImages asks for. Parameters it does not know are ignored, as the reference does; a
 * filter given twice finds nothing there, and so here, except `billing_tag` and different `tag.KEY`.
 *
 * Source: sdc-imgapi, lib/images.js, `apiListImages`; the messages are its own. It dies on `public=maybe` and calls the
 * field of a bad limit "state": we do not.
 *
 * @throws MirrorError QUERY_INVALID with the field, UNAUTHORIZED for what only authenticated clients may ask.
 */
export function parseListQuery(params: URLSearchParams, viewer: Viewer): ListQuery {
  const hasAdminFields = parseAdminFields(params, viewer)
  const filters = ['name', 'version', 'os', 'owner', 'type', 'account']
  return {
    viewer,
    hasAdminFields,
    state: parseState(joined(params, 'state')),
    name: parseText(params.get('name')),
    version: parseText(params.get('version')),
    os: params.get('os') ?? undefined,
    owner: params.get('owner') ?? undefined,
    type: parseType(params.get('type')),
    isPublic: parsePublic(joined(params, 'public')),
    tags: [...params]
      .filter(([name]) => name.startsWith(TAG_PREFIX))
      .map(([name, value]) => ({ key: name.slice(TAG_PREFIX.length), value })),
    billingTags: params.getAll('billing_tag'),
    account: params.get('account') || undefined,
    limit: parseLimit(joined(params, 'limit')),
    marker: parseMarker(joined(params, 'marker')),
    isDescending: parseSort(joined(params, 'sort')),
    isEmpty: filters.some((name) => params.getAll(name).length > 1),
  }
}

/** Of a parameter given twice both values, which together are none that is allowed. */
function joined(params: URLSearchParams, name: string): string | undefined {
  return params.has(name) ? params.getAll(name).join(',') : undefined
}

/**
 * `inclAdminFields=true` asks for what only those are told who have proved who they are.
 *
 * @throws MirrorError UNAUTHORIZED for anybody else, QUERY_INVALID when it is no boolean.
 */
export function parseAdminFields(params: URLSearchParams, { isKnown }: Viewer): boolean {
  const value = joined(params, 'inclAdminFields')
  if (value === undefined) return false
  const isWanted = looseBoolean(value)
  if (isWanted === undefined) throw notABoolean('inclAdminFields', value)
  if (!isWanted || isKnown) return isWanted
  throw new MirrorError('UNAUTHORIZED', 'Unauthorized (auth required to use "inclAdminFields" parameter)')
}

function parseState(value: string | undefined): ListQuery['state'] {
  if (!value) return 'active'
  return STATES.find((state) => state === value) ?? refuse('state', `invalid state: "${value}"`)
}

function parseText(value: string | null): TextMatch | undefined {
  if (value === null) return undefined
  const isSubstring = value.startsWith('~')
  return { text: isSubstring ? value.slice(1) : value, isSubstring }
}

function parseType(value: string | null): ListQuery['type'] {
  if (value === null) return undefined
  const isExcluded = value.startsWith('!')
  return { value: isExcluded ? value.slice(1) : value, isExcluded }
}

function parsePublic(value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined
  const isPublic = looseBoolean(value)
  if (isPublic === undefined) throw notABoolean('public', value)
  return isPublic
}

/** A number in any form JavaScript reads; fractions are cut, and 0 is no limit. */
function parseLimit(value: string | undefined): number | undefined {
  const limit = Number(value ?? '')
  if (Number.isNaN(limit)) return refuse('limit', `invalid limit: "${value}"`)
  return limit === 0 ? undefined : Math.trunc(limit)
}

function parseMarker(value: string | undefined): ListQuery['marker'] {
  if (!value) return undefined
  const uuid = parseUuid(value)
  if (uuid) return { uuid }
  const atMs = Date.parse(value)
  if (!Number.isNaN(atMs)) return { atMs }
  return refuse('marker', `invalid value for "marker" param: "${value}" is not a UUID or date string`)
}

/** Whether the order is descending: any suffix but asc means that. */
function parseSort(value: string | undefined): boolean {
  if (!value) return false
  const [attribute, direction = 'asc'] = value.split('.')
  if (attribute !== 'published_at') {
    return refuse('sort', `invalid 'sort': not a valid sorting attribute: '${attribute}'`)
  }
  return direction !== 'asc' && direction !== 'ASC'
}

function notABoolean(field: string, value: string): MirrorError {
  return invalid(field, `invalid value for "${field}" param: "${value}" is not a boolean`)
}

function refuse(field: string, message: string): never {
  throw invalid(field, message)
}

function invalid(field: string, message: string): MirrorError {
  return new MirrorError('QUERY_INVALID', message, { fields: [{ field, code: 'Invalid' }] })
}
