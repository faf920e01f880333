import { hash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { clientSources } from './assemble/client-sources.js'
import type { Running } from './cli/surroundings.js'
import { type Config, describeConfig, type Listen, type UpstreamConfig } from './config.js'
import { MirrorError } from './errors.js'
import { UserAuthenticator } from './http/auth/user-authenticator.js'
import { makeClientApp } from './http/client-app.js'
import { listen, type OpenListener, type SecureAddress } from './http/listener.js'
import type { OperatorAccess } from './http/operator/operator-access.js'
import { makeOperatorApp } from './http/operator/operator-app.js'
import { parseRegistryAddress } from './images/docker/registry-address.js'
import { Channels } from './mirror/channels.js'
import { ConflictPolicies } from './mirror/conflict-policies.js'
import { PullThroughMirror } from './mirror/pull-through-mirror.js'
import { hashOfToken } from './parts/access-token.js'
import { systemClock } from './parts/clock.js'
import { diskSizeBytes } from './parts/disk-size.js'
import type { Log } from './parts/log.js'
import { steadyPlan } from './parts/rate-plan.js'
import { openStore } from './store/open-store.js'
import type { RegistryStore } from './store/registry-store.js'
import type { Store } from './store/store.js'
import { Counters } from './telemetry/counters.js'
import { Bandwidth } from './upstream/bandwidth.js'
import type { GuardedUpstream } from './upstream/guarded-upstream.js'
import { makeUpstream } from './upstream/make-upstream.js'
import type { RegistryMemory } from './upstream/registry-upstream.js'

export interface AssembleOptions {
  readonly config: Config
  readonly log: Log
  /** Where proxies are looked up. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly version: string
  /** Of this process. */
  readonly pid?: number | undefined
}

/** How long a client who asks for an unknown image waits for upstreams that do not answer. */
const PATIENCE_MS = 5_000

/** How long answers on their way may take to finish when we are told to stop. */
const FINISH_LIMIT_MS = 20_000

/**
 * Builds every room, wires them, and opens the doors. What was opened is closed in reverse, also when the rest fails.
 *
 * @throws MirrorError STORE_LOCKED, STORE_UNUSABLE, STORE_BROKEN, CONFIG_INVALID.
 */
export async function assemble({ config, log, environment, version, pid }: AssembleOptions): Promise<Running> {
  const closers: (() => Promise<void>)[] = []
  const close = async () => {
    for (let closer = closers.pop(); closer; closer = closers.pop()) await closer()
  }
  try {
    // Of this run: what comes back to a later one is not waited for.
    const instance = `imgapi-mirror-${randomBytes(8).toString('hex')}`
    const counters = new Counters()
    const store = await openStore({ directory: config.dataDirectory, log })
    closers.push(() => store.close())

    const totalBandwidth = new Bandwidth('the line', config.rate, systemClock)
    const upstreams = config.isOffline
      ? []
      : config.upstreams.map((upstream) =>
          openUpstream(upstream, { config, instance, log, environment, version, counters, totalBandwidth, store }),
        )
    closers.push(async () => void (await Promise.all(upstreams.map((upstream) => upstream.close()))))

    const fillings = config.upstreams.map(
      ({ name, channel, intoChannels }) => [name, { channel, into: intoChannels }] as const,
    )
    const mirror = await PullThroughMirror.start({
      store,
      upstreams,
      connections: new Map(config.upstreams.map(({ name, connections }) => [name, connections])),
      precedence: config.upstreams.map(({ name }) => name),
      registries: config.upstreams.flatMap(({ platform, type, url }) =>
        type === 'docker' ? [{ host: parseRegistryAddress(url.href).host, platform }] : [],
      ),
      registryLimitBytes: config.limits.manifestBytes,
      channels: new Channels(config.channels, new Map(fillings)),
      isOffline: config.isOffline,
      withdrawn: config.withdrawn,
      policies: new ConflictPolicies({
        policy: config.conflicts,
        overrides: config.conflictOverrides,
        voices: new Map(config.upstreams.map(({ name, voice }) => [name, voice ?? name])),
      }),
      refreshMs: config.refreshMs,
      holdbackBytes: config.holdbackBytes,
      firstAnswerWaitMs: config.firstAnswerWaitMs,
      missTtlMs: config.missTtlMs,
      patienceMs: PATIENCE_MS,
      maxAncestry: config.maxAncestry,
      maxLayerBytes: config.limits.layerBytes,
      keeping: {
        quotaBytes: () => quotaBytes(config),
        pins: config.pins,
        scrub: config.scrub,
        verifyOnRead: config.verifyOnRead,
      },
      publishing: {
        mode: config.mode,
        sources: clientSources({ config, instance, log, environment, version, counters, totalBandwidth }),
      },
      counters,
      log,
    })
    closers.push(() => mirror.close())
    mirror.ledger.record('started', undefined, { version })
    mirror.ledger.record('config-loaded', undefined, {
      sha256: hash('sha256', JSON.stringify(describeConfig(config))),
      upstreams: config.upstreams.map(({ name }) => name),
    })
    counters.watch(() => mirror.status())

    const authenticator = await UserAuthenticator.open({
      users: config.publish.users,
      read: config.read,
      hidesPrivate: config.mode === 'private',
      readFile: (path) => readFile(path, 'utf8'),
      clock: systemClock,
    })
    const isPublishing = config.publish.users.some(({ isReadOnly }) => !isReadOnly)
    const writing = isPublishing ? { publishing: mirror.publishing, authenticator } : undefined

    const serverName = hostname()
    const { onRequest } = counters
    const operatorApp = makeOperatorApp({
      mirror,
      log,
      version,
      serverName,
      whyNotReady: () => store.complaints(),
      metrics: () => counters.expose(),
      api: { operations: mirror.operations },
      access: accessOf(config),
      setRate: (name, rate) => {
        if (name === undefined) {
          totalBandwidth.setRate(rate === undefined ? config.rate : steadyPlan(rate))
          return true
        }
        const upstream = upstreams.find((each) => each.name === name)
        const configured = config.upstreams.find((each) => each.name === name)
        if (upstream && configured) upstream.setRate(rate === undefined ? configured.rate : steadyPlan(rate))
        return upstream !== undefined
      },
    })
    const operators = await openDoors(config.operator, operatorApp.callback(), log, config.operatorAccess.clientCa)
    closers.push(() => operators.close(0))
    const clients = await openDoors(
      config.listen,
      makeClientApp({
        mirror,
        instance,
        writing,
        authenticator,
        pid,
        registry: mirror.registry,
        log,
        version,
        serverName,
        onRequest,
        address: config,
        dsapi: config.datasets,
      }).callback(),
      log,
    )
    closers.push(() => clients.close(FINISH_LIMIT_MS))

    return { listeners: clients.urls, operators: operators.urls, close }
  } catch (error) {
    await close()
    throw error
  }
}

function accessOf({ operatorAccess }: Config): OperatorAccess {
  const { token, clientCa, isOpenLocally, areProbesOpen } = operatorAccess
  return {
    tokenHash: token && hashOfToken(token.reveal()),
    takesCertificates: clientCa !== undefined,
    isOpenLocally,
    areProbesOpen,
  }
}

async function quotaBytes({ dataDirectory, quota }: Config): Promise<number | undefined> {
  if (!quota) return undefined
  return 'bytes' in quota ? quota.bytes : Math.floor(quota.share * (await diskSizeBytes(dataDirectory)))
}

function openUpstream(
  upstream: UpstreamConfig,
  {
    config,
    store,
    ...given
  }: AssembleOptions & { instance: string; counters: Counters; totalBandwidth: Bandwidth; store: Store },
): GuardedUpstream {
  const { connections, dockerConfig, intoChannels: _ours, voice: _theirs, key, password, requests, ...plain } = upstream
  const { listBytes } = config.limits
  return makeUpstream({
    ...plain,
    // One is kept free of files; what one file may have must fit beside it.
    connections: Math.max(requests, connections + 1),
    key: key?.reveal(),
    password: password?.reveal(),
    dockerConfig: dockerConfig?.reveal(),
    limits: { listBytes },
    maxAncestry: config.maxAncestry,
    registryMemory: (host) => memoryOf(store.registry, host),
    ...given,
  })
}

/** What the upstream room calls a memory, in the words of the store. */
function memoryOf(registry: RegistryStore, host: string): RegistryMemory {
  return {
    async get(digest) {
      const kept = await registry.object(digest)
      return kept && { ...kept, sizeBytes: kept.bytes.length }
    },
    keep: (repository, { bytes, digest, mediaType }) =>
      registry.keepObject(host, repository, { bytes, digest, mediaType }),
  }
}

async function openDoors(
  addresses: readonly Listen[],
  handler: Parameters<typeof listen>[1],
  log: Log,
  clientCa?: string,
): Promise<Pick<OpenListener, 'urls' | 'close'>> {
  if (addresses.length === 0) return { urls: [], close: async () => {} }
  return await listen(
    await Promise.all(addresses.map((address) => withCertificate(address, clientCa))),
    handler,
    {},
    log,
  )
}

async function withCertificate(address: Listen, clientCa: string | undefined): Promise<string | SecureAddress> {
  if (typeof address === 'string') return address
  const { cert, key } = address
  try {
    return { address: address.address, cert: await readFile(cert), key: await readFile(key), clientCa }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MirrorError('CONFIG_INVALID', `the certificate for ${address.address} cannot be read: ${reason}`, {
      cause,
    })
  }
}
