import { readFileSync } from 'node:fs'

const DOCUMENT = readFileSync(new URL('../../docs/imgapi.md', import.meta.url), 'utf8')

/** The keys of the rows of docs/imgapi.md, "Intended differences", each with its whole row. */
export const INTENDED: ReadonlyMap<string, string> = new Map(
  [...DOCUMENT.matchAll(/^\| `([a-z0-9-]+)` +\|.*$/gm)].map(([row, key = '']) => [key, row]),
)
