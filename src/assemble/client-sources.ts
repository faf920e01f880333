import type { Config } from '../config.js'
import type { PublishingRules } from '../mirror/publishing/publisher.js'
import type { Log } from '../parts/log.js'
import { steadyPlan } from '../parts/rate-plan.js'
import type { Bandwidth } from '../upstream/bandwidth.js'
import { makeUpstream, type UpstreamOptions } from '../upstream/make-upstream.js'
import { openUrl } from '../upstream/open-url.js'
import type { UpstreamCounters } from '../upstream/upstream-counters.js'

export interface ClientSourcesOptions {
  readonly config: Config
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly counters: UpstreamCounters
  readonly totalBandwidth: Bandwidth
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
  const upstreams = config.upstreams.map(({ url }) => url.origin)
  return {
    origins: new Set([...upstreams, ...config.publish.sources]),
    openSource: (url) => makeUpstream(optionsFor(url, given)),
    openUrl: (url, signal) => openUrl(optionsFor(url, given), signal),
  }
}

function optionsFor(
  url: URL,
  { config, counters, environment, log, totalBandwidth, version }: ClientSourcesOptions,
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
    log,
    version,
  }
}
