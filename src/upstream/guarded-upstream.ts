import { isMirrorError, type MirrorError } from '../errors.js'
import type { Statement } from '../images/claim.js'
import type { Uuid } from '../images/uuid.js'
import type { Clock } from '../parts/clock.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import type { RatePlan } from '../parts/rate-plan.js'
import type { Bandwidth } from './bandwidth.js'
import { CircuitBreaker, type Passage } from './circuit-breaker.js'
import { guardRegistry } from './guarded-registry.js'
import { isStall } from './http-failure.js'
import { NotAsked } from './not-asked.js'
import type { RegistryUpstream } from './registry-upstream.js'
import type {
  FileBody,
  FileChunks,
  FileRequest,
  Icon,
  Listing,
  Priority,
  PullLimit,
  Upstream,
  UpstreamHealth,
} from './upstream.js'
import type { UpstreamCounters } from './upstream-counters.js'

/** What a protocol's own file is: it knows how to ask, not whether one should. */
export type UnguardedUpstream = Omit<Upstream, 'health'> & {
  /** Of a Docker registry: how many manifests it still lets us have. */
  readonly pullLimit?: () => PullLimit | undefined
}

export interface GuardOptions {
  readonly clock: Clock
  /** At least 0, less than 1. */
  readonly random: () => number
  readonly counters: UpstreamCounters
  /** Of this upstream. */
  readonly bandwidth: Bandwidth
  /** For how long the upstream wants to be left alone; 0 if it does not mind. */
  readonly quietMs: () => number
}

/** So often a question is asked once more. */
const RETRIES = 2
/** Before the first retry, up to half of it taken off at random; doubled for the next. */
const FIRST_RETRY_MS = 400
/** Nobody is kept waiting for a Retry-After longer than this. */
const LONGEST_RETRY_MS = 2_000
/** A failure that took longer is not tried again at once: on a thin line it was dear, and whoever waits has waited. */
const RETRY_WITHIN_MS = 5_000

/**
 * An upstream that is not asked while it is ill, and is asked once more when it stumbles.
 *
 * Short questions are retried here, a few times and soon; files are not, as whoever receives one knows better where to
 * go on, and with whom. Failures to reach it open a circuit breaker; whatever it answers, a refusal or nonsense
 * included, closes it. What we did not ask because of limits of our own says nothing about it.
 */
export class GuardedUpstream implements Upstream {
  readonly registry: RegistryUpstream | undefined
  readonly #upstream: UnguardedUpstream
  readonly #options: GuardOptions
  readonly #breaker: CircuitBreaker
  #canResume: boolean | undefined
  /** Questions that are not answered yet, and bodies that are not read out. */
  #underWay = 0
  #onIdle: Deferred<void> | undefined

