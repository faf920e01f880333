import { setMaxListeners } from 'node:events'
import type { Config, UpstreamConfig } from '../config.js'
import type { Log } from '../parts/log.js'
import { pause } from '../parts/pause.js'
import type { GuardedUpstream } from '../upstream/guarded-upstream.js'
import { upstreamKey } from './changed-keys.js'

export interface UpstreamSetOptions {
  /** @throws MirrorError CONFIG_INVALID. */
  readonly make: (upstream: UpstreamConfig, config: Config) => GuardedUpstream
  readonly log: Log
  /** Who began a question a moment ago may have another one: an answer leads to the next in no time. */
  readonly lingerMs?: number
}

/** Upstreams that are ready to be asked. One of `commit` and `abandon` is to be called. */
export interface PreparedUpstreams {
  /** In order of precedence; those that are as they were are those we have. */
  readonly all: readonly GuardedUpstream[]
  /**
   * @param without resolves when no download may ask this upstream any more. Those that are gone, or have become others, are closed
   *   then.
   */
  commit(without: (upstream: GuardedUpstream) => Promise<void>): void
  abandon(): Promise<void>
}

interface Member {
  readonly upstream: GuardedUpstream
  readonly configured: UpstreamConfig
  /** Another one makes it another upstream. */
  readonly key: string
}

const LINGER_MS = 2_000

/** The upstreams we ask, and those that only downloads under way still ask. */
export class UpstreamSet {
  readonly #options: UpstreamSetOptions
  #members: readonly Member[] = []
  readonly #leaving = new Map<GuardedUpstream, Promise<void>>()
  readonly #closing = new AbortController()

  constructor(options: UpstreamSetOptions) {
    this.#options = options
    // As many as there are upstreams to be left.
    setMaxListeners(0, this.#closing.signal)
  }

  get all(): readonly GuardedUpstream[] {
    return this.#members.map(({ upstream }) => upstream)
  }

  find(name: string): { readonly upstream: GuardedUpstream; readonly configured: UpstreamConfig } | undefined {
    return this.#members.find(({ configured }) => configured.name === name)
  }

  /** @throws MirrorError CONFIG_INVALID; then nothing has changed. */
  async prepare(config: Config): Promise<PreparedUpstreams> {
    const made: GuardedUpstream[] = []
    const abandon = async () => void (await Promise.all(made.map((upstream) => upstream.close())))
    const members: Member[] = []
    try {
      for (const configured of config.isOffline ? [] : config.upstreams) {
        const key = upstreamKey(configured, config)
        const known = this.#members.find((member) => member.key === key)
        const upstream = known?.upstream ?? this.#options.make(configured, config)
        if (!known) made.push(upstream)
        members.push({ upstream, configured, key })
      }
    } catch (error) {
      await abandon()
      throw error
    }
    const commit: PreparedUpstreams['commit'] = (without) => {
      const before = this.#members
      this.#members = members
      for (const { configured, upstream } of members) {
        // A rate that an operator has set meanwhile holds on, unless the configured one is another.
        const known = before.find((member) => member.upstream === upstream)
        if (known && !isSameRate(known.configured, configured)) upstream.setRate(configured.rate)
      }
      for (const { upstream } of before) if (!this.all.includes(upstream)) this.#leave(upstream, without)
    }
    return { all: members.map(({ upstream }) => upstream), commit, abandon }
  }

  /** Closes all of them, at once: downloads are to be ended before. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the mirror is closing'))
    await Promise.all([...this.all, ...this.#leaving.keys()].map((upstream) => upstream.close()))
    await Promise.all(this.#leaving.values())
  }

  #leave(upstream: GuardedUpstream, without: (upstream: GuardedUpstream) => Promise<void>): void {
    const { log } = this.#options
    const { name } = upstream
    const left = this.#untilUnused(upstream, without)
      .then(() => upstream.close())
      .then(() => log.info({ upstream: name }, `the upstream that was ${name} is left`))
      .catch((error: unknown) => log.error({ upstream: name, err: error }, `upstream ${name} could not be left`))
      .finally(() => this.#leaving.delete(upstream))
    this.#leaving.set(upstream, left)
  }

  async #untilUnused(upstream: GuardedUpstream, without: (upstream: GuardedUpstream) => Promise<void>): Promise<void> {
    const { signal } = this.#closing
    const { lingerMs = LINGER_MS } = this.#options
    await without(upstream)
    do {
      await upstream.idle()
      await pause(lingerMs, signal).catch(() => {})
    } while (!upstream.isIdle && !signal.aborted)
  }
}

function isSameRate({ rate: one }: UpstreamConfig, { rate: other }: UpstreamConfig): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}
