import { isMirrorError, MirrorError } from '../../errors.js'
import { type Filter, matchesFilter } from '../../images/filter.js'
import type { Manifest } from '../../images/manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Log } from '../../parts/log.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import type { Pin, PinStore } from '../../store/pin-store.js'
import type { ImagePin } from '../keeping/stock.js'
import type { RecordHappening } from '../ledger.js'
import type { PinFacts } from './image-answers.js'

/** Each is asked for with every eviction. */
const MOST_PINS = 100_000

export interface PinsOptions {
  readonly store: PinStore
  /** Of the configuration. */
  readonly configured: readonly Filter[]
  readonly record: RecordHappening
  readonly log: Log
}

/** Images that never leave to make room: by the configuration, or because an operator said so. */
export class Pins {
  #options: PinsOptions
  /** What is in effect is what is written down. */
  readonly #changing = new OneAtATime()
  #pins: ReadonlyMap<Uuid, Pin> = new Map()
  /** Of work under way, which is forgotten with the process. */
  readonly #passing = new Map<Uuid, readonly ImagePin[]>()

  constructor(options: PinsOptions) {
    this.#options = options
  }

  /** What cannot be read pins nothing: that is told, and no reason not to serve. */
  async start(): Promise<void> {
    try {
      this.#pins = new Map((await this.#options.store.load()).map((pin) => [pin.uuid, pin]))
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
      this.#options.log.error({ err: error }, 'the pins that operators have set cannot be read')
    }
  }

  /** What the configuration pins from now on. */
  change(configured: readonly Filter[]): void {
    this.#options = { ...this.#options, configured }
  }

  isPinned(manifest: Manifest): boolean {
    return this.firstOf(manifest) !== undefined
  }

  /** What keeps this image, or the first of several. */
  firstOf(manifest: Manifest): ImagePin | undefined {
    const own = this.#pins.get(manifest.uuid)
    if (own) return { by: own.by, text: own.reason ?? `pinned by ${own.by}` }
    const passing = this.#passing.get(manifest.uuid)?.[0]
    if (passing) return passing
    const configured = this.#options.configured.find((pin) => matchesFilter(pin, manifest))
    return configured && { by: 'configuration', text: configured.text }
  }

  /** All that keep this image. */
  of(manifest: Manifest): readonly PinFacts[] {
    const { uuid } = manifest
    const { configured } = this.#options
    return pinFactsOf(manifest, { own: this.#pins.get(uuid), passing: this.#passing.get(uuid) ?? [], configured })
  }

  /** Those that operators have set, oldest first. */
  all(): readonly Pin[] {
    return [...this.#pins.values()]
  }

  /** Keeps images, and what they build on, for as long as some work needs them: until what is answered is called. */
  forNow(uuids: Iterable<Uuid>, pin: ImagePin): () => void {
    const pinned = [...new Set(uuids)]
    for (const uuid of pinned) this.#passing.set(uuid, [...(this.#passing.get(uuid) ?? []), pin])
    return () => {
      for (const uuid of pinned.splice(0)) {
        const others = (this.#passing.get(uuid) ?? []).filter((each) => each !== pin)
        if (others.length > 0) this.#passing.set(uuid, others)
        else this.#passing.delete(uuid)
      }
    }
  }

  /** Replaces a pin that the image has. In effect, and durable, when it resolves. */
  async pin(pin: Pin): Promise<void> {
    const { by, reason, uuid } = pin
    const tell = () => this.#options.record('pinned', uuid, { by, reason })
    await this.#change(tell, (pins) => {
      if (pins.size >= MOST_PINS && !pins.has(uuid)) {
        throw new MirrorError(
          'QUERY_INVALID',
          `there are ${MOST_PINS} pins already; say it by a filter in the configuration`,
        )
      }
      pins.delete(uuid)
      pins.set(uuid, pin)
      return true
    })
  }

  /** Takes back what an operator said. Harmless where nobody has. */
  async unpin(uuid: Uuid, by: string): Promise<void> {
    const tell = () => this.#options.record('unpinned', uuid, { by })
    await this.#change(tell, (pins) => pins.delete(uuid))
  }

  /** @param tell what is only true once it is durable; not called where `change` answers that nothing changed. */
  #change(tell: () => void, change: (pins: Map<Uuid, Pin>) => boolean): Promise<void> {
    return this.#changing.run(async () => {
      const pins = new Map(this.#pins)
      if (!change(pins)) return
      await this.#options.store.save([...pins.values()])
      this.#pins = pins
      tell()
    })
  }
}

export interface PinsOfImage {
  /** What an operator said of it. */
  readonly own: Pin | undefined
  readonly passing: readonly ImagePin[]
  readonly configured: readonly Filter[]
}

/** All that keep an image. */
export function pinFactsOf(manifest: Manifest, { own, passing, configured }: PinsOfImage): readonly PinFacts[] {
  const matching = configured.filter((pin) => matchesFilter(pin, manifest))
  return [
    ...(own ? [{ by: own.by, reason: own.reason ?? null, sinceMs: own.sinceMs }] : []),
    ...passing.map(({ by, text }) => ({ by, reason: text, sinceMs: null })),
    ...matching.map(({ text }) => ({ by: 'configuration', reason: text, sinceMs: null })),
  ]
}
