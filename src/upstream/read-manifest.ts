import type { LeftOut, Statement } from '../images/claim.js'
import { type Filter, matchesFilter } from '../images/filter.js'
import { parseManifest } from '../images/parse-manifest.js'
import type { Reading } from './listing-builder.js'

/** The gate of the images room, in the words of this one. */
export function readManifest(value: unknown, options: { allowMissingDigest: boolean }): Reading {
  const parsed = parseManifest(value, { allowMissingDigest: options.allowMissingDigest })
  return parsed.ok ? parsed.statement : { reason: parsed.reason }
}

/** Remembered of what is left out: enough for any catalogue that was seen, and no more than some 10 MB. */
const LEFT_OUT_LIMIT = 50_000

/** What `include` and `exclude` of an upstream let through. */
export class Selection {
  readonly #include: readonly Filter[]
  readonly #exclude: readonly Filter[]

  constructor({ include, exclude }: { readonly include: readonly Filter[]; readonly exclude: readonly Filter[] }) {
    this.#include = include
    this.#exclude = exclude
  }

  /** Images pass that match one of `include`, if there are any, and none of `exclude`. Says why this one does not. */
  whyLeftOut({ manifest }: Statement): string | undefined {
    const excluding = this.#exclude.find((filter) => matchesFilter(filter, manifest))
    if (excluding) return `exclude: "${excluding.text}"`
    if (this.#include.length === 0 || this.#include.some((filter) => matchesFilter(filter, manifest))) return undefined
    return `none of include: ${this.#include.map(({ text }) => `"${text}"`).join(', ')}`
  }

  /** A whole list, and what is left out of it. */
  narrow(all: Iterable<Statement>): { readonly statements: Statement[]; readonly leftOut: LeftOut[] } {
    const statements: Statement[] = []
    const leftOut: LeftOut[] = []
    for (const statement of all) {
      const reason = this.whyLeftOut(statement)
      if (reason === undefined) statements.push(statement)
      else if (leftOut.length < LEFT_OUT_LIMIT) {
        const { name, uuid, version } = statement.manifest
        leftOut.push({ uuid, name, version, reason })
      }
    }
    return { statements, leftOut }
  }
}
