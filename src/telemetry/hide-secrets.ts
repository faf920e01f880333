/** Facts whose names promise a secret; none of our own do, but those of an error from a library might. */
const SECRET_NAMES = new Set([
  'password',
  'passphrase',
  'secret',
  'token',
  'key',
  'authorization',
  'Authorization',
  'cookie',
])

/** So deep is looked: the facts, what they are made of, and once more. */
const LEVELS = 3

/**
 * The same facts without the values of those that are named like secrets. They are copied only where there is something to hide: every
 * request is logged, and none of ours has any. (pino's own `redact` costs as much as all the rest of a line.)
 */
export function hideSecrets<Facts>(facts: Facts, levels = LEVELS): Facts {
  if (typeof facts !== 'object' || facts === null || levels === 0) return facts
  const isList = Array.isArray(facts)
  let shown = facts as Record<string, unknown>
  for (const [name, value] of Object.entries(facts)) {
    const told = SECRET_NAMES.has(name) ? '(secret)' : hideSecrets(value, levels - 1)
    if (told === value) continue
    if (shown === facts) shown = (isList ? [...facts] : { ...facts }) as Record<string, unknown>
    shown[name] = told
  }
  return shown as Facts
}
