import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** What is going on now, asked for at every scrape. All numbers of one moment. */
export interface Vitals {
  readonly imagesListed: number
  readonly imagesHeld: number
  readonly blobsKept: number
  readonly bytesKept: number
  readonly flights: readonly unknown[]
  readonly conflicts: readonly unknown[]
  readonly keeping: {
    readonly room: {
      readonly quotaBytes: number | undefined
      readonly usedBytes: number
      readonly pinnedBytes: number
      readonly evictableBytes: number
    }
    readonly scrub: { readonly oldestCheckMs: number | undefined; readonly isTooSlow: boolean } | undefined
    readonly lost: readonly unknown[]
  }
  readonly upstreams: readonly {
    readonly name: string
    readonly state: 'waiting' | 'reachable' | 'failing'
    readonly images: number
    readonly lastHeardMs: number | undefined
  }[]
}

/**
 * The metrics of this process, as plain functions to hand to the rooms. Names follow Prometheus' conventions: base units,
 * `_total` on counters. Labels only take words from configuration and code, never from a client, so that nobody can
 * make us remember without bound.
 */
export class Counters {
  readonly #registry = new Registry()
  readonly #requests
  readonly #durations
  readonly #sentBytes
  readonly #filesAsked
  readonly #receivedBytes
  readonly #flightsEnded
  readonly #repairs
  readonly #verificationFailures
  readonly #conflicts
  readonly #tagMoves
  readonly #refreshes
  readonly #retries
  readonly #rateWaits
  readonly #notAsked
  readonly #breakers
  readonly #evictedBytes
  readonly #readChecks
  readonly #scrubbedBytes
  readonly #damageFound
  readonly #damageMended
  #vitals: (() => Vitals) | undefined
  /** Those of the scrape under way: asked for once, as they are not cheap. */
  #vitalsNow: Vitals | undefined

