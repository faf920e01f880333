import { isMapping } from './walk-schema.js'

const HIDDEN_KEYS = ['passwordHash', 'tokenHash']

/** What a config that is printed says instead of a hash, from which the password could be guessed at leisure. */
const HIDDEN = '(not shown)'

/** A copy in which hashes of passwords and tokens are not shown. */
export function withoutHashes(data: unknown): unknown {
  if (Array.isArray(data)) return data.map(withoutHashes)
  if (!isMapping(data)) return data
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, HIDDEN_KEYS.includes(key) ? HIDDEN : withoutHashes(value)]),
  )
}
