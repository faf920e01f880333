import { LRUCache } from 'lru-cache'
import { MirrorError } from '../errors.js'
import { formatDigest, strongestDigest } from '../images/digest.js'
import type { Manifest } from '../images/manifest.js'
import type { Log } from '../parts/log.js'
import type { BlobStore, ExpectedBlob } from '../store/blob-store.js'
import type { Upstream } from '../upstream/upstream.js'
import type { MirrorCounters } from './counters.js'
import { FaultMemory } from './fault-memory.js'
import { Flight, type Landed } from './flight.js'
import type { MakeRoom } from './in-flight-file.js'
import { declaredFile, namedExtents, type RecordHappening } from './ledger.js'
import type { Offer } from './reception.js'

export interface FlightsOptions {
  readonly blobs: Pick<BlobStore, 'receive'>
  readonly makeRoom: MakeRoom
  readonly counters: MirrorCounters
  readonly record: RecordHappening
  readonly log: Log
}

/** How long an upstream that failed with a file is tried last for it. */
const FAULT_TTL_MS = 10 * 60_000
const LONGEST_BACKOFF_MS = 30_000

/** Who was cut tries again within a day, if ever. */
const SPOILT_TTL_MS = 24 * 60 * 60_000
const SPOILT_REMEMBERED = 10_000

/** Flights that pass through memory cost some MiB each: no further one is begun beside so many others. */
const MOST_WHEN_PASSING = 32

function backoffMs(failures: number): number {
  return Math.min(500 * 2 ** (failures - 1), LONGEST_BACKOFF_MS) * (0.5 + Math.random() / 2)
}

/**
 * The downloads under way: one per file, whoever asks. A file is known by its strongest digest and its size, so two
 * images with the same file share one flight, and two claims that disagree never do.
 */
export class Flights {
  readonly #underWay = new Set<Flight>()
  /** Those that somebody who comes now can join. */
  readonly #joinable = new Map<string, Flight>()
  readonly #faults = new FaultMemory({ ttlMs: FAULT_TTL_MS })
  /** Files of which wrong bytes have left. */
  readonly #spoilt = new LRUCache<string, true>({ max: SPOILT_REMEMBERED, ttl: SPOILT_TTL_MS })
  readonly #options: FlightsOptions
  #isClosing = false

  constructor(options: FlightsOptions) {
    this.#options = options
  }

  /** The flight for this file, if one is under way. */
  find(manifest: Manifest, fileIndex: number): Flight | undefined {
    const flight = this.#joinable.get(keyOfFile(manifest, fileIndex))
    return flight?.isJoinable ? flight : undefined
  }

  /** Whether wrong bytes of this file may be in the hands of clients, who were cut and may try to go on. */
  isSpoilt(manifest: Manifest, fileIndex: number): boolean {
    return this.#spoilt.has(keyOfFile(manifest, fileIndex))
  }

  /**
   * @param beforeNaming as PartialBlob.keep has it.
   * @param wantedBy who wants it, where that is no client; for the ledger.
   * @throws MirrorError CLOSING when the mirror takes nothing new.
   */
  start(
    manifest: Manifest,
    fileIndex: number,
    offers: readonly Offer[],
    beforeNaming?: (sha256: string) => Promise<void>,
    wantedBy?: string,
  ): Flight {
    if (this.#isClosing) throw new MirrorError('CLOSING', 'the mirror is closing and fetches nothing new')
    const key = keyOfFile(manifest, fileIndex)
    // One that has failed is only tidying up behind itself; one that nobody can join passes by.
    const other = this.#joinable.get(key)
    const mustPass = other !== undefined && !other.hasFailed
    if (mustPass && this.#underWay.size >= MOST_WHEN_PASSING) {
      throw new MirrorError('STORE_FULL', `no room to keep image ${manifest.uuid}, and too much is passing by already`)
    }
    const onSpoilt = () => this.#spoilt.set(key, true)
    const flight = new Flight({
      ...this.#options,
      manifest,
      fileIndex,
      offers,
      mustPass,
      beforeNaming,
      faults: this.#faults,
      backoffMs,
      onSpoilt,
    })
    this.#underWay.add(flight)
    if (!mustPass) this.#joinable.set(key, flight)
    const land = () => {
      this.#underWay.delete(flight)
      if (this.#joinable.get(key) === flight) this.#joinable.delete(key)
      flight.land().catch((error) => this.#options.log.error({ err: error }, 'a file in flight could not be closed'))
    }
    const startedMs = Date.now()
    flight.ended.then(
      (landed) => this.#recordLanding(flight, landed, Date.now() - startedMs, wantedBy),
      (error) => this.#recordFailure(flight, error),
    )
    flight.ended.then(land, land)
    return flight
  }

  #recordLanding(
    { expected, fileIndex, manifest }: Flight,
    landed: Landed,
    durationMs: number,
    wantedBy: string | undefined,
  ): void {
    const { record } = this.#options
    const { corrections, extents, fingerprint, servers } = landed
    record('pulled', manifest.uuid, {
      fileIndex,
      sizeBytes: expected.sizeBytes,
      isKept: fingerprint !== undefined,
      durationMs,
      ...(wantedBy !== undefined && { wantedBy }),
      ...namedExtents(extents),
      corrections: corrections.map(({ startBytes, endBytes, rightFrom, wrongFrom }) => ({
        startBytes,
        endBytes,
        rightFrom,
        wrongFrom: [...new Set(wrongFrom.map(({ upstream }) => upstream))],
      })),
      servers,
    })
    if (!fingerprint) return
    const { md5, sha1, sha256, sizeBytes } = fingerprint
    const declared = declaredFile(expected.sizeBytes, expected.digests)
    record('verified', manifest.uuid, { fileIndex, declared, sizeBytes, sha256, sha1, md5 })
  }

  #recordFailure({ fileIndex, manifest }: Flight, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error)
    this.#options.record('pull-failed', manifest.uuid, { fileIndex, reason })
  }

  /** Resolves when nothing in flight may ask this upstream any more. What begins meanwhile is not waited for. */
  async without(upstream: Upstream): Promise<void> {
    const asking = [...this.#underWay].filter((flight) => flight.mayAsk(upstream))
    await Promise.allSettled(asking.map((flight) => flight.ended))
  }

  all(): Iterable<Flight> {
    return this.#underWay
  }

  /** Ends all flights and waits until they have let go of their files. */
  async close(): Promise<void> {
    this.#isClosing = true
    const flights = [...this.#underWay]
    for (const flight of flights) flight.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await Promise.allSettled(flights.map((flight) => flight.ended))
  }
}

/** The same for files that share a flight. */
export function keyOfFile(manifest: Manifest, fileIndex: number): string {
  const file = manifest.files[fileIndex]!
  const digest = strongestDigest(file.digests)
  return digest ? `${formatDigest(digest)} ${file.sizeBytes}` : `${manifest.uuid}/${fileIndex} ${file.sizeBytes}`
}

/** As `keyOfFile` has it, of a file that has a digest; `undefined` of one that has none. */
export function keyOfExpected({ digests, sizeBytes }: ExpectedBlob): string | undefined {
  const digest = strongestDigest(digests)
  return digest && `${formatDigest(digest)} ${sizeBytes}`
}