  constructor() {
    const registers = [this.#registry]
    // Event loop lag, memory, garbage collection, open files, CPU.
    collectDefaultMetrics({ register: this.#registry })

    this.#requests = new Counter({
      name: 'imgapi_mirror_http_requests_total',
      help: 'Requests answered, by route, method and status.',
      labelNames: ['route', 'method', 'status'],
      registers,
    })
    this.#durations = new Histogram({
      name: 'imgapi_mirror_http_request_duration_seconds',
      help: 'From the request to the end of its answer, by route. Files take as long as their client does.',
      labelNames: ['route'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800],
      registers,
    })
    this.#sentBytes = new Counter({
      name: 'imgapi_mirror_http_sent_bytes_total',
      help: 'Bytes of bodies sent to clients, by route.',
      labelNames: ['route'],
      registers,
    })
    this.#filesAsked = new Counter({
      name: 'imgapi_mirror_files_asked_total',
      help: 'Image files asked for: hit is held, coalesced joins a download, miss begins one.',
      labelNames: ['outcome'],
      registers,
    })
    this.#receivedBytes = new Counter({
      name: 'imgapi_mirror_upstream_received_bytes_total',
      help: 'Bytes of image files received, by upstream.',
      labelNames: ['upstream'],
      registers,
    })
    this.#flightsEnded = new Counter({
      name: 'imgapi_mirror_flights_total',
      help: 'Downloads that ended: kept, passed on without being kept for want of room, or failed.',
      labelNames: ['outcome'],
      registers,
    })
    this.#repairs = new Counter({
      name: 'imgapi_mirror_files_repaired_total',
      help: 'Image files that were wrong at first and were mended from a second copy.',
      registers,
    })
    this.#verificationFailures = new Counter({
      name: 'imgapi_mirror_verification_failures_total',
      help: 'Image files that were not what was promised, by upstream.',
      labelNames: ['upstream'],
      registers,
    })
    this.#conflicts = new Counter({
      name: 'imgapi_mirror_conflicts_found_total',
      help: 'Claims of upstreams that were found to disagree.',
      registers,
    })
    this.#tagMoves = new Counter({
      name: 'imgapi_mirror_tag_moves_total',
      help: 'Tags of Docker registries found to mean something else than before, by upstream.',
      labelNames: ['upstream'],
      registers,
    })
    this.#refreshes = new Counter({
      name: 'imgapi_mirror_refreshes_total',
      help: 'Catalogues asked for, by upstream and outcome: changed, unchanged, failed.',
      labelNames: ['upstream', 'outcome'],
      registers,
    })
    this.#retries = new Counter({
      name: 'imgapi_mirror_upstream_retries_total',
      help: 'Questions asked once more, by upstream.',
      labelNames: ['upstream'],
      registers,
    })
    this.#rateWaits = new Counter({
      name: 'imgapi_mirror_upstream_rate_wait_seconds_total',
      help: 'Time that bytes were held back to keep to a rate, by upstream; connections add up.',
      labelNames: ['upstream'],
      registers,
    })
    this.#notAsked = new Counter({
      name: 'imgapi_mirror_upstream_not_asked_total',
      help: 'Requests we did not send: breaker (it is ill), closed (its line is), quiet (it asked for that).',
      labelNames: ['upstream', 'reason'],
      registers,
    })
    this.#breakers = new Gauge({
      name: 'imgapi_mirror_upstream_breaker_open',
      help: '1: failed too often and is not asked. 0.5: is being tried. 0: is asked. Absent until it first opens.',
      labelNames: ['upstream'],
      registers,
    })
    this.#evictedBytes = new Counter({
      name: 'imgapi_mirror_evicted_bytes_total',
      help: 'Bytes that were let go of to make room.',
      registers,
    })
    this.#readChecks = new Counter({
      name: 'imgapi_mirror_read_checks_total',
      help: 'MiB that were compared with their hash before they left: good or bad.',
      labelNames: ['outcome'],
      registers,
    })
    this.#scrubbedBytes = new Counter({
      name: 'imgapi_mirror_scrubbed_bytes_total',
      help: 'Bytes of image files read again in the background.',
      registers,
    })
    this.#damageFound = new Counter({
      name: 'imgapi_mirror_damage_found_total',
      help: 'Things at rest that were not as we wrote them, by kind.',
      labelNames: ['kind'],
      registers,
    })
    this.#damageMended = new Counter({
      name: 'imgapi_mirror_damage_mended_total',
      help: 'Those of them that are good again.',
      labelNames: ['kind'],
      registers,
    })
    this.#addGauges()
  }

  /** From now on, every scrape asks `vitals` too. */
  watch(vitals: () => Vitals): void {
    this.#vitals = vitals
  }

  /** What Prometheus reads. */
  async expose(): Promise<{ contentType: string; body: string }> {
    this.#vitalsNow = this.#vitals?.()
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() }
  }

  readonly onRequest = (route: string, method: string, status: number, durationMs: number, bytes: number): void => {
    const name = route === '' ? 'none' : route
    this.#requests.inc({ route: name, method: KNOWN_METHODS.has(method) ? method : 'other', status })
    this.#durations.observe({ route: name }, durationMs / 1000)
    this.#sentBytes.inc({ route: name }, bytes)
  }

  readonly fileAsked = (outcome: 'hit' | 'coalesced' | 'miss'): void => this.#filesAsked.inc({ outcome })
  readonly bytesReceived = (upstream: string, bytes: number): void => this.#receivedBytes.inc({ upstream }, bytes)
  readonly flightEnded = (outcome: 'kept' | 'passed' | 'failed'): void => this.#flightsEnded.inc({ outcome })
  readonly fileRepaired = (): void => this.#repairs.inc()
  readonly verificationFailed = (upstream: string): void => this.#verificationFailures.inc({ upstream })
  readonly conflictFound = (): void => this.#conflicts.inc()
  readonly tagMoved = (upstream: string): void => this.#tagMoves.inc({ upstream })
  readonly refreshed = (upstream: string, outcome: 'changed' | 'unchanged' | 'failed'): void =>
    this.#refreshes.inc({ upstream, outcome })

  readonly evicted = (bytes: number): void => this.#evictedBytes.inc(bytes)
  readonly readChecked = (outcome: 'good' | 'bad'): void => this.#readChecks.inc({ outcome })
  readonly scrubbed = (bytes: number): void => this.#scrubbedBytes.inc(bytes)
  readonly damageFound = (kind: string): void => this.#damageFound.inc({ kind })
  readonly damageMended = (kind: string): void => this.#damageMended.inc({ kind })

  readonly retried = (upstream: string): void => this.#retries.inc({ upstream })
  readonly waitedForRate = (upstream: string, seconds: number): void => this.#rateWaits.inc({ upstream }, seconds)
  readonly notAsked = (upstream: string, reason: 'breaker' | 'closed' | 'quiet'): void =>
    this.#notAsked.inc({ upstream, reason })
  readonly breakerTurned = (upstream: string, state: 'closed' | 'open' | 'half-open'): void =>
    this.#breakers.set({ upstream }, BREAKER_VALUES[state])

  #addGauges(): void {
    this.#addGauge('images_listed', 'Images in the unfiltered list.', ({ imagesListed }) => imagesListed)
    this.#addGauge('images_held', 'Images whose files are all held.', ({ imagesHeld }) => imagesHeld)
    this.#addGauge('blobs', 'Image files kept; images with the same file share one.', ({ blobsKept }) => blobsKept)
    this.#addGauge('blob_bytes', 'Bytes of image files kept.', ({ bytesKept }) => bytesKept)
    this.#addGauge('flights', 'Downloads under way.', ({ flights }) => flights.length)
    this.#addGauge('conflicts', 'Claims of upstreams that disagree.', ({ conflicts }) => conflicts.length)

    this.#addGauge(
      'quota_bytes',
      'Room image files may take; absent without a quota.',
      (v) => v.keeping.room.quotaBytes,
    )
    this.#addGauge('used_bytes', 'Room image files take, unfinished ones included.', (v) => v.keeping.room.usedBytes)
    this.#addGauge('pinned_bytes', 'Of that, what does not leave to make room.', (v) => v.keeping.room.pinnedBytes)
    this.#addGauge('evictable_bytes', 'And what would.', (v) => v.keeping.room.evictableBytes)
    this.#addGauge('lost_files', 'Files of held images, damaged and not had again yet.', (v) => v.keeping.lost.length)
    this.#addGauge('scrub_oldest_check_timestamp_seconds', 'When the file was last read that waits longest.', (v) => {
      const checkMs = v.keeping.scrub?.oldestCheckMs
      return checkMs === undefined ? undefined : checkMs / 1000
    })
    this.#addGauge('scrub_too_slow', '1: its rate is too low to read everything in time.', (v) =>
      v.keeping.scrub ? Number(v.keeping.scrub.isTooSlow) : undefined,
    )

    this.#addUpstreamGauge('upstream_up', '1: answered last time. 0: failed, or not asked yet.', ({ state }) =>
      state === 'reachable' ? 1 : 0,
    )
    this.#addUpstreamGauge('upstream_images', 'Images it lists and we take.', ({ images }) => images)
    this.#addUpstreamGauge('upstream_last_heard_timestamp_seconds', 'When its catalogue was last heard.', (upstream) =>
      upstream.lastHeardMs === undefined ? undefined : upstream.lastHeardMs / 1000,
    )
  }

  #addGauge(name: string, help: string, read: (vitals: Vitals) => number | undefined): void {
    const counters = this
    new Gauge({
      name: `imgapi_mirror_${name}`,
      help,
      registers: [this.#registry],
      collect() {
        const value = counters.#vitalsNow && read(counters.#vitalsNow)
        if (value === undefined) this.reset()
        else this.set(value)
      },
    })
  }

  #addUpstreamGauge(
    name: string,
    help: string,
    read: (upstream: Vitals['upstreams'][number]) => number | undefined,
  ): void {
    const counters = this
    new Gauge({
      name: `imgapi_mirror_${name}`,
      help,
      labelNames: ['upstream'],
      registers: [this.#registry],
      collect() {
        // Of those that are gone nothing is told.
        this.reset()
        for (const upstream of counters.#vitalsNow?.upstreams ?? []) {
          const value = read(upstream)
          if (value !== undefined) this.set({ upstream: upstream.name }, value)
        }
      },
    })
  }
}

const BREAKER_VALUES = { closed: 0, 'half-open': 0.5, open: 1 }

/** A client may send any word as its method; only these become labels. */
const KNOWN_METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])
