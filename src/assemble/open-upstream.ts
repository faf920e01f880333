import { TrustedKeys } from '../bundle/trusted-keys.js'
import type { Config, UpstreamConfig } from '../config.js'
import type { Store } from '../store/store.js'
import type { GuardedUpstream } from '../upstream/guarded-upstream.js'
import { makeUpstream, type UpstreamOptions } from '../upstream/make-upstream.js'
import type { RegistryMemory } from '../upstream/registry-upstream.js'

/** What all upstreams are given alike. */
export type CommonToUpstreams = Pick<
  UpstreamOptions,
  'counters' | 'environment' | 'instance' | 'log' | 'totalBandwidth' | 'version'
>

/** @throws MirrorError CONFIG_INVALID for a url, certificates or proxies that cannot be used. */
export function openUpstream(
  upstream: UpstreamConfig,
  { bundles, limits: { listBytes }, maxAncestry }: Config,
  { registry }: Pick<Store, 'registry'>,
  common: CommonToUpstreams,
): GuardedUpstream {
  const { connections, dockerConfig, intoChannels: _ours, voice: _theirs, key, password, requests, ...plain } = upstream
  return makeUpstream({
    ...plain,
    // One is kept free of files; what one file may have must fit beside it.
    connections: Math.max(requests, connections + 1),
    key: key?.reveal(),
    password: password?.reveal(),
    dockerConfig: dockerConfig?.reveal(),
    limits: { listBytes },
    maxAncestry,
    trust: TrustedKeys.of(bundles.trustedKeys),
    registryMemory: (host) => memoryOf(registry, host),
    ...common,
  })
}

/** What the upstream room calls a memory, in the words of the store. */
function memoryOf(registry: Store['registry'], host: string): RegistryMemory {
  return {
    async get(digest) {
      const kept = await registry.object(digest)
      return kept && { ...kept, sizeBytes: kept.bytes.length }
    },
    keep: (repository, { bytes, digest, mediaType }) =>
      registry.keepObject(host, repository, { bytes, digest, mediaType }),
  }
}
