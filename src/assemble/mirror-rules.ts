import type { Config } from '../config.js'
import { parseRegistryAddress } from '../images/docker/registry-address.js'
import { Channels } from '../mirror/channels.js'
import type { MirrorRules } from '../mirror/pull-through-mirror.js'
import { diskSizeBytes } from '../parts/disk-size.js'
import type { GuardedUpstream } from '../upstream/guarded-upstream.js'
import { type ClientSourcesOptions, clientSources } from './client-sources.js'
import { policiesOf } from './policies-of.js'

/** How long clients who have bytes already wait for an upstream that is away; never longer than for one that is silent. */
const AWAY_PATIENCE_MS = 5_000

/** What a configuration says to the mirror, in the mirror's words: all that may change while it runs. */
export function mirrorRules(upstreams: readonly GuardedUpstream[], given: ClientSourcesOptions): MirrorRules {
  const { config, totalBandwidth } = given
  const fillings = config.upstreams.map(
    ({ name, channel, intoChannels }) => [name, { channel, into: intoChannels }] as const,
  )
  return {
    upstreams,
    connections: new Map(config.upstreams.map(({ name, connections }) => [name, connections])),
    awayPatienceMs: new Map(
      config.upstreams.map(({ name, timeouts }) => [name, Math.min(AWAY_PATIENCE_MS, timeouts.stallMs)]),
    ),
    precedence: config.upstreams.map(({ name }) => name),
    registries: config.upstreams.flatMap(({ platform, type, url }) =>
      type === 'docker' ? [{ host: parseRegistryAddress(url.href).host, platform }] : [],
    ),
    registryLimitBytes: config.limits.manifestBytes,
    channels: new Channels(config.channels, new Map(fillings)),
    withdrawn: config.withdrawn,
    policies: policiesOf(config),
    refreshMs: config.refreshMs,
    holdbackBytes: config.holdbackBytes,
    firstAnswerWaitMs: config.firstAnswerWaitMs,
    missTtlMs: config.missTtlMs,
    maxAncestry: config.maxAncestry,
    maxLayerBytes: config.limits.layerBytes,
    keeping: {
      quotaBytes: () => quotaBytes(config),
      pins: config.pins,
      scrub: config.scrub,
      verifyOnRead: config.verifyOnRead,
    },
    prewarming: {
      policies: config.prewarm,
      lines: () => ({
        total: totalBandwidth.plan,
        upstreams: new Map(upstreams.map(({ name, ratePlan }) => [name, ratePlan])),
      }),
    },
    publishing: { mode: config.mode, sources: clientSources(given) },
  }
}

async function quotaBytes({ dataDirectory, quota }: Config): Promise<number | undefined> {
  if (!quota) return undefined
  return 'bytes' in quota ? quota.bytes : Math.floor(quota.share * (await diskSizeBytes(dataDirectory)))
}
