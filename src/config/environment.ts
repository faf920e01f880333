import { parse } from 'yaml'
import type { z } from 'zod'
import { closestWord } from '../parts/closest-word.js'
import { formatPath, type Path } from './problem.js'
import { elementOf, isMapping, type KeyPlace, keysOf } from './walk-schema.js'

const PREFIX = 'IMGAPI_MIRROR_'

/** For commands that ask a mirror: where it is. No key of a mirror's own. */
const NOT_KEYS: readonly string[] = ['IMGAPI_MIRROR_URL']

/** How many upstreams the environment may add to those of the file. */
const MOST_ADDED = 16

export interface Overridden {
  /** `data` with the variables' values in it; the original is left alone. */
  readonly data: unknown
  /** Which variable a path was set by, by `formatPath`. */
  readonly variables: ReadonlyMap<string, string>
  /** About variables that set nothing, in whole sentences. */
  readonly complaints: readonly string[]
}

/**
 * Sets single keys from environment variables. A variable is called like its key: IMGAPI_MIRROR_ and then the path in
 * upper case, words joined by `_`, entries of a list of mappings by their place from 0 or by their name:
 * `IMGAPI_MIRROR_MISS_TTL`, `IMGAPI_MIRROR_UPSTREAMS_0_URL`, `IMGAPI_MIRROR_UPSTREAMS_SMARTOS_TIMEOUTS_STALL`. Its value is read
 * as YAML, so lists and mappings can be set whole. An empty variable counts as not set, as container tools hand
 * such on.
 */
export function applyEnvironment(
  schema: z.ZodType,
  data: unknown,
  environment: Readonly<Record<string, string | undefined>>,
): Overridden {
  const overridden = structuredClone(data)
  const places = new Map(variablesFor(schema, data))
  const variables = new Map<string, string>()
  const complaints: string[] = []

  // Sorted, a whole (..._UPSTREAMS) comes before its parts (..._UPSTREAMS_0_URL), which are then set into it.
  for (const [variable, text] of Object.entries(environment).sort()) {
    if (!variable.startsWith(PREFIX) || text === undefined || text === '') continue
    if (NOT_KEYS.includes(variable)) continue
    const place = places.get(variable)
    if (!place) {
      const meant = closestWord(variable, places.keys())
      complaints.push(`environment variable ${variable}: no key is called so${meant ? `; did you mean ${meant}?` : ''}`)
      continue
    }
    const key = formatPath(place.path)
    const earlier = variables.get(key)
    if (earlier) {
      complaints.push(`environment variable ${variable}: sets ${key}, which ${earlier} sets too; keep one of them`)
      continue
    }
    variables.set(key, variable)
    setAt(overridden, place.path, readValue(place.schema, text))
  }
  return { data: overridden, variables, complaints }
}

/** Every variable there could be, with what it sets. */
function variablesFor(schema: z.ZodType, data: unknown): [string, KeyPlace][] {
  const found = new Map<string, KeyPlace>()
  const queue: { variable: string; place: KeyPlace; data: unknown }[] = [
    { variable: PREFIX.slice(0, -1), place: { path: [], schema }, data },
  ]
  for (const { variable, place, data } of queue) {
    if (place.path.length > 0 && !found.has(variable)) found.set(variable, place)
    for (const [word, step, inner] of stepsFrom(place.schema, data)) {
      const innerData = isMapping(data) || Array.isArray(data) ? (data as Record<string, unknown>)[step] : undefined
      const next = { path: [...place.path, step], schema: inner }
      queue.push({ variable: `${variable}_${word}`, place: next, data: innerData })
    }
  }
  return [...found]
}

function stepsFrom(schema: z.ZodType, data: unknown): [word: string, step: string | number, schema: z.ZodType][] {
  const keys = keysOf(schema)
  if (keys) return Object.entries(keys).map(([key, inner]) => [wordOf(key), key, inner])

  const element = elementOf(schema)
  if (!element || !keysOf(element)) return []
  const entries = Array.isArray(data) ? data : []
  const byPlace = Array.from({ length: entries.length + MOST_ADDED }, (_, index): [string, number, z.ZodType] => [
    String(index),
    index,
    element,
  ])
  const names = entries.map((entry) => (isMapping(entry) && typeof entry.name === 'string' ? wordOf(entry.name) : ''))
  // Two upstreams whose names make the same word can only be meant by their places.
  const byName = names.flatMap((word, index): [string, number, z.ZodType][] =>
    word !== '' && names.filter((other) => other === word).length === 1 ? [[word, index, element]] : [],
  )
  return [...byPlace, ...byName]
}

/** `missTtl` -> `MISS_TTL`, `smartos.org` -> `SMARTOS_ORG`. */
function wordOf(name: string): string {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replaceAll(/[^A-Za-z0-9]/g, '_')
    .toUpperCase()
}

/** As YAML, unless the key only takes the text as it stands: a user called 007, an address in brackets. */
function readValue(schema: z.ZodType, text: string): unknown {
  let value: unknown = text
  try {
    value = parse(text, { maxAliasCount: 100 })
  } catch {
    return text
  }
  return !schema.safeParse(value).success && schema.safeParse(text).success ? text : value
}

function setAt(data: unknown, path: Path, value: unknown): void {
  let container = data
  for (const [depth, step] of path.entries()) {
    // Something else stands where a mapping belongs: that is complained about where it stands.
    if (typeof container !== 'object' || container === null) return
    const steps = container as Record<string | number, unknown>
    if (depth === path.length - 1) steps[step] = value
    else steps[step] ??= typeof path[depth + 1] === 'number' ? [] : {}
    container = steps[step]
  }
}
