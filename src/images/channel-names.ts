/** sdc-imgapi, lib/channels.js, `CHANNEL_NAME_RE`; the limit is ours. */
export const CHANNEL_NAME = /^[a-z][a-z0-9_-]{0,63}$/

/** Of one image. A server with more channels than this has not been seen. */
const MAX_CHANNELS = 64

/** Most images are in the channels of many others: so many different sets are shared, and later ones are not. */
const SHARED_SETS = 1_000

const shared = new Map<string, readonly string[]>()

/**
 * The channels a manifest names, in its order, without those that cannot be names. `undefined` if it names none, as manifests
 * of servers without channels do.
 */
export function readChannels(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined
  const names = value.slice(0, MAX_CHANNELS).filter((name) => typeof name === 'string' && CHANNEL_NAME.test(name))
  return shareChannels(names)
}

/** The same array for the same names in the same order, without duplicates; so that 100,000 images cost a handful of arrays. */
export function shareChannels(names: readonly string[]): readonly string[] {
  const key = names.join(' ')
  const known = shared.get(key)
  if (known) return known
  const channels = Object.freeze([...new Set(names)])
  if (shared.size < SHARED_SETS) shared.set(key, channels)
  return channels
}
