import { isMirrorError, MirrorError } from '../errors.js'
import type { Claim } from '../images/claim.js'
import { type Digest, strongestDigest } from '../images/digest.js'
import type { ImageFile, Manifest } from '../images/manifest.js'
import { type Deferred, deferred } from '../parts/deferred.js'
import type { Log } from '../parts/log.js'
import { pause } from '../parts/pause.js'
import type { BlobStore, Fingerprint, PartialBlob } from '../store/blob-store.js'
import type { FileBody, Upstream } from '../upstream/upstream.js'
import type { MirrorCounters } from './counters.js'
import type { FaultMemory } from './fault-memory.js'

/** One way to get the file: an upstream, and what it claims. */
export interface Offer {
  readonly upstream: Upstream
  readonly claim: Claim
}

export interface FlightOptions {
  readonly manifest: Manifest
  readonly fileIndex: number
  /** Best first. At least one. */
  readonly offers: readonly Offer[]
  readonly blobs: Pick<BlobStore, 'receive'>
  readonly faults: FaultMemory
  readonly counters: MirrorCounters
  readonly log: Log
  /** How long to wait after the n-th failure in a row without a new byte, n from 1. */
  readonly backoffMs: (failures: number) => number
}

/** How often all offers together may fail in a row, none of them bringing a byte, before a flight that has begun gives up. */
const FUTILE_ROUNDS = 2

/** Compared at once when an upstream begins at the start although we hold a part. */
const COMPARE_BYTES = 256 * 1024

/**
 * One download of one image file, which any number of clients may follow. It belongs to the mirror: no client can slow
 * it, stop it or own it. It runs from the moment it is made.
 *
 * When an upstream fails in the middle, the flight goes on with the next one that claims the same digests and size,
 * from the same byte. An upstream that cannot begin in the middle has its first part compared with what we have, and
 * skipped.
 */
export class Flight {
  readonly expected: { readonly sizeBytes: number; readonly digests: readonly Digest[] }
  /** Resolves when an upstream has begun to deliver; rejects when none would. */
  readonly begun: Promise<void>
  /** Resolves when the file is kept; rejects with whatever ended the flight. */
  readonly ended: Promise<Fingerprint>

  readonly #options: FlightOptions
  readonly #file: ImageFile
  readonly #abort = new AbortController()
  readonly #begun = deferred<void>()
  readonly #locations = new Set<string>()
  /** Whose bytes are in the file. */
  readonly #contributors = new Set<Offer>()
  #partial: PartialBlob | undefined
  #state: 'receiving' | 'verified' | 'failed' = 'receiving'
  #failure: unknown
  #contentMd5: Digest | undefined
  #delivering: string | undefined
  #readers = 0
  #isOver = false
  #changed: Deferred<void> = deferred()

