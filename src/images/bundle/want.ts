import { isMirrorError } from '../../errors.js'
import { parseFilter } from '../filter.js'
import { parseUuid, type Uuid } from '../uuid.js'

/** What somebody at the other side of an air gap wants, whether they have some of it or not. */
export type Want =
  | { readonly kind: 'image'; readonly uuid: Uuid }
  /** Filters as in `imgapi-mirror list`, and of what they match the `latest` newest per name. */
  | { readonly kind: 'select'; readonly filters: readonly string[]; readonly latest: number | undefined }

export const WANT_FORM = 'a uuid, a filter such as "name=~base os=smartos", or "newest 2 of name=~base"'

/** `<uuid>`, `<filter>`, `all of <filter>`, `newest 2 of <filter>`; without a filter, `all` and `newest 2`. `undefined` for anything else. */
export function parseWant(text: string): Want | undefined {
  const uuid = parseUuid(text)
  if (uuid) return { kind: 'image', uuid }
  const [prefix, latest] = /^(?:all|newest ([1-9]\d{0,5}))(?: of |$)/.exec(text) ?? []
  const filter = text.slice(prefix?.length ?? 0)
  const isAll = prefix !== undefined && filter === ''
  // Filters that must all match are one filter with all of their conditions.
  if (!isAll && !isFilter(filter)) return undefined
  return { kind: 'select', filters: isAll ? [] : [filter], latest: latest === undefined ? undefined : Number(latest) }
}

/** As `parseWant` reads it. */
export function formatWant(want: Want): string {
  if (want.kind === 'image') return want.uuid
  const which = want.latest === undefined ? 'all' : `newest ${want.latest}`
  return want.filters.length === 0 ? which : `${which} of ${want.filters.join(' ')}`
}

function isFilter(text: string): boolean {
  try {
    parseFilter(text)
    return true
  } catch (error) {
    if (!isMirrorError(error)) throw error
    return false
  }
}
