import type { z } from 'zod'
import type { Path } from './problem.js'

/** A key as the schema knows it, and where it stands. */
export interface KeyPlace {
  readonly path: Path
  /** As declared, with its default and description. */
  readonly schema: z.ZodType
}

/** What is left of a schema without default, optionality and transformation: what the file itself must look like. */
export function bareSchema(schema: z.ZodType): z.ZodType {
  const { def } = schema as unknown as { def: { type: string; innerType?: z.ZodType; in?: z.ZodType } }
  const inner = def.type === 'pipe' ? def.in : def.innerType
  return inner === undefined ? schema : bareSchema(inner)
}

/** The keys of a mapping in the order they were declared; `undefined` for a schema of anything else. */
export function keysOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> | undefined {
  const bare = bareSchema(schema) as unknown as { def: { type: string; shape?: Record<string, z.ZodType> } }
  return bare.def.type === 'object' ? bare.def.shape : undefined
}

/** What a list has in it; `undefined` for a schema of anything else. */
export function elementOf(schema: z.ZodType): z.ZodType | undefined {
  const bare = bareSchema(schema) as unknown as { def: { type: string; element?: z.ZodType } }
  return bare.def.type === 'array' ? bare.def.element : undefined
}

/** The forms among which a value may choose, if there are several. */
export function formsOf(schema: z.ZodType): readonly z.ZodType[] {
  const bare = bareSchema(schema) as unknown as { def: { type: string; options?: readonly z.ZodType[] } }
  return bare.def.type === 'union' ? (bare.def.options ?? []) : [bare as unknown as z.ZodType]
}

/** What a key is when nobody says, in the form of the file; `undefined` if it is nothing then. */
export function defaultOf(schema: z.ZodType): unknown {
  const { def } = schema as unknown as { def: { type: string; defaultValue?: unknown } }
  return def.type === 'default' || def.type === 'prefault' ? def.defaultValue : undefined
}

/** What the file comes to, in its own words: `data` with the defaults of all keys that it does not name. It must be right. */
export function withDefaults(schema: z.ZodType, data: unknown): unknown {
  const value = data ?? defaultOf(schema)
  for (const form of formsOf(schema)) {
    const keys = keysOf(form)
    const element = elementOf(form)
    if (element && Array.isArray(value)) return value.map((item) => withDefaults(element, item))
    if (!keys || !isMapping(value)) continue
    const entries = Object.entries(keys).map(([key, inner]) => [key, withDefaults(inner, value[key])] as const)
    return Object.fromEntries(entries.filter(([, inner]) => inner !== undefined))
  }
  return value
}

/** Every single value in `data` that the schema has a key for, in order. Forms that do not fit `data` are passed over. */
export function* leavesOf(schema: z.ZodType, data: unknown, path: Path = []): Generator<KeyPlace & { value: unknown }> {
  if (data === undefined) return
  for (const form of formsOf(schema)) {
    const keys = keysOf(form)
    const element = elementOf(form)
    if (keys && isMapping(data)) {
      for (const [key, inner] of Object.entries(keys)) {
        if (Object.hasOwn(data, key)) yield* leavesOf(inner, data[key], [...path, key])
      }
    } else if (element && Array.isArray(data)) {
      for (const [index, item] of data.entries()) yield* leavesOf(element, item, [...path, index])
    } else if (!keys && !element) yield { path, schema: form, value: data }
  }
}

export function isMapping(data: unknown): data is Record<string, unknown> {
  return typeof data === 'object' && data !== null && !Array.isArray(data)
}
