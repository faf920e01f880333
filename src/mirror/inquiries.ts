import { LRUCache } from 'lru-cache'
import type { Uuid } from '../images/uuid.js'
import { deferred } from '../parts/deferred.js'
import type { Log } from '../parts/log.js'
import { SingleFlight } from '../parts/single-flight.js'
import type { Upstream } from '../upstream/upstream.js'
import type { Catalogue } from './catalogue.js'
import type { Channels } from './channels.js'
import type { Heard } from './heard.js'

export interface InquiriesOptions {
  /** In order of precedence. */
  readonly upstreams: readonly Upstream[]
  readonly channels: Channels
  readonly catalogue: Catalogue
  readonly heard: Heard
  /** How long a "no" of all upstreams is remembered. */
  readonly missTtlMs: number
  /** How long a client waits for upstreams that do not answer. */
  readonly patienceMs: number
  readonly log: Log
}

interface Inquiry {
  readonly uuid: Uuid
  readonly channel: string | undefined
  readonly key: string
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
  #options: InquiriesOptions
  /**
   * What everybody said "no" to, and whether that was said of it as of an origin, which our filters let pass. By uuid, and
   * the channel it was looked for in.
   */
  #misses: LRUCache<string, { readonly asOrigin: boolean }>
  readonly #underWay = new SingleFlight<string, void>()
  readonly #queue: (() => void)[] = []
  readonly #abort = new AbortController()
  #running = 0

  constructor(options: InquiriesOptions) {
    this.#options = options
    this.#misses = missesFor(options)
  }

  /** Whom to ask from now on. What anybody said "no" to may be asked again. */
  change(rules: Pick<InquiriesOptions, 'upstreams' | 'channels' | 'missTtlMs'>): void {
    this.#options = { ...this.#options, ...rules }
    this.#misses = missesFor(rules)
  }

  /**
   * Resolves when the catalogue knows what can be known of this image now: every upstream that would take precedence
   * over the first that has it has answered, or all have, or patience has run out.
   * @param channel where it is looked for, resolved: of an image that is known, those are asked who may put it there.
   */
  async ask(uuid: Uuid, channel?: string): Promise<void> {
    const inquiry = { uuid, channel, key: channel === undefined ? uuid : `${uuid} ${channel}` }
    const upstreams = this.#whomToAsk(inquiry)
    if (upstreams.length === 0 || this.#isMiss(inquiry)) return
    await this.#underWay.do(inquiry.key, () => this.#askInTurn(inquiry, upstreams))
  }

  close(): void {
    this.#abort.abort(new Error('the mirror is closing'))
  }

  #whomToAsk({ uuid, channel }: Inquiry): readonly Upstream[] {
    const { catalogue, channels, upstreams } = this.#options
    const known = catalogue.find(uuid)
    if (!known || channels.shows(known, channel) || channel === undefined) return upstreams
    return upstreams.filter(({ name }) => {
      const claim = catalogue.claimOf(name, uuid)
      return channels.mayFill(name, channel) && (!claim || claim.withdrawnMs !== undefined)
    })
  }

  #isMiss({ uuid, key }: Inquiry): boolean {
    const miss = this.#misses.get(key)
    return miss !== undefined && (miss.asOrigin || !this.#options.catalogue.isOrigin(uuid))
  }

  async #askInTurn(inquiry: Inquiry, upstreams: readonly Upstream[]): Promise<void> {
    if (this.#running >= AT_ONCE) await new Promise<void>((resolve) => this.#queue.push(resolve))
    this.#running++
    try {
      await this.#askAll(inquiry, upstreams)
    } finally {
      this.#running--
      this.#queue.shift()?.()
    }
  }

  async #askAll({ uuid, channel, key }: Inquiry, upstreams: readonly Upstream[]): Promise<void> {
    const { catalogue, channels, missTtlMs, patienceMs } = this.#options
    const misses = this.#misses
    const isFound = () => {
      const found = catalogue.find(uuid)
      return found !== undefined && channels.shows(found, channel) && !catalogue.awaitsEverybody(uuid)
    }
    const asOrigin = catalogue.isOrigin(uuid)
    const answers = upstreams.map((upstream) => this.#askOne(upstream, uuid))
    const patience = deferred<'out of patience'>()
    const timer = setTimeout(() => patience.resolve('out of patience'), patienceMs)
    try {
      let everybodyAnswers = true
      for (const answer of answers) {
        const outcome = await Promise.race([answer, patience.promise])
        // One who has it may have it in another channel, and a policy may want everybody's word: then the others count too.
        if (outcome === 'yes' && isFound()) return
        if (outcome !== 'yes' && outcome !== 'no') everybodyAnswers = false
      }
      // An upstream that could not be asked may have it: that "no" is not remembered.
      if (everybodyAnswers && missTtlMs > 0) misses.set(key, { asOrigin })
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
      if (upstream.whyLeftOut(statement) !== undefined && !catalogue.isOrigin(uuid)) return 'no'
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

function missesFor({
  missTtlMs,
}: Pick<InquiriesOptions, 'missTtlMs'>): LRUCache<string, { readonly asOrigin: boolean }> {
  return new LRUCache({ max: MISSES_REMEMBERED, ttl: Math.max(1, missTtlMs) })
}
