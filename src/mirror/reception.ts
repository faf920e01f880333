import { isMirrorError, MirrorError } from '../errors.js'
import type { Claim } from '../images/claim.js'
import type { Digest } from '../images/digest.js'
import type { Manifest } from '../images/manifest.js'
import type { Log } from '../parts/log.js'
import { pause } from '../parts/pause.js'
import { type FileBody, type LivePriority, priorityNow, type TlsIdentity, type Upstream } from '../upstream/upstream.js'
import { batchesOf } from './batches-of.js'
import type { MirrorCounters } from './counters.js'
import type { InFlightFile } from './in-flight-file.js'
import { type ByteRange, MissingPieces } from './missing-pieces.js'

/** One way to get the file: an upstream, and what it claims. */
export interface Offer {
  readonly upstream: Upstream
  readonly claim: Claim
  /** How many connections may carry the file at once; at least 1. More only help where the line is long. */
  readonly connections: number
  /** How long clients who have bytes already wait for it while it is away, before they are cut. */
  readonly awayPatienceMs?: number
}

/** Somebody who gave bytes, and who that proved to be. */
export interface KnownServer {
  readonly upstream: string
  /** Its origin: `https://images.example.com`. */
  readonly server: string
  readonly tls: TlsIdentity
}

/** So many are remembered of a file; more certificates behind one upstream are all different in name only. */
const MOST_SERVERS = 20

export interface ReceptionOptions {
  readonly manifest: Manifest
  readonly fileIndex: number
  readonly file: InFlightFile
  /** Best first. At least one. */
  readonly offers: readonly Offer[]
  readonly priority: LivePriority
  /** How long to wait after the n-th failure in a row without a new byte, n from 1. */
  readonly backoffMs: (failures: number) => number
  readonly signal: AbortSignal
  readonly counters: MirrorCounters
  readonly log: Log
  /** An upstream is asked from now on, until another is. */
  readonly onAsking: (offer: Offer) => void
  /** An upstream has begun to deliver. */
  readonly onBegun: (answer: { readonly upstream: string; readonly contentMd5: Digest | undefined }) => void
  /** Bytes have come. */
  readonly onBytes: () => void
  /** An upstream failed with this file: something else is tried first from now on. */
  readonly onFault: (offer: Offer) => void
}

/** How often all offers together may fail in a row, none of them bringing a byte, before a flight that has begun gives up. */
const FUTILE_ROUNDS = 2

/** One that asks to be tried again as soon as this gets a second round in any case. */
const SOON_MS = 2_000

/** What one of several connections fetches at a time. Small enough to share the work, large enough not to notice the asking. */
const PIECE_BYTES = 8 * 1024 * 1024

/**
 * Taken at once of what a connection has brought while the disk was busy: readers are woken once for so much. A batch on its way to the
 * disk, one that gathers, and what the journal has not noted yet are less than a chunk: what a kill may cost.
 */
const BATCH_BYTES = 128 * 1024

/** Compared at once when bytes come that are here already. */
const COMPARE_BYTES = 256 * 1024

/**
 * Brings in all bytes of a file, from whoever gives them: when an upstream fails in the middle, the next one goes on with
 * the same byte. Nothing that came is thrown away, and nothing is believed: what comes a second time is compared, and
 * the digest of the whole, taken elsewhere, has the last word.
 */
export class Reception {
  readonly #options: ReceptionOptions
  readonly #contributors = new Set<Offer>()
  readonly #servers = new Map<string, KnownServer>()
  /** What upstreams called this version of the file; a changed one says that the file has changed. */
  readonly #validators = new Map<Offer, string>()
  /** Offers seen to ignore ranges: they get one connection, and start over from the first byte. */
  readonly #rangeless = new Set<Offer>()
  /** An upstream has begun to deliver: from then on clients can no more be told that none does. */
  #hasBegun = false
  /** Upstreams gave different bytes for the same place. The first ones stand, until the whole is verified. */
  #isDisputed = false

