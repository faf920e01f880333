import { isMirrorError, MirrorError } from '../../errors.js'
import type { Log } from '../../parts/log.js'
import type { Upstream } from '../../upstream/upstream.js'
import type { Refresher } from '../refresher.js'
import type { RefreshAnswer, UpstreamCheck } from './image-answers.js'
import type { Operator } from './operations.js'

export interface UpstreamQuestionsOptions {
  /** None when offline. */
  readonly upstreams: readonly Upstream[]
  readonly refresher: Refresher
  readonly log: Log
}

/** How long an upstream may think about the cheapest question there is. */
const PATIENCE_MS = 15_000

/** What operators have upstreams asked now. */
export class UpstreamQuestions {
  readonly #options: UpstreamQuestionsOptions

  constructor(options: UpstreamQuestionsOptions) {
    this.#options = options
  }

  /**
   * Asks for catalogues now: of all upstreams, or of those named. Whose turn it is anyway is not asked twice.
   * @throws MirrorError UPSTREAM_UNKNOWN.
   */
  async refresh(names: readonly string[] | undefined, { name: by }: Operator): Promise<RefreshAnswer> {
    const { log, refresher } = this.#options
    const upstreams = this.#named(names)
    log.info({ upstreams: upstreams.map(({ name }) => name), by }, `catalogues are asked again, as ${by} wanted`)
    return {
      upstreams: await Promise.all(
        upstreams.map(async ({ name }) => {
          const startedMs = performance.now()
          const { error, images, added, changed, withdrawn } = await refresher.refreshNow(name)
          const ok = error === undefined
          return { name, ok, error: error ?? null, images, added, changed, withdrawn, tookMs: since(startedMs) }
        }),
      ),
    }
  }

  /** Asks each a cheap question now, also one that is not asked at present because it is ill. @throws MirrorError UPSTREAM_UNKNOWN. */
  async check(names: readonly string[] | undefined, signal: AbortSignal): Promise<readonly UpstreamCheck[]> {
    return await Promise.all(this.#named(names).map((upstream) => this.#checkOne(upstream, signal)))
  }

  async #checkOne(upstream: Upstream, signal: AbortSignal): Promise<UpstreamCheck> {
    const { name, url } = upstream
    const startedMs = performance.now()
    const limit = AbortSignal.timeout(PATIENCE_MS)
    try {
      const protocol = await upstream.check(AbortSignal.any([signal, limit]))
      return { name, url, ok: true, protocol, tookMs: since(startedMs), error: null }
    } catch (error) {
      if (!isMirrorError(error) && !limit.aborted) throw error
      const reason = isMirrorError(error) ? error.message : `no answer within ${PATIENCE_MS / 1000} s`
      return { name, url, ok: false, protocol: null, tookMs: since(startedMs), error: reason }
    }
  }

  #named(names: readonly string[] | undefined): readonly Upstream[] {
    const { upstreams } = this.#options
    const unknown = names?.find((name) => !upstreams.some((upstream) => upstream.name === name))
    if (unknown !== undefined) {
      throw new MirrorError('UPSTREAM_UNKNOWN', `there is no upstream "${unknown.slice(0, 64)}" that is asked`)
    }
    return names ? upstreams.filter(({ name }) => names.includes(name)) : upstreams
  }
}

function since(startedMs: number): number {
  return Math.round(performance.now() - startedMs)
}
