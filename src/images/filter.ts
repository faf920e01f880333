import { MirrorError } from '../errors.js'
import { closestWord } from '../parts/closest-word.js'
import type { JsonObject } from '../parts/json-object.js'
import { parseSize } from '../parts/parse-size.js'
import type { Manifest } from './manifest.js'
import { MANIFEST_FIELDS } from './validate-manifest.js'

/** Which images an operator means; made by `parseFilter`. */
export interface Filter {
  /** As it was written. */
  readonly text: string
  /** All of them must hold. */
  readonly conditions: readonly Condition[]
}

interface Condition {
  /** The first step is a field of the manifest, on its wire name; the rest is looked up in its value. */
  readonly path: readonly string[]
  readonly holds: (values: readonly unknown[]) => boolean
}

/** Longest filter; operators write lines, not books. */
const MAX_LENGTH = 4096
const OPERATORS = ['!=', '=~', '!~', '>=', '<=', '=']
/** A field, an operator, and a value: in double or single quotes, or without blanks. */
const CONDITION = /^([^\s=!<>~"']+)(!=|=~|!~|>=|<=|=)("[^"]*"|'[^']*'|[^\s"']*)(?=\s|$)\s*/
/** What a filter may ask: all that a served manifest has. */
const FIELDS: readonly string[] = MANIFEST_FIELDS.filter((field) => !['activated', 'error', 'channels'].includes(field))

/**
 * An operator's filter: `name=~base os!=linux files.size<=10GiB`. Conditions stand between blanks, and all must hold.
 *
 * - `=` and `!=` compare as text, case and all; `=~` and `!~` ask for a part of it. `>=` and `<=` compare numbers, sizes
 *   (`10GiB`) and dates (`2020-01-01`, also platforms, `20200101T000000Z`).
 * - A field is any of the manifest, under its wire name; a dot leads into it: `tags.role=os`,
 *   `requirements.min_platform.7.0<=20200101T000000Z`. In an array one match is enough.
 * - `=*` asks whether the field is there, `!=*` whether it is not. `!=` and `!~` are the contraries of `=` and `=~`, and
 *   hold where the field is missing; all others do not.
 * - A value with blanks is put in quotes: `name="my image"`.
 *
 * @throws MirrorError CONFIG_INVALID saying what is wrong and what is right.
 */
export function parseFilter(text: string): Filter {
  if (text.length > MAX_LENGTH) throw invalid(`a filter of ${text.length} characters; the longest is ${MAX_LENGTH}`)
  const conditions: Condition[] = []
  for (let rest = text.trim(); rest !== ''; ) {
    const match = CONDITION.exec(rest)
    if (!match) throw notACondition(rest)
    const [whole, path = '', operator = '', value = ''] = match
    conditions.push(parseCondition(whole.trim(), path, operator, unquote(value)))
    rest = rest.slice(whole.length)
  }
  if (conditions.length === 0) throw invalid('an empty filter; write at least one condition, such as os=smartos')
  return { text, conditions }
}

/** Whether all conditions hold of this image. */
export function matchesFilter({ conditions }: Filter, manifest: Manifest): boolean {
  let parsed: JsonObject | undefined
  const fieldOf = (field: string): unknown => {
    const fact = FACTS.get(field)
    if (fact) return fact(manifest)
    parsed ??= JSON.parse(manifest.json) as JsonObject
    return parsed[field]
  }
  return conditions.every(({ path: [field = '', ...inner], holds }) => holds([...valuesAt(fieldOf(field), inner)]))
}

/** What can be had without parsing the manifest: most filters ask for nothing else. */
const FACTS = new Map<string, (manifest: Manifest) => unknown>([
  ['uuid', ({ uuid }) => uuid],
  ['name', ({ name }) => name],
  ['version', ({ version }) => version],
  ['owner', ({ owner }) => owner],
  ['os', ({ os }) => os],
  ['type', ({ type }) => type],
  ['state', ({ state }) => state],
  ['public', ({ isPublic }) => isPublic],
  ['published_at', ({ publishedAt }) => publishedAt],
  ['origin', ({ origin }) => origin],
])