  constructor(options: ReceptionOptions) {
    this.#options = options
  }

  /** Those who gave bytes over TLS. */
  get servers(): readonly KnownServer[] {
    return [...this.#servers.values()]
  }

  /** Whose bytes are in the file. */
  get contributors(): readonly Offer[] {
    return [...this.#contributors]
  }

  /**
   * Resolves when every byte is here.
   * @throws MirrorError UPSTREAM_UNREACHABLE or UPSTREAM_MISBEHAVED when nobody delivers any more; what the store
   *   refuses, and the signal's reason, pass through.
   */
  async run(): Promise<void> {
    const { counters, file, log, manifest, offers, signal } = this.#options
    const complaints = new Map<string, unknown>()
    let futile = 0
    let failingSinceMs = 0
    for (let turn = 0; file.receivedBytes < file.sizeBytes; ) {
      const offer = offers[turn % offers.length]!
      const [before, wasPassing] = [presentBytes(file), file.isPassing]
      this.#options.onAsking(offer)
      if (before > 0 && !wasPassing) counters.flightResumed(offer.upstream.name)
      try {
        await this.#pull(offer)
      } catch (error) {
        signal.throwIfAborted()
        // The disk filled up just now: the bytes pass by from here on, in order, by one connection.
        if (file.isPassing && !wasPassing) continue
        // What our own disk refuses, no other upstream can mend; a surprise is a bug and ends the flight.
        if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
        this.#options.onFault(offer)
        complaints.set(offer.upstream.name, error)
        const receivedBytes = presentBytes(file)
        const facts = { uuid: manifest.uuid, upstream: offer.upstream.name, receivedBytes, err: error }
        log.warn(
          facts,
          `upstream ${offer.upstream.name} failed with file ${this.#options.fileIndex} of image ${manifest.uuid}`,
        )
        if (futile === 0 || receivedBytes > before) failingSinceMs = performance.now()
        futile = receivedBytes > before ? 0 : futile + 1
        const soonestMs = Math.min(...waitsOf(complaints.values()))
        const isWorthASecond = receivedBytes > 0 || soonestMs <= SOON_MS
        const isFutile = futile >= offers.length * (isWorthASecond ? FUTILE_ROUNDS : 1)
        if (isFutile && !this.#isWorthWaiting(complaints, performance.now() - failingSinceMs)) {
          throw this.#nobodyDelivers(complaints)
        }
        if (futile >= offers.length) {
          const backoffMs = this.#options.backoffMs(futile)
          await pause(soonestMs <= SOON_MS ? Math.max(soonestMs, backoffMs) : backoffMs, signal)
        }
        turn++
        if (offers.length > 1) counters.flightFailedOver(offer.upstream.name)
      }
    }
  }

  /** Whether clients who have begun to read would rather wait than be cut: whoever failed is only away, and not for long yet. */
  #isWorthWaiting(complaints: ReadonlyMap<string, unknown>, failingMs: number): boolean {
    if (!this.#hasBegun || priorityNow(this.#options.priority) !== 'client') return false
    const failures = [...complaints.values()]
    const areAway = failures.every((error) => isMirrorError(error, 'UPSTREAM_UNREACHABLE'))
    const leftMs = Math.max(...this.#options.offers.map(({ awayPatienceMs = 0 }) => awayPatienceMs)) - failingMs
    return areAway && leftMs > 0 && waitsOf(failures).every((waitMs) => waitMs <= leftMs)
  }

  /** Fetches what is missing from one upstream, by as many connections as it is given, until nothing is or one fails. */
  async #pull(offer: Offer): Promise<void> {
    const { file, signal } = this.#options
    const connections = this.#rangeless.has(offer) || file.isPassing ? 1 : offer.connections
    const pieces = new MissingPieces(file.sizeBytes, () => file.extents, connections > 1 ? PIECE_BYTES : file.sizeBytes)
    const failing = new AbortController()
    const pullSignal = AbortSignal.any([signal, failing.signal])
    const workers: Promise<void>[] = []
    let failure: { readonly error: unknown } | undefined
    const work = async () => {
      try {
        for (let piece = pieces.take(); piece; piece = pieces.take()) {
          try {
            await this.#fetch(offer, piece, pullSignal, hire)
          } finally {
            pieces.giveBack(piece)
          }
        }
      } catch (error) {
        // The first failure ends the others; theirs are only its echo.
        failure ??= { error }
        failing.abort(error)
      }
    }
    // More hands once it is seen that the upstream gives parts.
    const hire = () => {
      while (workers.length < connections) workers.push(work())
    }
    workers.push(work())
    for (let index = 0; index < workers.length; index++) await workers[index]
    if (failure) throw failure.error
  }

  async #fetch(offer: Offer, piece: ByteRange, signal: AbortSignal, onPartGiven: () => void): Promise<void> {
    const { fileIndex, file, offers, priority } = this.#options
    const answer = await offer.upstream.openFile({
      statement: offer.claim,
      fileIndex,
      startBytes: piece.startBytes,
      ...(piece.endBytes < file.sizeBytes && { endBytes: piece.endBytes }),
      validator: this.#validators.get(offer),
      priority,
      isLastResort: offers.length === 1,
      signal,
    })
    try {
      const endBytes = this.#check(offer, piece, answer)
      this.#hasBegun = true
      this.#options.onBegun({ upstream: offer.upstream.name, contentMd5: answer.contentMd5 })
      if (endBytes === piece.endBytes) onPartGiven()
      await this.#absorb(offer, answer, endBytes, signal)
    } finally {
      answer.body.destroy()
    }
  }

  /** What the answer says of itself must fit what was asked. Answers where the body must end, exclusive. */
  #check(offer: Offer, piece: ByteRange, answer: FileBody): number {
    const { sizeBytes } = this.#options.file
    const asked = piece.startBytes > 0 || piece.endBytes < sizeBytes
    const isPart = answer.startBytes === piece.startBytes && answer.endBytes === piece.endBytes
    const isWhole = answer.startBytes === 0 && (answer.totalBytes === undefined || answer.endBytes === sizeBytes)
    if ((answer.totalBytes !== undefined && answer.totalBytes !== sizeBytes) || (!isPart && !isWhole)) {
      throw this.#misbehaved(
        offer,
        `offers bytes ${answer.startBytes} to ${answer.endBytes} of ${answer.totalBytes}, where ${piece.startBytes} to ` +
          `${piece.endBytes} of ${sizeBytes} were asked`,
      )
    }
    if (asked && !isPart) this.#rangeless.add(offer)
    const known = this.#validators.get(offer)
    if (known !== undefined && answer.validator !== known) this.#isDisputed = true
    if (answer.validator !== undefined) this.#validators.set(offer, answer.validator)
    return isPart ? piece.endBytes : sizeBytes
  }

  async #absorb(offer: Offer, answer: FileBody, endBytes: number, signal: AbortSignal): Promise<void> {
    const { counters, file, onBytes } = this.#options
    const source = { upstream: offer.upstream.name, location: answer.location }
    let position = answer.startBytes
    const take = async (chunk: Buffer) => {
      signal.throwIfAborted()
      counters.bytesReceived(offer.upstream.name, chunk.length)
      if (position + chunk.length > endBytes)
        throw this.#misbehaved(offer, `sends more than the promised ${endBytes} bytes`)
      for (let taken = 0; taken < chunk.length; ) {
        const { length, isHere } = stretchAt(file, position + taken, chunk.length - taken)
        const bytes = chunk.subarray(taken, taken + length)
        if (isHere) await this.#compare(offer, bytes, position + taken)
        else {
          this.#contributors.add(offer)
          this.#meet(offer, answer)
          await file.write(position + taken, bytes, source)
        }
        taken += length
      }
      position += chunk.length
    }
    for await (const batch of batchesOf(answer.body, BATCH_BYTES)) {
      try {
        for (const chunk of batch) {
          await take(chunk)
          // What was missing has come meanwhile: the rest of a whole file that nobody asked for is not paid for.
          if (file.receivedBytes === file.sizeBytes) return
        }
      } finally {
        onBytes()
      }
    }
    if (position < endBytes) throw this.#misbehaved(offer, `ended after ${position} of ${endBytes} bytes`)
  }

  #meet({ upstream: { name } }: Offer, { location, tls }: FileBody): void {
    if (!tls || this.#servers.size >= MOST_SERVERS) return
    const server = URL.canParse(location) ? new URL(location).origin : location
    this.#servers.set(`${name} ${server} ${tls.fingerprint}`, { upstream: name, server, tls })
  }

  /** Two upstreams must not be mixed into one file unseen; which of them is right, the digest of the whole will tell. */
  async #compare(offer: Offer, bytes: Buffer, positionBytes: number): Promise<void> {
    const { file, log, manifest } = this.#options
    // What has passed through memory cannot be compared any more, and need not be: it is in the hash.
    if (file.isPassing || this.#isDisputed) return
    const buffer = Buffer.allocUnsafe(Math.min(bytes.length, COMPARE_BYTES))
    for (let done = 0; done < bytes.length; ) {
      const length = await file.read(buffer.subarray(0, bytes.length - done), positionBytes + done)
      if (!buffer.subarray(0, length).equals(bytes.subarray(done, done + length))) {
        this.#isDisputed = true
        const facts = { uuid: manifest.uuid, upstream: offer.upstream.name, positionBytes: positionBytes + done }
        log.warn(facts, `upstream ${offer.upstream.name} gives other bytes for image ${manifest.uuid} than came before`)
        return
      }
      done += length
    }
  }

  #misbehaved(offer: Offer, what: string): MirrorError {
    const { fileIndex, manifest } = this.#options
    return new MirrorError(
      'UPSTREAM_MISBEHAVED',
      `upstream ${offer.upstream.name}, asked for file ${fileIndex} of image ${manifest.uuid}, ${what}`,
    )
  }

  #nobodyDelivers(complaints: ReadonlyMap<string, unknown>): MirrorError {
    const { fileIndex, manifest } = this.#options
    const failures = [...complaints.values()].filter((error) => error instanceof Error)
    const isSilence = failures.every((error) => isMirrorError(error, 'UPSTREAM_UNREACHABLE'))
    const isOverLimit = failures.length > 0 && failures.every((error) => isMirrorError(error) && error.isOverLimit)
    const waits = waitsOf(failures)
    return new MirrorError(
      isSilence ? 'UPSTREAM_UNREACHABLE' : 'UPSTREAM_MISBEHAVED',
      `no upstream delivers file ${fileIndex} of image ${manifest.uuid}: ${failures.map(({ message }) => message).join('; ')}`,
      { cause: failures.at(-1), isOverLimit, ...(waits.length > 0 && { retryAfterMs: Math.min(...waits) }) },
    )
  }
}

/** When those who said so want to be tried again. */
function waitsOf(errors: Iterable<unknown>): number[] {
  return [...errors].flatMap((error) => (isMirrorError(error) && error.retryAfterMs ? [error.retryAfterMs] : []))
}

function presentBytes({ extents }: InFlightFile): number {
  return extents.reduce((sum, { startBytes, endBytes }) => sum + endBytes - startBytes, 0)
}

/** From a place in the file on, at most `wantedBytes`: how many bytes are here, or how many are not. */
function stretchAt(
  file: InFlightFile,
  positionBytes: number,
  wantedBytes: number,
): { length: number; isHere: boolean } {
  for (const { startBytes, endBytes } of file.extents) {
    if (endBytes <= positionBytes) continue
    if (startBytes <= positionBytes) return { length: Math.min(wantedBytes, endBytes - positionBytes), isHere: true }
    return { length: Math.min(wantedBytes, startBytes - positionBytes), isHere: false }
  }
  return { length: wantedBytes, isHere: false }
}
