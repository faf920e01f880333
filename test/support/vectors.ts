import { readFileSync } from 'node:fs'

/** One section of test/vectors/test-vectors.json: facts measured on reference servers and libraries. */
export function vectors<Section>(name: string): Section {
  return expand(VECTORS[name]) as Section
}

const VECTORS = JSON.parse(readFileSync(new URL('../vectors/test-vectors.json', import.meta.url), 'utf8'))

/** Long texts are written `{"$repeat": [char, count]}` and `{"$concat": [part, ...]}`. */
function expand(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(expand)
  if (typeof value !== 'object' || value === null) return value
  if ('$repeat' in value) {
    const [character, count] = value.$repeat as [string, number]
    return character.repeat(count)
  }
  if ('$concat' in value) return (value.$concat as unknown[]).map(expand).join('')
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, expand(inner)]))
}
