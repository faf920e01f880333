import { isMirrorError, MirrorError } from '../errors.js'
import type { LeftOut, SetAside } from '../images/claim.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import type { Log } from '../parts/log.js'
import type { Listing, Upstream } from '../upstream/upstream.js'
import type { Catalogue } from './catalogue.js'
import type { MirrorCounters } from './counters.js'
import type { Heard, ListingNews } from './heard.js'
import type { UpstreamStatus } from './mirror.js'

export interface RefresherOptions {
  readonly upstreams: readonly Upstream[]
  readonly heard: Heard
  readonly catalogue: Catalogue
  /** How often a catalogue is asked for again; up to a tenth more or less, so that many mirrors do not march in step. */
  readonly refreshMs: number
  /** Told of every catalogue that was heard and written down. */
  readonly onListing: (upstream: Upstream, listing: Listing) => Promise<void>
  readonly counters: MirrorCounters
  readonly log: Log
}

/** The first wait after a failure; doubled with each further one, up to the ordinary interval. */
const FIRST_RETRY_MS = 5_000

/** How many manifests that were set aside an operator is shown by name. */
const SET_ASIDE_SHOWN = 100

const NO_NEWS: ListingNews = { changed: 0, added: 0, withdrawn: 0 }

interface Rounds {
  readonly upstream: Upstream
  state: UpstreamStatus['state']
  failures: number
  setAside: readonly SetAside[]
  leftOut: readonly LeftOut[]
  incomplete: string | undefined
  lastError: string | undefined
  /** Of the last round that was answered. */
  news: ListingNews
  nextMs: number | undefined
  timer: NodeJS.Timeout | undefined
  underWay: Promise<void> | undefined
  /** Ends these rounds alone: the upstream is asked no more. */
  readonly abort: AbortController
}

/** Asks every upstream for its catalogue, again and again, each at its own pace. */
export class Refresher {
  #options: RefresherOptions
  #rounds: readonly Rounds[]
  /** Of upstreams that are asked no more: what they were in the middle of. */
  readonly #ending = new Set<Promise<void>>()
  readonly #abort = new AbortController()
  readonly #firstAnswer: Deferred<void> = deferred()
  #unanswered: number

