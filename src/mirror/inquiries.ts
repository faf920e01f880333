import { LRUCache } from 'lru-cache'
import type { Uuid } from '../images/uuid.js'
import { deferred } from '../parts/deferred.js'
import type { Log } from '../parts/log.js'
import { SingleFlight } from '../parts/single-flight.js'
import type { Upstream } from '../upstream/upstream.js'
import type { Catalogue } from './catalogue.js'
import type { Heard } from './heard.js'

export interface InquiriesOptions {
  /** In order of precedence. */
  readonly upstreams: readonly Upstream[]
  readonly catalogue: Catalogue
  readonly heard: Heard
  /** How long a "no" of all upstreams is remembered. */
  readonly missTtlMs: number
  /** How long a client waits for upstreams that do not answer. */
  readonly patienceMs: number
  readonly log: Log
}

/** How many "no"s are remembered at once; the oldest are forgotten first. */
const MISSES_REMEMBERED = 10_000

/** How many uuids are asked for at once; clients of further ones wait their turn. */
const AT_ONCE = 32

/**
 * Asks the upstreams for images that nobody listed: inactive origins, images published a moment ago, images of servers
 * without a list. Once for all clients who ask at the same time, and a "no" from everybody is remembered for a while.
 */
export class Inquiries {
  readonly #options: InquiriesOptions
  /** What everybody said "no" to, and whether that was said of it as of an origin, which our filters let pass. */
  readonly #misses: LRUCache<Uuid, { readonly asOrigin: boolean }>
  readonly #underWay = new SingleFlight<Uuid, void>()
  readonly #queue: (() => void)[] = []
  readonly #abort = new AbortController()
  #running = 0

  constructor(options: InquiriesOptions) {
    this.#options = options
    this.#misses = new LRUCache({ max: MISSES_REMEMBERED, ttl: Math.max(1, options.missTtlMs) })
  }

  /**
   * Resolves when the catalogue knows what can be known of this image now: every upstream that would take precedence
   * over the first that has it has answered, or all have, or patience has run out.
   */
  async ask(uuid: Uuid): Promise<void> {
    if (this.#options.upstreams.length === 0 || this.#isMiss(uuid)) return
    await this.#underWay.do(uuid, () => this.#askInTurn(uuid))
  }

  close(): void {
    this.#abort.abort(new Error('the mirror is closing'))
  }

  #isMiss(uuid: Uuid): boolean {
    const miss = this.#misses.get(uuid)
    return miss !== undefined && (miss.asOrigin || !this.#options.catalogue.isOrigin(uuid))
  }

  async #askInTurn(uuid: Uuid): Promise<void> {
    if (this.#running >= AT_ONCE) await new Promise<void>((resolve) => this.#queue.push(resolve))
    this.#running++
    try {
      await this.#askAll(uuid)
    } finally {
      this.#running--
      this.#queue.shift()?.()
    }
  }

  async #askAll(uuid: Uuid): Promise<void> {
    const { catalogue, missTtlMs, patienceMs, upstreams } = this.#options
    const asOrigin = catalogue.isOrigin(uuid)
    const answers = upstreams.map((upstream) => this.#askOne(upstream, uuid))
    const patience = deferred<'out of patience'>()
    const timer = setTimeout(() => patience.resolve('out of patience'), patienceMs)
    try {
      let everybodySaysNo = true
      for (const answer of answers) {
        const outcome = await Promise.race([answer, patience.promise])
        if (outcome === 'yes') return
        if (outcome !== 'no') everybodySaysNo = false
      }
      // An upstream that could not be asked may have it: that "no" is not remembered.
      if (everybodySaysNo && missTtlMs > 0) this.#misses.set(uuid, { asOrigin })
    } finally {
      clearTimeout(timer)
    }
  }

  async #askOne(upstream: Upstream, uuid: Uuid): Promise<'yes' | 'no' | 'unknown'> {
    const { catalogue, heard, log } = this.#options
    try {
      const statement = await upstream.getImage(uuid, this.#abort.signal)
      if (!statement) {
        await heard.denial(upstream.name, uuid)
        return 'no'
      }
      // Filters narrow what is offered, but what is offered must be installable: origins come along.
      if (!upstream.admits(statement) && !catalogue.isOrigin(uuid)) return 'no'
      await heard.answer(upstream.name, statement)
      return 'yes'
    } catch (error) {
      log.debug(
        { upstream: upstream.name, uuid, err: error },
        `upstream ${upstream.name} could not be asked for image ${uuid}`,
      )
      return 'unknown'
    }
  }
}
