import { createHash } from 'node:crypto'
import type { Filter } from '../images/filter.js'
import { isJsonObject } from '../parts/json-object.js'
import type { Answer } from './http-client.js'
import type { UpstreamOptions } from './upstream-options.js'

/**
 * What makes a list unchanged for us: the server says so, and we ask, read and narrow it as we did then. `scope` stands
 * for the second half; with another one the list is fetched afresh.
 */
export function listingValidatorOf(answer: Pick<Answer, 'header'>, scope: string): string | undefined {
  const etag = printable(answer.header('etag'))
  const lastModified = printable(answer.header('last-modified'))
  return etag || lastModified ? JSON.stringify({ scope, etag, lastModified }) : undefined
}

/** The headers that make a request conditional; none when the validator is missing, foreign, or of another scope. */
export function conditionsOf(validator: string | undefined, scope: string): Record<string, string> {
  const kept = parse(validator)
  if (!isJsonObject(kept) || kept.scope !== scope) return {}
  return {
    ...(typeof kept.etag === 'string' && { 'if-none-match': kept.etag }),
    ...(typeof kept.lastModified === 'string' && { 'if-modified-since': kept.lastModified }),
  }
}

/** A short name for everything that decides what a list becomes here: another release may read it another way. */
export function scopeOf({ include, exclude, allowMissingDigest, version }: UpstreamOptions, url: string): string {
  const textsOf = (filters: readonly Filter[]) => filters.map(({ text }) => text)
  const circumstances = JSON.stringify([url, textsOf(include), textsOf(exclude), allowMissingDigest, version])
  return createHash('sha256').update(circumstances).digest('hex').slice(0, 16)
}

function parse(validator: string | undefined): unknown {
  try {
    return JSON.parse(validator ?? 'null')
  } catch {
    return undefined
  }
}

function printable(value: string | undefined): string | undefined {
  return value !== undefined && /^[\x20-\x7e]{1,256}$/.test(value) ? value : undefined
}
