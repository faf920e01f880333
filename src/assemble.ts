import { hash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { changedKeys } from './assemble/changed-keys.js'
import { Doors } from './assemble/doors.js'
import { mirrorRules } from './assemble/mirror-rules.js'
import { openImports } from './assemble/open-imports.js'
import { openUpstream } from './assemble/open-upstream.js'
import { prepareAll } from './assemble/prepare-all.js'
import { UpstreamSet } from './assemble/upstream-set.js'
import type { BundleImports } from './bundle/bundles.js'
import { Exporter } from './bundle/exporter.js'
import { TrustedKeys } from './bundle/trusted-keys.js'
import type { AssembleOptions, Running } from './cli/surroundings.js'
import { type Config, describeConfig } from './config.js'
import { isMirrorError, MirrorError } from './errors.js'
import { UserAuthenticator, type UserRules } from './http/auth/user-authenticator.js'
import { makeClientHandler } from './http/client-app.js'
import type { OperatorAccess } from './http/operator/operator-access.js'
import { makeOperatorApp } from './http/operator/operator-app.js'
import type { SetRate } from './http/operator/put-rate.js'
import type { Operations } from './mirror/operations/operations.js'
import type { ReloadAnswer } from './mirror/operations/reload-answer.js'
import { PullThroughMirror } from './mirror/pull-through-mirror.js'
import { hashOfToken } from './parts/access-token.js'
import { systemClock } from './parts/clock.js'
import { OneAtATime } from './parts/one-at-a-time.js'
import { steadyPlan } from './parts/rate-plan.js'
import { diskMedia } from './store/disk-media.js'
import { openStore } from './store/open-store.js'
import type { Store } from './store/store.js'
import { Counters } from './telemetry/counters.js'
import type { Vitals } from './telemetry/vitals.js'
import { Bandwidth } from './upstream/bandwidth.js'

/** How long a client who asks for an unknown image waits for upstreams that do not answer. */
const PATIENCE_MS = 5_000

/** How long answers on their way may take to finish when we are told to stop. */
const FINISH_LIMIT_MS = 20_000

/**
 * Builds every room, wires them, and opens the doors. What was opened is closed in reverse, also when the rest fails.
 *
 * @throws MirrorError STORE_LOCKED, STORE_UNUSABLE, STORE_BROKEN, CONFIG_INVALID.
 */
export async function assemble(options: AssembleOptions): Promise<Running> {
  const closers: (() => Promise<void>)[] = []
  try {
    return await Assembly.build(options, closers)
  } catch (error) {
    await closeAll(closers)
    throw error
  }
}

async function closeAll(closers: (() => Promise<void>)[]): Promise<void> {
  for (let closer = closers.pop(); closer; closer = closers.pop()) await closer()
}

/** All rooms, and how they become others when the operator has changed the configuration. */
class Assembly implements Running {
  static async build(options: AssembleOptions, closers: (() => Promise<void>)[]): Promise<Assembly> {
    const { config, log, onLost } = options
    const store = await openStore({ directory: config.dataDirectory, log, onLost })
    closers.push(() => store.close())

    const assembly = new Assembly(options, store, closers)
    closers.push(() => assembly.#upstreams.close())
    const upstreams = await assembly.#upstreams.prepare(config)
    upstreams.commit(async () => {})

    const mirror = await PullThroughMirror.start({
      ...assembly.#rules(config, upstreams.all),
      store,
      isOffline: config.isOffline,
      patienceMs: PATIENCE_MS,
      onBroughtBack: async (carrying) => {
        assembly.#imports = await openImports(carrying, {
          terms: () => assembly.#bundleTerms(),
          isDiode: () => assembly.#config.bundles.isDiode,
        })
      },
      counters: assembly.#counters,
      log,
    })
    assembly.#mirror = mirror
    closers.push(() => mirror.close())
    mirror.ledger.record('started', undefined, { version: options.version })
    assembly.#recordConfig()
    assembly.#counters.watch(() => ({ ...vitalsOf(mirror, store), bundles: assembly.#imports.status() }))

    assembly.#authenticator = await UserAuthenticator.open({
      ...userRules(config),
      readFile: (path) => readFile(path, 'utf8'),
      clock: systemClock,
    })
    const { clients, operators } = assembly.#makeHandlers()
    const operatorDoors = await Doors.open(config.operator, config.operatorAccess.clientCa, operators, log)
    assembly.#operators = operatorDoors
    closers.push(() => operatorDoors.close(0))
    const clientDoors = await Doors.open(config.listen, undefined, clients, log)
    assembly.#clients = clientDoors
    closers.push(() => clientDoors.close(FINISH_LIMIT_MS))
    return assembly
  }

  readonly #options: AssembleOptions
  readonly #closers: (() => Promise<void>)[]
  readonly #store: Store
  readonly #counters: Counters
  readonly #totalBandwidth: Bandwidth
  readonly #upstreams: UpstreamSet
  /** Of this run: what comes back to a later one is not waited for. */
  readonly #instance = `imgapi-mirror-${randomBytes(8).toString('hex')}`
  readonly #serverName = hostname()
  readonly #reloading = new OneAtATime()
  #mirror!: PullThroughMirror
  #imports!: BundleImports
  #authenticator!: UserAuthenticator
  #operators!: Doors
  #clients!: Doors
  /** What is in effect. */
  #config: Config
  #isClosing = false

  private constructor(options: AssembleOptions, store: Store, closers: (() => Promise<void>)[]) {
    const { config, log } = options
    this.#options = options
    this.#closers = closers
    this.#store = store
    this.#config = config
    this.#counters = new Counters(options.version)
    this.#totalBandwidth = new Bandwidth('the line', config.rate, systemClock)
    this.#upstreams = new UpstreamSet({
      make: (upstream, whole) => openUpstream(upstream, whole, store, this.#commonToUpstreams),
      log,
    })
  }

  get listeners(): readonly string[] {
    return this.#clients.urls
  }

  get operators(): readonly string[] {
    return this.#operators.urls
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await this.#reloading.idle()
    await closeAll(this.#closers)
  }

  /** One after the other: what is in the file when its turn comes is what counts. */
  reload(by: string): Promise<ReloadAnswer> {
    return this.#reloading.run(async () => {
      const { log } = this.#options
      try {
        if (this.#isClosing) throw new MirrorError('CLOSING', 'the mirror is closing')
        const answer = await this.#reload()
        this.#counters.reloaded('taken')
        const { changed, needsRestart } = answer
        const what = changed.length === 0 ? 'nothing that matters has changed' : `changed: ${changed.join(', ')}`
        log.info({ by, ...answer }, `the configuration was read again, as ${by} wanted; ${what}`)
        if (needsRestart.length > 0) {
          log.warn({ needsRestart }, `only a restart brings these into effect: ${needsRestart.join(', ')}`)
        }
        return answer
      } catch (error) {
        if (!isMirrorError(error, 'CONFIG_INVALID')) throw error
        this.#counters.reloaded('refused')
        log.error({ by, err: error }, 'the new configuration is refused; the one in effect stays')
        throw new MirrorError('CONFIG_REFUSED', `refused, and nothing has changed: ${error.message}`, { cause: error })
      }
    })
  }

  async #reload(): Promise<ReloadAnswer> {
    const { readConfig, setLogLevel } = this.#options
    if (!readConfig) throw new MirrorError('CONFIG_INVALID', 'this mirror has no file that could be read again')
    const wanted = await readConfig()
    const before = this.#config
    const config = withoutWhatNeedsRestart(wanted, before)

    // Whatever may fail comes first, and leaves everything as it is.
    const [upstreams, changeUsers, operators, clients] = await prepareAll(
      () => this.#upstreams.prepare(config),
      async () => ({ commit: await this.#authenticator.prepare(userRules(config)), abandon: async () => {} }),
      () => this.#operators.prepare(config.operator, config.operatorAccess.clientCa),
      () => this.#clients.prepare(config.listen, undefined),
    )
    const changed = changedKeys(before, config)
    this.#config = config
    setLogLevel?.(config.log.level)
    if (changed.includes('rate')) this.#totalBandwidth.setRate(config.rate)
    await this.#mirror.change(this.#rules(config, upstreams.all))
    upstreams.commit((upstream) => this.#mirror.without(upstream))
    changeUsers.commit()
    const handlers = this.#makeHandlers()
    this.#operators.answerWith(handlers.operators)
    this.#clients.answerWith(handlers.clients)
    operators.commit()
    clients.commit()
    if (changed.length > 0) this.#recordConfig()
    const stuck = [...operators.needsRestart, ...clients.needsRestart].map((address) => `TLS on ${address}`)
    return { changed, needsRestart: [...changedKeys(config, wanted), ...stuck] }
  }

  get #commonToUpstreams() {
    const { environment, log, version } = this.#options
    const [counters, instance, totalBandwidth] = [this.#counters, this.#instance, this.#totalBandwidth]
    return { counters, environment, instance, log, totalBandwidth, version }
  }

  #rules(config: Config, upstreams: UpstreamSet['all']) {
    this.#counters.introduce(upstreams.map(({ name }) => name))
    return mirrorRules(upstreams, { config, ...this.#commonToUpstreams })
  }

  /** Who answers clients and operators, by the configuration in effect. */
  #makeHandlers() {
    const { log, pid, version } = this.#options
    const [authenticator, config, counters, mirror] = [this.#authenticator, this.#config, this.#counters, this.#mirror]
    const common = { mirror, log, version, serverName: this.#serverName }
    const exports = new Exporter({
      mirror: mirror.carrying,
      media: diskMedia,
      terms: () => this.#bundleTerms(),
      lacking: () => this.#imports.lacking(),
    })
    const operations: Operations = { ...mirror.operations, reload: ({ name }) => this.reload(name) }
    const operatorApp = makeOperatorApp({
      ...common,
      whyNotReady: () => this.#store.complaints(),
      metrics: () => counters.expose(),
      api: { operations, exports, imports: this.#imports },
      access: accessOf(config),
      setRate: this.#setRate,
    })
    const isPublishing = config.publish.users.some(({ isReadOnly }) => !isReadOnly)
    const clients = makeClientHandler({
      ...common,
      instance: this.#instance,
      writing: isPublishing ? { publishing: mirror.publishing, authenticator } : undefined,
      authenticator,
      pid,
      registry: mirror.registry,
      onRequest: counters.onRequest,
      address: config,
      accelRedirect: config.accelRedirect,
      dsapi: config.datasets,
    })
    return { clients, operators: operatorApp.callback() }
  }

  async #bundleTerms() {
    const { site = this.#serverName, trustedKeys, wanted } = this.#config.bundles
    const { publicKey } = await this.#store.signer()
    return { site, wanted, trustedKeys: TrustedKeys.of(trustedKeys).and(publicKey) }
  }

  readonly #setRate: SetRate = (name, rate) => {
    if (name === undefined) {
      this.#totalBandwidth.setRate(rate === undefined ? this.#config.rate : steadyPlan(rate))
      return true
    }
    const found = this.#upstreams.find(name)
    found?.upstream.setRate(rate === undefined ? found.configured.rate : steadyPlan(rate))
    return found !== undefined
  }

  #recordConfig(): void {
    const config = this.#config
    this.#mirror.ledger.record('config-loaded', undefined, {
      sha256: hash('sha256', JSON.stringify(describeConfig(config))),
      upstreams: config.upstreams.map(({ name }) => name),
    })
  }
}

