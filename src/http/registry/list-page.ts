import type { Context } from '../every-request.js'
import { invalid } from './registry-answers.js'

/**
 * The part of a sorted list that the query asks for: `n` entries at most, those behind `last`. Where there are more, the
 * header `Link` says how to ask for them.
 *
 * @param path of the list as clients see it, for the link. Whole: some know no relative ones.
 * @param usual how many entries without `n`.
 * @throws RegistryRefusal 400 PAGINATION_NUMBER_INVALID.
 */
export function pageOf(
  context: Context,
  entries: readonly string[],
  { path, usual }: { path: string; usual?: number },
): readonly string[] {
  const query = new URLSearchParams(context.querystring)
  const count = countOf(query.get('n')) ?? usual ?? entries.length
  const last = query.get('last') ?? ''
  const rest = last === '' ? entries : entries.filter((entry) => entry > last)
  const page = rest.slice(0, count)
  const end = page.at(-1)
  if (end !== undefined && rest.length > page.length) {
    const next = new URLSearchParams({ last: end, n: String(count) })
    const namespace = query.get('ns')
    if (namespace) next.set('ns', namespace)
    context.set('Link', `<${path}?${next}>; rel="next"`)
  }
  return page
}

function countOf(text: string | null): number | undefined {
  if (text === null || text === '') return undefined
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw invalid('PAGINATION_NUMBER_INVALID', `n is no number of entries: ${JSON.stringify(text.slice(0, 100))}`)
}
