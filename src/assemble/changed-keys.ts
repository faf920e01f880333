import type { Config, UpstreamConfig } from '../config.js'
import type { Secret } from '../parts/secret.js'

type Mapping = Readonly<Record<string, unknown>>

/**
 * The keys, as a file has them, that say something else in `after` than in `before`: `refresh`, `log.level`, `upstreams.smartos`.
 * What is in the files that they name counts as far as it is read with the configuration: not for certificates of listeners and
 * what users prove themselves with.
 */
export function changedKeys(before: Config, after: Config): string[] {
  const [one, other] = [wordsOf(before), wordsOf(after)]
  const keys = [...new Set([...one.keys(), ...other.keys()])].filter((key) => one.get(key) !== other.get(key))
  const names = (config: Config) => config.upstreams.map(({ name }) => name).join()
  const isReordered = !keys.some((key) => key.startsWith('upstreams.')) && names(before) !== names(after)
  return isReordered ? [...keys, 'upstreams'] : keys
}

/** Equal for upstreams that one connection can serve: all that counts but how fast it may be, and what becomes of what it says. */
export function upstreamKey(upstream: UpstreamConfig, config: Config): string {
  const { rate: _live, voice: _ours, intoChannels: _alsoOurs, ...words } = asWritten(upstream, config)
  const { bundles, limits, maxAncestry } = config
  const trusted = upstream.type === 'bundle' ? bundles.trustedKeys : undefined
  return JSON.stringify([words, contentsOf(upstream), limits.listBytes, maxAncestry, trusted])
}

/** Keys of which it is enough to know that anything in them has changed. */
const TOLD_WHOLE = ['listen', 'operator', 'publish', 'conflictOverrides', 'rate']

/** What each key says, as a text. */
function wordsOf(config: Config): ReadonlyMap<string, string> {
  const words = new Map<string, string>()
  for (const [key, value] of Object.entries(config.settings as Mapping)) {
    if (key === 'upstreams') continue
    if (!isMapping(value) || TOLD_WHOLE.includes(key)) words.set(key, JSON.stringify(value))
    else for (const [inner, each] of Object.entries(value)) words.set(`${key}.${inner}`, JSON.stringify(each))
  }
  for (const upstream of config.upstreams) {
    words.set(`upstreams.${upstream.name}`, JSON.stringify([asWritten(upstream, config), contentsOf(upstream)]))
  }
  const { bundles, operatorAccess, publish } = config
  words.set('bundles.trustedKeys', JSON.stringify([words.get('bundles.trustedKeys'), bundles.trustedKeys]))
  const hashes = publish.users.flatMap(({ passwordHash, tokenHash }) => [passwordHash, tokenHash].map(textOf))
  words.set('publish', JSON.stringify([words.get('publish'), publish.ca, hashes]))
  words.set(
    'operatorAccess.tokenFile',
    JSON.stringify([words.get('operatorAccess.tokenFile'), textOf(operatorAccess.token)]),
  )
  words.set('operatorAccess.clientCa', JSON.stringify([words.get('operatorAccess.clientCa'), operatorAccess.clientCa]))
  return words
}

function asWritten({ name }: UpstreamConfig, { settings }: Config): Mapping {
  const { upstreams } = settings as { readonly upstreams: readonly Mapping[] }
  return upstreams.find((upstream) => upstream.name === name) ?? {}
}

/** What stands in the files that it names. */
function contentsOf({ ca, cert, dockerConfig, key, password }: UpstreamConfig): readonly (string | undefined)[] {
  return [ca, cert, textOf(key), textOf(password), textOf(dockerConfig)]
}

function textOf(secret: Secret | undefined): string | undefined {
  return secret?.reveal()
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