/**
 * What may be in effect at once: a data directory is owned from start to end, whether there is a network is settled before anything is
 * asked, and whatever reads the log has begun to read it in one form.
 */
function withoutWhatNeedsRestart(wanted: Config, { dataDirectory, isOffline, log, settings }: Config): Config {
  const before = settings as {
    readonly data: unknown
    readonly offline: unknown
    readonly log: { readonly format: unknown }
  }
  const words = wanted.settings as { readonly log: object }
  return {
    ...wanted,
    dataDirectory,
    isOffline,
    log: { ...wanted.log, format: log.format },
    settings: {
      ...words,
      data: before.data,
      offline: before.offline,
      log: { ...words.log, format: before.log.format },
    },
  }
}

/** What is told at every scrape. */
function vitalsOf(mirror: PullThroughMirror, { images }: Store): Vitals {
  let imagesPublished = 0
  for (const { publication } of images.all()) if (publication) imagesPublished++
  const jobsRunning = mirror.operations.jobs.list().filter(({ state }) => state === 'running').length
  return { ...mirror.status(), imagesPublished, jobsRunning, ledger: mirror.ledger.standing }
}

function userRules({ mode, publish, read }: Config): UserRules {
  return { users: publish.users, read, hidesPrivate: mode === 'private' }
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