  constructor(upstream: UnguardedUpstream, options: GuardOptions) {
    this.#upstream = upstream
    this.#options = options
    const { clock, counters, random } = options
    this.#breaker = new CircuitBreaker({
      clock,
      random,
      onTurn: (state) => counters.breakerTurned(upstream.name, state),
    })
    this.registry =
      upstream.registry && guardRegistry(upstream.registry, (signal, question) => this.#ask(signal, question))
  }

  get name(): string {
    return this.#upstream.name
  }

  get url(): string {
    return this.#upstream.url
  }

  get instance(): string | undefined {
    return this.#upstream.instance
  }

  whyLeftOut(statement: Statement): string | undefined {
    return this.#upstream.whyLeftOut(statement)
  }

  listImages(options: { validator?: string | undefined; signal: AbortSignal }): Promise<Listing | 'unchanged'> {
    return this.#ask(options.signal, () => this.#upstream.listImages(options))
  }

  getImage(uuid: Uuid, signal: AbortSignal): Promise<Statement | undefined> {
    return this.#ask(signal, () => this.#upstream.getImage(uuid, signal))
  }

  getIcon(uuid: Uuid, signal: AbortSignal): Promise<Icon | undefined> {
    return this.#ask(signal, () => this.#upstream.getIcon(uuid, signal))
  }

  getChunks(
    statement: Statement,
    fileIndex: number,
    signal: AbortSignal,
    priority?: Priority,
  ): Promise<FileChunks | undefined> {
    return this.#ask(signal, () => this.#upstream.getChunks(statement, fileIndex, signal, priority))
  }

  async openFile(request: FileRequest): Promise<FileBody> {
    const passage = this.#enter(request.isLastResort)
    this.#underWay++
    try {
      const answer = await this.#upstream.openFile(request)
      passage.answered()
      this.#watch(answer, passage)
      this.#learn(request, answer)
      return answer
    } catch (error) {
      this.#ended()
      report(passage, error)
      throw error
    }
  }

  /** Whatever the breaker says; what comes of it is news for the breaker, where it wants any. */
  async check(signal: AbortSignal): Promise<string> {
    const passage = this.#breaker.enter(true)
    this.#underWay++
    try {
      const protocol = await this.#upstream.check(signal)
      passage?.succeeded()
      return protocol
    } catch (error) {
      if (passage) report(passage, error)
      throw error
    } finally {
      this.#ended()
    }
  }

  health(): UpstreamHealth {
    const { bandwidth, clock, quietMs } = this.#options
    const { failures, probeInMs, state } = this.#breaker
    const { changeMs, limit } = bandwidth.now
    const later = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(clock.wallMs() + ms))
    return {
      breaker: state,
      failures,
      nextProbeMs: later(probeInMs),
      canResume: this.#canResume,
      quietUntilMs: later(quietMs() || undefined),
      rate: { limit, untilMs: changeMs },
      pullLimit: this.#upstream.pullLimit?.(),
    }
  }

  /** What holds now, and later. */
  get ratePlan(): RatePlan {
    return this.#options.bandwidth.plan
  }

  /** From now on, also for what is under way. */
  setRate(plan: RatePlan): void {
    this.#options.bandwidth.setRate(plan)
  }

  get isIdle(): boolean {
    return this.#underWay === 0
  }

  /** Resolves when nobody waits for an answer, or reads one. */
  async idle(): Promise<void> {
    while (this.#underWay > 0) {
      this.#onIdle ??= deferred()
      await this.#onIdle.promise
    }
  }

  close(): Promise<void> {
    return this.#upstream.close()
  }

  #ended(): void {
    this.#underWay--
    if (this.#underWay > 0) return
    this.#onIdle?.resolve()
    this.#onIdle = undefined
  }

  async #ask<Value>(signal: AbortSignal, question: () => Promise<Value>): Promise<Value> {
    const passage = this.#enter()
    const isProbe = this.#breaker.state === 'half-open'
    const { clock, counters } = this.#options
    const endMs = clock.steadyMs() + RETRY_WITHIN_MS
    this.#underWay++
    try {
      for (let retries = 0; ; retries++) {
        try {
          const answer = await question()
          passage.succeeded()
          return answer
        } catch (error) {
          if (isStall(error)) counters.stalled(this.name)
          const waitMs = this.#retryInMs(error, retries)
          if (isProbe || waitMs === undefined || clock.steadyMs() + waitMs > endMs) throw error
          await clock.pause(waitMs, signal)
          counters.retried(this.name)
        }
      }
    } catch (error) {
      report(passage, error)
      throw error
    } finally {
      this.#ended()
    }
  }

  /** `undefined` for what another try would not change, or would change too late. */
  #retryInMs(error: unknown, retries: number): number | undefined {
    if (retries === RETRIES || !isFailure(error)) return undefined
    const { retryAfterMs = 0 } = error
    if (retryAfterMs > LONGEST_RETRY_MS) return undefined
    const backoffMs = FIRST_RETRY_MS * 2 ** retries * (0.5 + this.#options.random() / 2)
    return Math.max(retryAfterMs, backoffMs)
  }

  /** @throws NotAsked while the breaker lets nobody pass. */
  #enter(isLastResort = false): Passage {
    const passage = this.#breaker.enter(isLastResort)
    if (passage) return passage
    const { clock, counters } = this.#options
    counters.notAsked(this.name, 'breaker')
    const { failures, probeInMs } = this.#breaker
    const when =
      probeInMs === undefined ? 'it is being tried now' : `next try at ${isoTime(clock.wallMs() + probeInMs)}`
    throw new NotAsked(`${this.name} has failed ${failures} times in a row and is not asked; ${when}`, {
      retryAfterMs: probeInMs,
    })
  }

  /** An upstream that answers with headers and then sends nothing is as ill as one that does not answer. */
  #watch({ body }: FileBody, passage: Passage): void {
    const onClose = () => {
      this.#ended()
      if (isStall(body.errored)) this.#options.counters.stalled(this.name)
      if (body.readableDidRead || body.readableEnded) passage.succeeded()
      else report(passage, body.errored)
    }
    if (body.closed) onClose()
    else body.once('close', onClose)
  }

  #learn({ startBytes, endBytes, statement, fileIndex, validator }: FileRequest, answer: FileBody): void {
    const { sizeBytes } = statement.manifest.files[fileIndex]!
    const askedEnd = endBytes ?? sizeBytes
    if (startBytes === 0 && askedEnd === sizeBytes) return
    const isPart = answer.startBytes === startBytes && answer.endBytes === askedEnd
    // The whole may also mean that the file has changed.
    if (isPart || validator === undefined) this.#canResume = isPart
  }
}

/** The upstream's own failure to answer. */
function isFailure(error: unknown): error is MirrorError {
  return isMirrorError(error, 'UPSTREAM_UNREACHABLE') && !(error instanceof NotAsked)
}

function report(passage: Passage, error: unknown): void {
  if (isFailure(error)) passage.failed()
  else if (isMirrorError(error, 'UPSTREAM_MISBEHAVED')) passage.succeeded()
  // It was not asked, whoever asked has left, we are closing, or there is a bug.
  else passage.left()
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
