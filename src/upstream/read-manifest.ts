import type { Statement } from '../images/claim.js'
import { type Filter, matchesFilter } from '../images/filter.js'
import { parseManifest } from '../images/parse-manifest.js'
import type { Reading } from './listing-builder.js'

/** The gate of the images room, in the words of this one. */
export function readManifest(value: unknown, options: { allowMissingDigest: boolean }): Reading {
  const parsed = parseManifest(value, { allowMissingDigest: options.allowMissingDigest })
  return parsed.ok ? parsed.statement : { reason: parsed.reason }
}

/** Images pass that match one of `include`, if there are any, and none of `exclude`. */
export function admitsBy(include: readonly Filter[], exclude: readonly Filter[]): (statement: Statement) => boolean {
  return ({ manifest }) =>
    (include.length === 0 || include.some((filter) => matchesFilter(filter, manifest))) &&
    !exclude.some((filter) => matchesFilter(filter, manifest))
}
