import { isMirrorError, MirrorError } from '../errors.js'
import { type Digest, strongestDigest } from '../images/digest.js'
import type { Manifest } from '../images/manifest.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import type { Log } from '../parts/log.js'
import type { BlobStore, ExpectedBlob, Extent, Fingerprint } from '../store/blob-store.js'
import type { Correction } from '../store/image-store.js'
import type { Upstream } from '../upstream/upstream.js'
import type { MirrorCounters } from './counters.js'
import type { FaultMemory } from './fault-memory.js'
import { InFlightFile, type MakeRoom } from './in-flight-file.js'
import type { RecordHappening } from './ledger.js'
import type { ByteRange } from './missing-pieces.js'
import { type Follower, WINDOW_BYTES } from './passing-window.js'
import { type KnownServer, type Offer, Reception } from './reception.js'
import { repair } from './repair.js'

export interface FlightOptions {
  readonly manifest: Manifest
  readonly fileIndex: number
  /** At least one, in order of precedence. */
  readonly offers: readonly Offer[]
  readonly blobs: Pick<BlobStore, 'receive'>
  readonly makeRoom: MakeRoom
  /** From the start: another flight of the same file passes by already. */
  readonly mustPass: boolean
  readonly faults: FaultMemory
  readonly counters: MirrorCounters
  readonly record: RecordHappening
  readonly log: Log
  /** As PartialBlob.keep has it. */
  readonly beforeNaming?: ((sha256: string) => Promise<void>) | undefined
  /** Bytes turned out wrong that readers may have. */
  readonly onSpoilt: () => void
  /** How long to wait after the n-th failure in a row without a new byte, n from 1. */
  readonly backoffMs: (failures: number) => number
}

/** By then, one of two mirrors that ask each other has found somebody else, or given up. */
const CROSSING_RETRY_MS = 1_000

/** How a file came to be what it is. */
export interface Provenance {
  /** Which bytes came from whom, in order. */
  readonly extents: readonly Extent[]
  /** Which bytes were wrong at first. */
  readonly corrections: readonly Correction[]
}

export interface Landed extends Provenance {
  /** `undefined` for a file that passed by, because there was no room to keep it. */
  readonly fingerprint: Fingerprint | undefined
  /** Who gave bytes now: of what an earlier flight had left, it is not known any more. */
  readonly servers: readonly KnownServer[]
}

/**
 * One download of one image file, which any number of clients may follow. It belongs to the mirror: no client can slow
 * it, stop it or own it. It runs from the moment it is made. (Only when the disk has no room, and the bytes pass through
 * memory, do its readers set the pace.)
 *
 * Bytes arrive from one upstream after the other, as they fail. When all are here the whole is verified; if it is wrong,
 * a second copy may mend it. Then the last bytes are released to the readers, and the file is kept.
 */
export class Flight {
  readonly expected: ExpectedBlob
  /** Resolves when an upstream has begun to deliver; rejects when none would. */
  readonly begun: Promise<void>
  /** Resolves when the file is kept, or has passed by; rejects with whatever ended the flight. */
  readonly ended: Promise<Landed>

  readonly #options: FlightOptions
  readonly #abort = new AbortController()
  readonly #begun = deferred<void>()
  readonly #readers = new Set<FlightReader>()
  #file: InFlightFile | undefined
  #state: 'receiving' | 'checking' | 'verified' | 'failed' = 'receiving'
  #failure: unknown
  #corrections: readonly Correction[] = []
  #servers: readonly KnownServer[] = []
  #contentMd5: Digest | undefined
  #delivering: string | undefined
  #asking: Offer | undefined
  #holds = 0
  #isOver = false
  #changed: Deferred<void> = deferred()