/** Everything `path` leads to in `value`. Arrays are gone through; a key may itself have dots, as `7.0` has. */
function* valuesAt(value: unknown, path: readonly string[]): Generator<unknown> {
  if (Array.isArray(value)) {
    for (const element of value) yield* valuesAt(element, path)
  } else if (path.length === 0) {
    if (value !== undefined && value !== null) yield value
  } else if (typeof value === 'object' && value !== null) {
    for (let length = 1; length <= path.length; length++) {
      const key = path.slice(0, length).join('.')
      if (Object.hasOwn(value, key)) yield* valuesAt((value as JsonObject)[key], path.slice(length))
    }
  }
}

function parseCondition(written: string, path: string, operator: string, value: string): Condition {
  const steps = path.split('.')
  const [field = ''] = steps
  if (!FIELDS.includes(field)) {
    const meant = closestWord(field, FIELDS)
    const advice = meant ? `did you mean ${meant}?` : `it has ${FIELDS.join(', ')}`
    throw invalid(`${written}: a manifest has no field ${field}; ${advice}`)
  }
  if (steps.includes('')) throw invalid(`${written}: the field ${path} has a dot too many`)
  return { path: steps, holds: parseTest(written, operator, value) }
}

function parseTest(written: string, operator: string, value: string): Condition['holds'] {
  switch (operator) {
    case '=':
      return value === '*' ? isThere : (values) => values.some((each) => asText(each) === value)
    case '!=':
      return not(parseTest(written, '=', value))
    case '=~':
      return (values) => values.some((each) => asText(each).includes(value))
    case '!~':
      return not(parseTest(written, '=~', value))
    case '>=':
      return comparison(written, value, (found, bound) => found >= bound)
    default:
      return comparison(written, value, (found, bound) => found <= bound)
  }
}

function isThere(values: readonly unknown[]): boolean {
  return values.length > 0
}

function not(holds: Condition['holds']): Condition['holds'] {
  return (values) => !holds(values)
}

function asText(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function comparison(written: string, bound: string, holds: (found: number, bound: number) => boolean) {
  const [boundNumber, boundMs] = [parseNumber(bound) ?? parseSize(bound), parseInstant(bound)]
  if (boundNumber === undefined && boundMs === undefined) {
    const right = 'a number, a size such as 10GiB or a date such as 2020-01-01'
    throw invalid(`${written}: ${JSON.stringify(bound)} cannot be compared with; write ${right}`)
  }
  const isWithin = (found: unknown): boolean => {
    const [number, atMs] = [parseNumber(found), parseInstant(found)]
    if (boundMs !== undefined) return atMs !== undefined && holds(atMs, boundMs)
    return number !== undefined && holds(number, boundNumber!)
  }
  return (values: readonly unknown[]) => values.some(isWithin)
}

function parseNumber(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  return typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : undefined
}

const DAY = /^\d{4}-\d\d-\d\d$/
const DAY_AND_TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)Z?$/
const PLATFORM_STAMP = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/

/** Milliseconds of a day, of a day and time, or of a platform stamp; all of them in UTC. */
function parseInstant(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined
  const iso = DAY.test(value)
    ? value
    : value.replace(PLATFORM_STAMP, '$1-$2-$3T$4:$5:$6Z').replace(DAY_AND_TIME, (_, local) => `${local}Z`)
  const atMs = DAY.test(iso) || DAY_AND_TIME.test(iso) ? Date.parse(iso) : Number.NaN
  return Number.isNaN(atMs) ? undefined : atMs
}

function unquote(value: string): string {
  return /^["']/.test(value) ? value.slice(1, -1) : value
}

function notACondition(rest: string): MirrorError {
  const form = `a field, one of ${OPERATORS.join(' ')}, and a value, without blanks in between or in quotes`
  const shown = rest.length > 60 ? `${rest.slice(0, 60)}...` : rest
  return invalid(`at "${shown}": this is no condition; write ${form}: name=~base, name="my image"`)
}

function invalid(message: string): MirrorError {
  return new MirrorError('CONFIG_INVALID', message)
}
