import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { type GaugeOf, MIRROR_GAUGES, UPSTREAM_GAUGES, type Vitals, type VitalsOfUpstream } from './vitals.js'

/** A metric, as docs/metrics.md tells of it. */
export interface MetricFacts {
  readonly name: string
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly labels: readonly string[]
  readonly help: string
}

/**
 * The metrics of this process, as plain functions to hand to the rooms. Names follow Prometheus' conventions: base units,
 * `_total` on counters, times as timestamps. Labels only take words from configuration and code, never from a client, so that nobody
 * can make us remember without bound.
 */
export class Counters {
  readonly #registry = new Registry()
  readonly #facts: MetricFacts[] = []

  readonly #requests = this.#counter('http_requests_total', 'Requests answered, by route, method and status.', [
    'route',
    'method',
    'status',
  ])
  readonly #durations = this.#histogram(
    'http_request_duration_seconds',
    'From the request to the end of its answer, by route. Files take as long as their client does.',
    ['route'],
    [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800],
  )
  readonly #sentBytes = this.#counter('http_sent_bytes_total', 'Bytes of bodies sent to clients, by route.', ['route'])
  readonly #filesAsked = this.#counter(
    'files_asked_total',
    'Image files asked for: hit is held, coalesced joins a download, miss begins one.',
    ['outcome'],
    { outcome: ['hit', 'coalesced', 'miss'] },
  )
  readonly #receivedBytes = this.#counter(
    'upstream_received_bytes_total',
    'Bytes of image files received, by upstream.',
    ['upstream'],
  )
  readonly #flightsEnded = this.#counter(
    'flights_total',
    'Downloads that ended: kept, passed on without being kept for want of room, or failed.',
    ['outcome'],
    { outcome: ['kept', 'passed', 'failed'] },
  )
  readonly #resumptions = this.#counter(
    'flight_resumptions_total',
    'Downloads that went on behind bytes that were here already, by the upstream they went on with.',
    ['upstream'],
  )
  readonly #failovers = this.#counter(
    'flight_failovers_total',
    'Downloads that went on with another upstream, by the one that had failed.',
    ['upstream'],
  )
  readonly #repairs = this.#counter(
    'files_repaired_total',
    'Image files that were wrong at first and were mended from a second copy.',
  )
  readonly #verificationFailures = this.#counter(
    'verification_failures_total',
    'Image files that were not what was promised, by upstream.',
    ['upstream'],
  )
  readonly #conflicts = this.#counter('conflicts_found_total', 'Claims of upstreams that were found to disagree.')
  readonly #tagMoves = this.#counter(
    'tag_moves_total',
    'Tags of Docker registries found to mean something else than before, by upstream.',
    ['upstream'],
  )
  readonly #refreshes = this.#counter(
    'refreshes_total',
    'Catalogues asked for, by upstream and outcome: changed, unchanged, failed.',
    ['upstream', 'outcome'],
  )
  readonly #retries = this.#counter('upstream_retries_total', 'Questions asked once more, by upstream.', ['upstream'])
  readonly #stalls = this.#counter(
    'upstream_stalls_total',
    'Answers that fell silent for the stall limit and were given up, by upstream.',
    ['upstream'],
  )
  readonly #rateWaits = this.#counter(
    'upstream_rate_wait_seconds_total',
    'Time that bytes were held back to keep to a rate, by upstream; connections add up.',
    ['upstream'],
  )
  readonly #notAsked = this.#counter(
    'upstream_not_asked_total',
    'Requests we did not send: breaker (it is ill), closed (its line is), quiet (it asked for that).',
    ['upstream', 'reason'],
  )
  readonly #breakersOpened = this.#counter(
    'upstream_breaker_opened_total',
    'How often an upstream had failed so often that it was not asked for a while.',
    ['upstream'],
  )
  readonly #evictedBytes = this.#counter('evicted_bytes_total', 'Bytes that were let go of to make room.')
  readonly #prewarmedBytes = this.#counter(
    'prewarmed_bytes_total',
    'Bytes of image files fetched before anyone asked, by policy.',
    ['policy'],
  )
  readonly #readChecks = this.#counter(
    'read_checks_total',
    'MiB that were compared with their hash before they left: good or bad.',
    ['outcome'],
    { outcome: ['good', 'bad'] },
  )
  readonly #scrubbedBytes = this.#counter('scrubbed_bytes_total', 'Bytes of image files read again in the background.')
  readonly #damageFound = this.#counter(
    'damage_found_total',
    'Things at rest that were not as we wrote them, by kind.',
    ['kind'],
    { kind: DAMAGE_KINDS },
  )
  readonly #damageMended = this.#counter('damage_mended_total', 'Those of them that are good again.', ['kind'], {
    kind: DAMAGE_KINDS,
  })
  readonly #recorded = this.#counter(
    'ledger_recorded_total',
    'What was told to the audit ledger, by kind: published, changed, deleted, withdrawn, evicted and so on (docs/audit.md).',
    ['kind'],
  )
  readonly #reloads = this.#counter(
    'config_reloads_total',
    'Configurations read again: taken or refused.',
    ['outcome'],
    { outcome: ['taken', 'refused'] },
  )
  readonly #configTaken = this.#gauge(
    'config_last_reload_successful',
    '1: the last configuration that was read is in effect. 0: it was refused.',
  )
  readonly #build = this.#gauge('build_info', 'Always 1; its label says which release runs.', ['version'])
  #vitals: (() => Vitals) | undefined
  /** Those of the scrape under way: asked for once, as they are not cheap. */
  #vitalsNow: Vitals | undefined

  constructor(version = '') {
    // Event loop lag, memory, garbage collection, open files, CPU.
    collectDefaultMetrics({ register: this.#registry })
    this.#build.set({ version }, 1)
    this.#configTaken.set(1)
    for (const gauge of MIRROR_GAUGES) this.#collected(gauge, [])
    for (const gauge of UPSTREAM_GAUGES) this.#collected(gauge, ['upstream'])
  }

  /** From now on, every scrape asks `vitals` too. */
  watch(vitals: () => Vitals): void {
    this.#vitals = vitals
  }

  /**
   * Counts of these upstreams are told from now on, at 0: what is first seen at 1 is no increase to Prometheus, and the first wrong
   * byte of an upstream is to be noticed.
   */
  introduce(upstreams: readonly string[]): void {
    const counts = [this.#receivedBytes, this.#verificationFailures, this.#resumptions, this.#failovers]
    const ofUpstreams = [this.#retries, this.#stalls, this.#breakersOpened, this.#rateWaits]
    for (const upstream of upstreams) {
      for (const counter of [...counts, ...ofUpstreams]) counter.inc({ upstream }, 0)
      for (const outcome of REFRESH_OUTCOMES) this.#refreshes.inc({ upstream, outcome }, 0)
    }
  }

  /** What Prometheus reads. */
  async expose(): Promise<{ contentType: string; body: string }> {
    this.#vitalsNow = this.#vitals?.()
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() }
  }

  /** All metrics of ours, by name; those that every process on Node has are not among them. */
  describe(): readonly MetricFacts[] {
    return this.#facts.toSorted((a, b) => (a.name < b.name ? -1 : 1))
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
  readonly flightResumed = (upstream: string): void => this.#resumptions.inc({ upstream })
  readonly flightFailedOver = (upstream: string): void => this.#failovers.inc({ upstream })
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
  readonly recorded = (kind: string): void => this.#recorded.inc({ kind })

  readonly prewarmed = (policy: string, bytes: number): void => this.#prewarmedBytes.inc({ policy }, bytes)
  readonly retried = (upstream: string): void => this.#retries.inc({ upstream })
  readonly stalled = (upstream: string): void => this.#stalls.inc({ upstream })
  readonly waitedForRate = (upstream: string, seconds: number): void => this.#rateWaits.inc({ upstream }, seconds)
  readonly notAsked = (upstream: string, reason: 'breaker' | 'closed' | 'quiet'): void =>
    this.#notAsked.inc({ upstream, reason })
  readonly breakerTurned = (upstream: string, state: 'closed' | 'open' | 'half-open'): void => {
    if (state === 'open') this.#breakersOpened.inc({ upstream })
  }

  readonly reloaded = (outcome: 'taken' | 'refused'): void => {
    this.#reloads.inc({ outcome })
    this.#configTaken.set(outcome === 'taken' ? 1 : 0)
  }

  /** @param values of labels that are all there from the start, so that the first of each is an increase to Prometheus. */
  #counter<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[] = [],
    values: Partial<Record<Label, readonly string[]>> = {},
  ): Counter<Label> {
    const counter = new Counter({ ...this.#describe('counter', name, help, labelNames), labelNames })
    for (const [label, words] of Object.entries(values) as [Label, readonly string[]][]) {
      for (const word of words) counter.inc({ [label]: word } as Record<Label, string>, 0)
    }
    return counter
  }

  #gauge<Label extends string>(name: string, help: string, labelNames: readonly Label[] = []): Gauge<Label> {
    return new Gauge({ ...this.#describe('gauge', name, help, labelNames), labelNames })
  }

  #histogram<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    buckets: number[],
  ): Histogram<Label> {
    return new Histogram({ ...this.#describe('histogram', name, help, labelNames), labelNames, buckets })
  }

  #collected(gauge: GaugeOf<Vitals>, labelNames: []): void
  #collected(gauge: GaugeOf<VitalsOfUpstream>, labelNames: ['upstream']): void
  #collected({ help, name, read }: GaugeOf<never>, labelNames: [] | ['upstream']): void {
    const counters = this
    new Gauge({
      ...this.#describe('gauge', name, help, labelNames),
      labelNames,
      collect() {
        // Of what is gone, nothing is told.
        this.reset()
        if (labelNames.length === 0) this.remove()
        const vitals = counters.#vitalsNow
        if (!vitals) return
        for (const subject of labelNames.length === 0 ? [vitals] : vitals.upstreams) {
          const value = read(subject as never)
          if (value === undefined) continue
          if ('name' in subject) this.set({ upstream: subject.name }, value)
          else this.set(value)
        }
      },
    })
  }

  #describe(kind: MetricFacts['kind'], name: string, help: string, labels: readonly string[]) {
    const fullName = `imgapi_mirror_${name}`
    this.#facts.push({ name: fullName, kind, labels, help })
    return { name: fullName, help, registers: [this.#registry] }
  }
}

const REFRESH_OUTCOMES = ['changed', 'unchanged', 'failed']
const DAMAGE_KINDS = ['blob', 'fingerprint', 'image', 'icon', 'claims', 'registry', 'bundle', 'index']

/** A client may send any word as its method; only these become labels. */
const KNOWN_METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])