  constructor(options: FlightOptions) {
    this.#options = options
    const { digests, sizeBytes } = options.manifest.files[options.fileIndex]!
    this.expected = { sizeBytes, digests }
    this.begun = this.#begun.promise
    this.ended = this.#run()
    // Whoever is interested listens; nobody being interested is no unhandled rejection.
    this.begun.catch(() => {})
    this.ended.catch((error) => this.#begun.reject(error))
  }

  get manifest(): Manifest {
    return this.#options.manifest
  }

  get fileIndex(): number {
    return this.#options.fileIndex
  }

  /** Whether this upstream may still be asked for some of it. */
  mayAsk(upstream: Upstream): boolean {
    return this.#options.offers.some((offer) => offer.upstream === upstream)
  }

  get receivedBytes(): number {
    return this.#file?.receivedBytes ?? 0
  }

  /** Clients who hold it open. */
  get readers(): number {
    return this.#holds
  }

  /** The upstream that delivers at this moment. */
  get delivering(): string | undefined {
    return this.#delivering
  }

  /** What an upstream's Content-MD5 said; known from `begun` on. */
  get contentMd5(): Digest | undefined {
    return this.#contentMd5
  }

  /** Whether somebody who comes now can still have all of it. */
  get isJoinable(): boolean {
    return !this.hasFailed && (this.#file?.isWhole ?? true)
  }

  get hasFailed(): boolean {
    return this.#state === 'failed'
  }

  /**
   * Whoever comes by way of the mirror that is being asked for these very bytes would wait for us, and we for them.
   * @param hops the mirrors that a client's request has come through.
   * @throws MirrorError LOOP_DETECTED
   */
  refuseCrossing(hops: readonly string[]): void {
    const asked = this.#asking?.upstream
    if (this.#state !== 'receiving' || asked?.instance === undefined || !hops.includes(asked.instance)) return
    throw new MirrorError(
      'LOOP_DETECTED',
      `file ${this.fileIndex} of image ${this.manifest.uuid} is being asked for at upstream ${asked.name}, which asks for it here`,
      { retryAfterMs: CROSSING_RETRY_MS },
    )
  }

  /** A client's hold on the bytes: they stay readable, whatever becomes of the file's name, until `release`. */
  retain(): void {
    this.#holds++
  }

  async release(): Promise<void> {
    this.#holds--
    await this.#closeWhenDone()
  }

  /** It is over, and nobody can join any more: the file is closed as soon as the last client has let go. */
  async land(): Promise<void> {
    this.#isOver = true
    await this.#closeWhenDone()
  }

  /** For one who reads from `startBytes` up to `endBytes`; the last `holdbackBytes` of that come when all is verified. */
  reader(startBytes: number, endBytes: number, holdbackBytes: number): FlightReader {
    const reader = new FlightReader(this, { startBytes, endBytes }, holdbackBytes, () => {
      this.#readers.delete(reader)
      this.#file?.followersMoved()
    })
    this.#readers.add(reader)
    return reader
  }

  /** Where things stand for readers: up to where bytes are here, and whether all of them are known to be right. */
  get standing(): { readonly availableBytes: number; readonly isVerified: boolean } {
    if (this.#state === 'failed') throw this.#failure
    return { availableBytes: this.receivedBytes, isVerified: this.#state === 'verified' }
  }

  /** Whether the bytes pass through memory, because there is no room to keep them. */
  get isPassing(): boolean {
    return this.#file?.isPassing ?? false
  }

  /** Nothing is released while the whole is being checked: what turns out wrong should reach as few as possible. */
  get isChecking(): boolean {
    return this.#state === 'checking'
  }

  /** Resolves with the next thing that happens. */
  get change(): Promise<void> {
    return this.#changed.promise
  }

  /** @throws what ended the flight, when it has failed. */
  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    if (this.#state === 'failed') throw this.#failure
    return await this.#file!.read(buffer, positionBytes)
  }

  /** A reader has got on. */
  readerMoved(): void {
    this.#file?.followersMoved()
  }

  /** Ends the flight; every reader fails with `reason`. What was received stays for the next flight. */
  abort(reason: MirrorError): void {
    this.#abort.abort(reason)
  }

  async #run(): Promise<Landed> {
    const { blobs, counters, log, makeRoom, manifest, mustPass } = this.#options
    const startedMs = Date.now()
    // So that nothing below runs before the constructor is through.
    await Promise.resolve()
    try {
      const { signal } = this.#abort
      const { expected } = this
      const file = await InFlightFile.open({ expected, blobs, makeRoom, mustPass, followers: this.#readers, signal })
      this.#file = file
      const contributors = await this.#receive(file)
      await this.#verify(file, contributors)
      const extents = file.partial?.extents ?? []
      const fingerprint = await file.keep(this.#options.beforeNaming)
      counters.flightEnded(fingerprint ? 'kept' : 'passed')
      const facts = { uuid: manifest.uuid, sizeBytes: this.expected.sizeBytes, durationMs: Date.now() - startedMs }
      if (fingerprint) log.info(facts, `kept file ${this.fileIndex} of image ${manifest.uuid}`)
      else
        log.warn(
          facts,
          `no room for file ${this.fileIndex} of image ${manifest.uuid}: verified and passed on, not kept`,
        )
      return { fingerprint, extents, corrections: this.#corrections, servers: this.#servers }
    } catch (error) {
      counters.flightEnded('failed')
      const state = this.#state
      this.#failure = error
      if (state !== 'verified') this.#state = 'failed'
      this.#notify()
      // What came is worth keeping for the next try, unless all of it came and was wrong.
      if (state === 'receiving') await this.#file?.suspend()
      else await this.#file?.discard()
      throw error
    } finally {
      this.#delivering = undefined
      this.#notify()
    }
  }

  async #receive(file: InFlightFile): Promise<readonly Offer[]> {
    const { faults, ...options } = this.#options
    const reception = new Reception({
      ...options,
      file,
      offers: faults.leastFaultyFirst(options.offers, (offer) => this.#faultKey(offer)),
      priority: () => this.#priority,
      signal: this.#abort.signal,
      onAsking: (offer) => {
        this.#asking = offer
      },
      onBegun: ({ upstream, contentMd5 }) => {
        this.#delivering = upstream
        this.#contentMd5 ??= contentMd5
        this.#begun.resolve()
      },
      onBytes: () => this.#notify(),
      onFault: (offer) => faults.remember(this.#faultKey(offer)),
    })
    await reception.run()
    this.#servers = reception.servers
    // An earlier flight may have left all of it.
    this.#begun.resolve()
    return reception.contributors
  }

  async #verify(file: InFlightFile, contributors: readonly Offer[]): Promise<void> {
    this.#state = 'checking'
    try {
      await file.verify()
    } catch (error) {
      if (!isMirrorError(error, 'UPSTREAM_MISBEHAVED')) throw error
      this.#blame(error, contributors)
      await this.#mend(file, contributors, error)
    }
    this.#state = 'verified'
    this.#notify()
  }

  /** @throws `complaint` when the file cannot be mended. */
  async #mend({ partial }: InFlightFile, contributors: readonly Offer[], complaint: MirrorError): Promise<void> {
    const { counters, fileIndex, log, manifest, offers } = this.#options
    if (!partial || !strongestDigest(this.expected.digests)) throw complaint
    const corrections = await repair({
      partial,
      fileIndex,
      uuid: manifest.uuid,
      offers: [...offers.filter((offer) => !contributors.includes(offer)), ...contributors],
      priority: () => this.#priority,
      signal: this.#abort.signal,
      log,
      onBytes: (upstream, bytes) => counters.bytesReceived(upstream, bytes),
    })
    if (!corrections) throw complaint
    this.#corrections = corrections
    for (const reader of this.#readers) reader.corrected(corrections)
    await partial.verify()
    counters.fileRepaired()
    const facts = { uuid: manifest.uuid, corrections }
    const places = corrections.length === 1 ? 'one place was' : `${corrections.length} places were`
    log.warn(facts, `file ${fileIndex} of image ${manifest.uuid} is mended: ${places} wrong`)
  }

  /** Bytes were wrong, and a whole-file digest cannot say whose: everybody who took part is tried last next time. */
  #blame(error: MirrorError, contributors: readonly Offer[]): void {
    const { counters, faults, log, manifest, onSpoilt, record } = this.#options
    onSpoilt()
    for (const offer of contributors) {
      faults.remember(this.#faultKey(offer))
      counters.verificationFailed(offer.upstream.name)
    }
    const upstreams = contributors.map((offer) => offer.upstream.name)
    const { fileIndex } = this
    record('verification-failed', manifest.uuid, { fileIndex, upstreams, reason: error.message })
    log.error(
      { uuid: manifest.uuid, upstreams, err: error },
      `file ${this.fileIndex} of image ${manifest.uuid} is not what was promised: ${error.message}`,
    )
  }

  get #priority(): 'client' | 'background' {
    return this.#holds > 0 ? 'client' : 'background'
  }

  #faultKey(offer: Offer): string {
    const digest = strongestDigest(this.expected.digests)
    return `${offer.upstream.name} ${digest?.hex ?? `${this.manifest.uuid}/${this.fileIndex}`}`
  }

  #notify(): void {
    this.#changed.resolve()
    this.#changed = deferred()
  }

  async #closeWhenDone(): Promise<void> {
    if (this.#isOver && this.#holds === 0) await this.#file?.close()
  }
}

/** One who reads a range of a file in flight, at its own pace. */
export class FlightReader implements Follower {
  readonly #flight: Flight
  readonly #range: ByteRange
  readonly #holdbackBytes: number
  readonly #onLeft: () => void
  #positionBytes: number
  /** The held-back tail, set aside so that a file that passes through memory need not wait for its own verification. */
  #pocket: { readonly startBytes: number; readonly bytes: Buffer } | undefined
  /** Up to where it has read, or is reading. */
  #reachedBytes: number
  #dropped: MirrorError | undefined

  constructor(flight: Flight, range: ByteRange, holdbackBytes: number, onLeft: () => void) {
    this.#flight = flight
    this.#range = range
    this.#holdbackBytes = Math.min(holdbackBytes, range.endBytes - range.startBytes)
    this.#onLeft = onLeft
    this.#positionBytes = range.startBytes
    this.#reachedBytes = range.startBytes
  }

  /** With the tail in its pocket, a reader waits for nobody's bytes. */
  get positionBytes(): number {
    return this.#pocket ? Number.POSITIVE_INFINITY : this.#positionBytes
  }

  /** What passes through memory leaves room for a small tail only. */
  get #tailBytes(): number {
    const mostBytes = this.#flight.isPassing ? WINDOW_BYTES / 2 : this.#holdbackBytes
    return this.#range.endBytes - Math.min(this.#holdbackBytes, mostBytes)
  }

  /** Waits until bytes behind those that were read may be read, and answers up to where. Rejects when that will never be. */
  async released(): Promise<number> {
    for (;;) {
      if (this.#dropped) throw this.#dropped
      const { availableBytes, isVerified } = this.#flight.standing
      if (isVerified) return this.#range.endBytes
      const released = Math.min(availableBytes, this.#tailBytes)
      if (released > this.#positionBytes && !this.#flight.isChecking) return released
      const hasOnlyTailLeft = this.#positionBytes >= this.#tailBytes && availableBytes >= this.#range.endBytes
      if (this.#flight.isPassing && hasOnlyTailLeft && !this.#pocket) await this.#fillPocket()
      else await this.#flight.change
    }
  }

  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    this.#reachedBytes = positionBytes + buffer.length
    const length = this.#pocket
      ? this.#pocket.bytes.copy(buffer, 0, positionBytes - this.#pocket.startBytes)
      : await this.#flight.read(buffer, positionBytes)
    this.#positionBytes = positionBytes + length
    this.#flight.readerMoved()
    return length
  }

  drop(reason: MirrorError): void {
    this.#dropped = reason
    this.#onLeft()
  }

  left(): void {
    this.#onLeft()
  }

  /** Bytes have been put right. What was handed on and was wrong cannot be taken back: that connection must break. */
  corrected(corrections: readonly ByteRange[]): void {
    const { startBytes } = this.#range
    const wrong = corrections.find((each) => each.startBytes < this.#reachedBytes && each.endBytes > startBytes)
    if (!wrong) return
    this.#dropped = new MirrorError(
      'UPSTREAM_MISBEHAVED',
      `bytes ${wrong.startBytes} to ${wrong.endBytes} of image ${this.#flight.manifest.uuid} were wrong when they were read`,
    )
  }

  async #fillPocket(): Promise<void> {
    const startBytes = this.#positionBytes
    const bytes = Buffer.allocUnsafeSlow(this.#range.endBytes - startBytes)
    for (let filled = 0; filled < bytes.length; ) {
      filled += await this.#flight.read(bytes.subarray(filled), startBytes + filled)
    }
    this.#pocket = { startBytes, bytes }
    this.#flight.readerMoved()
  }
}
