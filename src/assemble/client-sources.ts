import type { Config } from '../config.js'
import { isMirrorError } from '../errors.js'
import { parseRegistryAddress, type RegistryAddress } from '../images/docker/registry-address.js'
import type { PublishingRules } from '../mirror/publishing/publisher.js'
import type { RegistryCredentials } from '../mirror/publishing/sources.js'
import type { Log } from '../parts/log.js'
import { steadyPlan } from '../parts/rate-plan.js'
import type { Bandwidth } from '../upstream/bandwidth.js'
import { makeUpstream, type UpstreamOptions } from '../upstream/make-upstream.js'
import { openUrl } from '../upstream/open-url.js'
import type { RegistryMemory, RegistryObject } from '../upstream/registry-upstream.js'
import type { Upstream } from '../upstream/upstream.js'
import type { UpstreamCounters } from '../upstream/upstream-counters.js'

export interface ClientSourcesOptions {
  readonly config: Config
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly counters: UpstreamCounters
  readonly totalBandwidth: Bandwidth
  /** How we name ourselves in Via. */
  readonly instance: string
  readonly log: Log
  readonly version: string
}

/** As for an upstream of which nothing is said. */
const TIMEOUTS = { connectMs: 10_000, headersMs: 60_000, stallMs: 30_000 }
/** One file, and questions beside it. */
const CONNECTIONS = 4

/**
 * Servers that clients may name to have images fetched: those that `publish.sources` names, and our upstreams, which are asked as we
 * ask them, credentials and all. `undefined` offline.
 */
export function clientSources(given: ClientSourcesOptions): PublishingRules['sources'] {
  const { config } = given
  if (config.isOffline) return undefined
  // A directory has no origin.
  const upstreams = config.upstreams.flatMap(({ url }) => (url.protocol === 'file:' ? [] : url.origin))
  return {
    origins: new Set([...upstreams, ...config.publish.sources]),
    openSource: (url) => makeUpstream(optionsFor(url, given)),
    openRegistry: (host, credentials) => openRegistry(host, credentials, given),
    openUrl: (url, signal) => openUrl(optionsFor(url, given), signal),
  }
}

function optionsFor(
  url: URL,
  { config, counters, environment, instance, log, totalBandwidth, version }: ClientSourcesOptions,
): UpstreamOptions {
  const known = config.upstreams.find((upstream) => upstream.url.origin === url.origin)
  return {
    name: `source ${url.host}`,
    type: 'imgapi',
    url,
    include: [],
    exclude: [],
    username: known?.username,
    password: known?.password?.reveal(),
    ca: known ? known.ca : config.publish.ca,
    cert: known?.cert,
    key: known?.key?.reveal(),
    insecure: known?.insecure ?? false,
    // An upstream is where the operator says it is, and so is a source that configuration calls by its address.
    isPublicOnly: !known && !config.publish.privateAddresses,
    timeouts: known?.timeouts ?? TIMEOUTS,
    fileHosts: known?.fileHosts ?? [],
    connections: CONNECTIONS,
    allowMissingDigest: false,
    limits: config.limits,
    rate: known?.rate ?? steadyPlan('unlimited'),
    totalBandwidth,
    counters,
    environment,
    instance,
    log,
    version,
  }
}

/** A registry that is an upstream, or that `publish.sources` names by its origin. */
function openRegistry(
  host: string,
  credentials: RegistryCredentials | undefined,
  given: ClientSourcesOptions,
): Upstream | undefined {
  const { config } = given
  const known = config.upstreams.find(({ type, url }) => type === 'docker' && addressOf(url.href)?.host === host)
  const named = config.publish.sources.map(addressOf).find((address) => address?.host === host)
  const address = known ? addressOf(known.url.href) : named
  if (!address) return undefined
  const plain = optionsFor(known?.url ?? new URL(address.url), given)
  // What a client proves takes the place of what we would.
  const asUs = { username: plain.username, password: plain.password, dockerConfig: known?.dockerConfig?.reveal() }
  return makeUpstream({
    ...plain,
    name: `registry ${host}`,
    type: 'docker',
    url: known?.url ?? new URL(address.url),
    authHosts: known?.authHosts ?? [],
    ...(known && { platform: known.platform }),
    registryMemory: () => new OneImageMemory(),
    ...(credentials ? asClient(host, credentials) : asUs),
  })
}

function asClient(host: string, credentials: RegistryCredentials) {
  const nobody = { username: undefined, password: undefined, dockerConfig: undefined }
  if ('username' in credentials) return { ...nobody, ...credentials }
  const auths = { [host]: { auth: NO_USER, identitytoken: credentials.identityToken } }
  return { ...nobody, dockerConfig: JSON.stringify({ auths }) }
}

/** As docker writes it beside a token: `00000000-0000-0000-0000-000000000000:`. */
const NO_USER = Buffer.from('00000000-0000-0000-0000-000000000000:').toString('base64')

function addressOf(url: string): RegistryAddress | undefined {
  try {
    return parseRegistryAddress(url)
  } catch (error) {
    if (!isMirrorError(error, 'QUERY_INVALID')) throw error
    return undefined
  }
}

/** An index, manifests and a config, as long as one import takes. */
class OneImageMemory implements RegistryMemory {
  readonly #objects = new Map<string, RegistryObject>()

  async get(digest: string): Promise<RegistryObject | undefined> {
    return this.#objects.get(digest)
  }

  async keep(_repository: string, object: RegistryObject): Promise<void> {
    this.#objects.set(object.digest, object)
  }
}
