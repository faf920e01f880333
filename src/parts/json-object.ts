/** What JSON calls an object: neither null nor an array. Nothing is known of its values. */
export type JsonObject = { readonly [key: string]: unknown }

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Whether objects and arrays in `value` are nested more than `levels` deep. Ask this before anything recursive touches
 * JSON from outside: JSON.parse takes any depth, JSON.stringify ends the stack on it.
 */
export function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (levels === 0) return true
  return Object.values(value).some((inner) => isDeeperThan(inner, levels - 1))
}

/** `value` as JSON for a message, cut to a length a log line can bear. */
export function brief(value: unknown, maxLength = 80): string {
  const text = isDeeperThan(value, 8) ? 'something deeply nested' : (JSON.stringify(value) ?? String(value))
  return text.length > maxLength ? `${text.slice(0, maxLength)}...` : text
}