  constructor(options: FlightOptions) {
    this.#options = options
    this.#file = options.manifest.files[options.fileIndex]!
    this.expected = { sizeBytes: this.#file.sizeBytes, digests: this.#file.digests }
    this.begun = this.#begun.promise
    this.ended = this.#run()
    // Whoever is interested listens; nobody being interested is no unhandled rejection.
    this.begun.catch(() => {})
    this.ended.catch((error) => this.#begun.reject(error))
  }

  get receivedBytes(): number {
    return this.#partial?.receivedBytes ?? 0
  }

  get readers(): number {
    return this.#readers
  }

  /** The upstream that delivers at this moment. */
  get delivering(): string | undefined {
    return this.#delivering
  }

  get manifest(): Manifest {
    return this.#options.manifest
  }

  get fileIndex(): number {
    return this.#options.fileIndex
  }

  /** What an upstream's Content-MD5 said; known from `begun` on. */
  get contentMd5(): Digest | undefined {
    return this.#contentMd5
  }

  /** Where the bytes came from. */
  get locations(): readonly string[] {
    return [...this.#locations]
  }

  /** A reader's hold on the bytes: they stay readable, whatever becomes of the file's name, until `release`. */
  retain(): void {
    this.#readers++
  }

  async release(): Promise<void> {
    this.#readers--
    await this.#closeWhenDone()
  }

  /**
   * Waits until more than `positionBytes` of the file has arrived and, for its last `holdbackBytes` before `endBytes`,
   * until the whole file is verified. Answers up to where a reader of the range that ends at `endBytes` may read.
   * @throws what ended the flight, when that will never be.
   */
  async released(positionBytes: number, endBytes: number, holdbackBytes: number): Promise<number> {
    for (;;) {
      if (this.#state === 'verified') return endBytes
      if (this.#state === 'failed') throw this.#failure
      const released = Math.min(this.receivedBytes, endBytes - holdbackBytes)
      if (released > positionBytes) return released
      await this.#changed.promise
    }
  }

  /** Reads bytes that have been released. */
  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    return await this.#partial!.read(buffer, positionBytes)
  }

  /** Ends the flight; every reader fails with `reason`. */
  abort(reason: MirrorError): void {
    this.#abort.abort(reason)
  }

  async #run(): Promise<Fingerprint> {
    const { blobs, counters, log, manifest } = this.#options
    const startedMs = Date.now()
    try {
      this.#partial = await blobs.receive(this.expected)
      await this.#receive(this.#partial)
      await this.#verify(this.#partial)
      const fingerprint = await this.#partial.keep()
      counters.flightEnded('kept')
      log.info(
        {
          uuid: manifest.uuid,
          sizeBytes: fingerprint.sizeBytes,
          sha1: fingerprint.sha1,
          durationMs: Date.now() - startedMs,
        },
        `kept file ${this.fileIndex} of image ${manifest.uuid}`,
      )
      return fingerprint
    } catch (error) {
      counters.flightEnded('failed')
      this.#failure = error
      if (this.#state === 'receiving') this.#state = 'failed'
      await this.#partial?.discard()
      throw error
    } finally {
      this.#delivering = undefined
      this.#isOver = true
      this.#notify()
      await this.#closeWhenDone()
    }
  }

  /** Brings all bytes in, from whoever gives them. */
  async #receive(partial: PartialBlob): Promise<void> {
    const { faults, log, manifest } = this.#options
    const offers = faults.leastFaultyFirst(this.#options.offers, (offer) => this.#faultKey(offer))
    const complaints = new Map<string, unknown>()
    let futile = 0
    for (let turn = 0; ; turn++) {
      const offer = offers[turn % offers.length]!
      const before = partial.receivedBytes
      try {
        await this.#receiveFrom(offer, partial)
        return
      } catch (error) {
        this.#abort.signal.throwIfAborted()
        // What our own disk refuses, no other upstream can mend; a surprise is a bug and ends the flight.
        if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
        faults.remember(this.#faultKey(offer))
        complaints.set(offer.upstream.name, error)
        const facts = {
          uuid: manifest.uuid,
          upstream: offer.upstream.name,
          receivedBytes: partial.receivedBytes,
          err: error,
        }
        log.warn(facts, `upstream ${offer.upstream.name} failed with file ${this.fileIndex} of image ${manifest.uuid}`)
        futile = partial.receivedBytes > before ? 0 : futile + 1
        const hasBegun = partial.receivedBytes > 0
        if (futile >= offers.length * (hasBegun ? FUTILE_ROUNDS : 1)) throw this.#nobodyDelivers(complaints)
        if (futile >= offers.length) await pause(this.#options.backoffMs(futile), this.#abort.signal)
      }
    }
  }

  async #receiveFrom(offer: Offer, partial: PartialBlob): Promise<void> {
    const { signal } = this.#abort
    const asked = partial.receivedBytes
    const answer = await offer.upstream.openFile({
      statement: offer.claim,
      fileIndex: this.#options.fileIndex,
      startBytes: asked,
      signal,
    })
    try {
      this.#checkAnswer(offer, answer, asked)
      this.#delivering = offer.upstream.name
      this.#locations.add(answer.location)
      this.#contentMd5 ??= answer.contentMd5
      this.#begun.resolve()
      let position = answer.startBytes
      for await (const chunk of answer.body as AsyncIterable<Buffer>) {
        signal.throwIfAborted()
        this.#options.counters.bytesReceived(offer.upstream.name, chunk.length)
        const known = Math.min(chunk.length, partial.receivedBytes - position)
        if (known > 0) await this.#compare(offer, partial, chunk.subarray(0, known), position)
        if (known < chunk.length) {
          this.#contributors.add(offer)
          await partial.append(known > 0 ? chunk.subarray(known) : chunk)
        }
        position += chunk.length
        this.#notify()
      }
      if (position < this.expected.sizeBytes) {
        throw new MirrorError(
          'UPSTREAM_MISBEHAVED',
          `upstream ${offer.upstream.name} ended file ${this.fileIndex} of image ${this.manifest.uuid} after ` +
            `${position} of ${this.expected.sizeBytes} bytes`,
        )
      }
    } finally {
      answer.body.destroy()
    }
  }

  #checkAnswer(offer: Offer, answer: FileBody, askedBytes: number): void {
    const { sizeBytes } = this.expected
    const isPlausible = answer.startBytes === askedBytes || answer.startBytes === 0
    if (isPlausible && (answer.totalBytes === undefined || answer.totalBytes === sizeBytes)) return
    throw new MirrorError(
      'UPSTREAM_MISBEHAVED',
      `upstream ${offer.upstream.name} offers ${answer.totalBytes} bytes from ${answer.startBytes} on for file ` +
        `${this.fileIndex} of image ${this.manifest.uuid}, where ${sizeBytes} bytes from ${askedBytes} on were asked`,
    )
  }

  /** What comes a second time must be what came the first time: two upstreams must not be mixed into one file unseen. */
  async #compare(offer: Offer, partial: PartialBlob, bytes: Buffer, positionBytes: number): Promise<void> {
    const buffer = Buffer.allocUnsafe(Math.min(bytes.length, COMPARE_BYTES))
    for (let done = 0; done < bytes.length; ) {
      const length = await partial.read(buffer.subarray(0, bytes.length - done), positionBytes + done)
      if (!buffer.subarray(0, length).equals(bytes.subarray(done, done + length))) {
        throw new MirrorError(
          'UPSTREAM_MISBEHAVED',
          `upstream ${offer.upstream.name} gives other bytes for image ${this.manifest.uuid} than were received before, ` +
            `between ${positionBytes + done} and ${positionBytes + done + length}`,
        )
      }
      done += length
    }
  }

  async #verify(partial: PartialBlob): Promise<void> {
    try {
      await partial.verify()
    } catch (error) {
      if (isMirrorError(error, 'UPSTREAM_MISBEHAVED')) this.#blame(error)
      throw error
    }
    this.#state = 'verified'
    this.#notify()
  }

  /** Bytes were wrong, and a whole-file digest cannot say whose: everybody who took part is tried last next time. */
  #blame(error: MirrorError): void {
    const { counters, faults, log, manifest } = this.#options
    for (const offer of this.#contributors) {
      faults.remember(this.#faultKey(offer))
      counters.verificationFailed(offer.upstream.name)
    }
    const upstreams = [...this.#contributors].map((offer) => offer.upstream.name)
    log.error(
      { uuid: manifest.uuid, upstreams, locations: this.locations, err: error },
      `file ${this.fileIndex} of image ${manifest.uuid} is not what was promised: ${error.message}`,
    )
  }

  #nobodyDelivers(complaints: ReadonlyMap<string, unknown>): MirrorError {
    const reasons = [...complaints.values()].map((error) => (error instanceof Error ? error.message : String(error)))
    const isSilence = [...complaints.values()].every((error) => isMirrorError(error, 'UPSTREAM_UNREACHABLE'))
    return new MirrorError(
      isSilence ? 'UPSTREAM_UNREACHABLE' : 'UPSTREAM_MISBEHAVED',
      `no upstream delivers file ${this.fileIndex} of image ${this.manifest.uuid}: ${reasons.join('; ')}`,
      { cause: [...complaints.values()].at(-1) },
    )
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
    if (this.#isOver && this.#readers === 0) await this.#partial?.close()
  }
}