  constructor(options: RefresherOptions) {
    this.#options = options
    this.#rounds = options.upstreams.map(newRounds)
    this.#unanswered = this.#rounds.length
    if (this.#unanswered === 0) this.#firstAnswer.resolve()
  }

  /** Resolves when the first upstream has told its catalogue, or all have failed to. Never rejects. */
  get firstAnswer(): Promise<void> {
    return this.#firstAnswer.promise
  }

  start(): void {
    for (const rounds of this.#rounds) void this.#begin(rounds)
  }

  /**
   * Asks these from now on. Those it knows keep their pace, though the next round of all of them is at hand when the interval has
   * changed; new ones are asked at once, and those that are gone not even to the end.
   */
  change(rules: Pick<RefresherOptions, 'upstreams' | 'refreshMs'>): void {
    const hasNewPace = rules.refreshMs !== this.#options.refreshMs
    this.#options = { ...this.#options, ...rules }
    const before = new Map(this.#rounds.map((rounds) => [rounds.upstream, rounds]))
    this.#rounds = rules.upstreams.map((upstream) => before.get(upstream) ?? newRounds(upstream))
    const gone = [...before.values()].filter((rounds) => !this.#rounds.includes(rounds))
    for (const rounds of gone) this.#end(rounds)
    for (const rounds of this.#rounds) {
      const isNew = !before.has(rounds.upstream)
      if (isNew) {
        // What its namesake was writing down comes first.
        const namesake = gone.find(({ upstream }) => upstream.name === rounds.upstream.name)
        this.#options.heard.forgetValidator(rounds.upstream.name)
        void (namesake?.underWay ?? Promise.resolve()).then(() => this.#begin(rounds))
      } else if (hasNewPace && rounds.underWay === undefined && rounds.failures === 0) {
        clearTimeout(rounds.timer)
        this.#schedule(rounds, rules.refreshMs * Math.random())
      }
    }
    if (this.#rounds.length === 0) this.#firstAnswer.resolve()
  }

  status(): UpstreamStatus[] {
    const { catalogue, heard } = this.#options
    return this.#rounds.map(({ upstream, state, setAside, incomplete, lastError, nextMs }) => ({
      name: upstream.name,
      url: upstream.url,
      state,
      images: catalogue.listedCountOf(upstream.name),
      setAside: setAside.slice(0, SET_ASIDE_SHOWN),
      incomplete,
      lastHeardMs: heard.lastListing(upstream.name)?.heardMs,
      lastError,
      nextRefreshMs: nextMs,
      health: upstream.health(),
    }))
  }

  /** What an upstream listed that could not be used, and what our filters left out of its list, as far as it is remembered. */
  rejectedBy(upstream: string): { readonly setAside: readonly SetAside[]; readonly leftOut: readonly LeftOut[] } {
    return this.#rounds.find((each) => each.upstream.name === upstream) ?? { setAside: [], leftOut: [] }
  }

  /**
   * Asks an upstream now, or waits for the round that is under way. Never rejects.
   * @param name of one that there is.
   */
  async refreshNow(
    name: string,
  ): Promise<ListingNews & { readonly error: string | undefined; readonly images: number }> {
    const rounds = this.#rounds.find(({ upstream }) => upstream.name === name)!
    await this.#begin(rounds)
    const images = this.#options.catalogue.listedCountOf(name)
    const { added, changed, withdrawn } = rounds.lastError === undefined ? rounds.news : NO_NEWS
    return { error: rounds.lastError, images, added, changed: changed - added, withdrawn }
  }

  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    for (const rounds of this.#rounds) clearTimeout(rounds.timer)
    for (const rounds of this.#rounds) await rounds.underWay
    await Promise.all(this.#ending)
  }

  #end(rounds: Rounds): void {
    rounds.abort.abort(new MirrorError('CLOSING', `upstream ${rounds.upstream.name} is asked no more`))
    clearTimeout(rounds.timer)
    const { underWay } = rounds
    if (!underWay) return
    const ended = underWay.finally(() => this.#ending.delete(ended))
    this.#ending.add(ended)
  }

  /** Starts a round, or joins the one under way. Never rejects. */
  #begin(rounds: Rounds): Promise<void> {
    clearTimeout(rounds.timer)
    if (this.#abort.signal.aborted || rounds.abort.signal.aborted) return rounds.underWay ?? Promise.resolve()
    rounds.underWay ??= this.#round(rounds).finally(() => {
      rounds.underWay = undefined
    })
    return rounds.underWay
  }

  async #round(rounds: Rounds): Promise<void> {
    const { counters, log } = this.#options
    const { name } = rounds.upstream
    const isFirst = rounds.state === 'waiting'
    try {
      const outcome = await this.#ask(rounds)
      counters.refreshed(name, outcome)
      if (rounds.state === 'failing') log.info({ upstream: name }, `upstream ${name} answers again`)
      rounds.state = 'reachable'
      rounds.failures = 0
      rounds.lastError = undefined
      this.#schedule(rounds, this.#options.refreshMs * (0.9 + Math.random() / 5))
      this.#firstAnswer.resolve()
    } catch (error) {
      if (this.#abort.signal.aborted || rounds.abort.signal.aborted) return
      counters.refreshed(name, 'failed')
      rounds.state = 'failing'
      rounds.failures++
      rounds.lastError = error instanceof Error ? error.message : String(error)
      this.#schedule(rounds, this.#retryMs(rounds.failures, error))
      const facts = {
        upstream: name,
        url: rounds.upstream.url,
        nextTry: new Date(rounds.nextMs!).toISOString(),
        err: error,
      }
      log.warn(facts, `upstream ${name} did not tell its catalogue; trying again at ${facts.nextTry}`)
    }
    if (isFirst && --this.#unanswered <= 0) this.#firstAnswer.resolve()
  }

  async #ask(rounds: Rounds): Promise<'changed' | 'unchanged'> {
    const { catalogue, heard, log } = this.#options
    const { name } = rounds.upstream
    const validator = heard.lastListing(name)?.validator
    const signal = AbortSignal.any([this.#abort.signal, rounds.abort.signal])
    const listing = await rounds.upstream.listImages({ validator, signal })
    if (listing === 'unchanged') {
      await heard.unchanged(name)
      rounds.news = NO_NEWS
      return 'unchanged'
    }
    const saysNothing = listing.listedCount === 0 || listing.setAside.length === listing.listedCount
    if (saysNothing && !catalogue.listedBy(name)[Symbol.iterator]().next().done) {
      throw new MirrorError(
        'UPSTREAM_MISBEHAVED',
        `upstream ${name} lists no usable image at all, where it listed some before: not believed, what it claimed stands`,
      )
    }
    this.#report(rounds, listing)
    rounds.leftOut = listing.leftOut ?? []
    rounds.news = await heard.listing(name, listing)
    const { changed, withdrawn } = rounds.news
    await this.#options.onListing(rounds.upstream, listing)
    const facts = { upstream: name, images: listing.statements.length, changed, withdrawn }
    log.info(facts, `upstream ${name} lists ${listing.statements.length} images`)
    return 'changed'
  }

  /** Said once, not with every round: only what was not set aside, or not incomplete, last time. */
  #report(rounds: Rounds, { setAside, incomplete }: Listing): void {
    const { log } = this.#options
    const upstream = rounds.upstream.name
    const known = new Set(rounds.setAside.map(({ what, reason }) => `${what} ${reason}`))
    for (const { what, reason } of setAside) {
      if (known.has(`${what} ${reason}`)) continue
      log.warn({ upstream, what, reason }, `manifest ${what} of upstream ${upstream} is set aside: ${reason}`)
    }
    if (incomplete && incomplete !== rounds.incomplete) {
      log.warn({ upstream, incomplete }, `the list of upstream ${upstream} is incomplete: ${incomplete}`)
    }
    rounds.setAside = setAside
    rounds.incomplete = incomplete
  }

  #schedule(rounds: Rounds, delayMs: number): void {
    if (this.#abort.signal.aborted || rounds.abort.signal.aborted) return
    rounds.nextMs = Date.now() + delayMs
    rounds.timer = setTimeout(() => void this.#begin(rounds), delayMs)
  }

  /** Longer with every failure, and not before the upstream wants to be asked again. */
  #retryMs(failures: number, error: unknown): number {
    const waitMs = FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 20)
    const wishedMs = isMirrorError(error) ? (error.retryAfterMs ?? 0) : 0
    return Math.max(wishedMs, Math.min(waitMs, this.#options.refreshMs) * (0.9 + Math.random() / 5))
  }
}

function newRounds(upstream: Upstream): Rounds {
  return {
    upstream,
    state: 'waiting',
    failures: 0,
    setAside: [],
    leftOut: [],
    incomplete: undefined,
    lastError: undefined,
    news: NO_NEWS,
    nextMs: undefined,
    timer: undefined,
    underWay: undefined,
    abort: new AbortController(),
  }
}
