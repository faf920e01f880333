import { isMirrorError, MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'
import type { Clock } from '../../parts/clock.js'
import type { Log } from '../../parts/log.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import type { Audited } from '../../store/audit-store.js'
import { type BlobRef, type BlobStore, CHUNK_BYTES, type Examination } from '../../store/blob-store.js'
import type { ScrubStore } from '../../store/scrub-store.js'
import type { MirrorCounters } from '../counters.js'
import type { RecordHappening } from '../ledger.js'
import type { ScrubStatus } from '../mirror.js'
import type { Damage } from './mender.js'
import { OldestFirst } from './oldest-first.js'

/** Of a blob that is read for somebody. */
export interface ReadingNow {
  readonly signal: AbortSignal
  /** Told of each chunk when it has been read. */
  readonly onChunk: (index: number) => void
}

export interface ScrubRounds {
  readonly everyMs: number
  readonly bytesPerSecond: number
}

export interface ScrubberOptions {
  readonly store: { readonly blobs: BlobStore; readonly scrub: ScrubStore } & Readonly<
    Record<'images' | 'icons' | 'claims' | 'registry' | 'arrivals', Audited>
  >
  /** Every blob is read again within this time, and never faster than this. `undefined`: only what is asked for. */
  readonly rounds: ScrubRounds | undefined
  /** Puts a damaged blob right. Never rejects. */
  readonly mend: (sha256: string, damage: Damage) => Promise<boolean>
  /** The images that a blob is a file of. */
  readonly imagesWith: (sha256: string) => readonly Uuid[]
  readonly counters: MirrorCounters
  readonly record: RecordHappening
  readonly clock: Clock
  readonly log: Log
}

const VANISHED: Examination = { damagedChunks: [], isWhole: false, fingerprint: 'good' }
/** Every blob is read within this part of the time it may take: the rest is for restarts and busy days. */
const HASTE = 0.8
/** Manifests, icons, claims and the index are small, and read together: daily, or more often where blobs are. */
const AUDIT_EVERY_MS = 86_400_000
/** What a crash may cost: what was read in so long, or so many blobs, is read again. Small against what is read meanwhile. */
const SAVE_EVERY_MS = 5 * 60_000
const MOST_UNSAVED = 10_000
/** The disk has refused: it will not be better at once. */
const PAUSE_AFTER_FAILURE_MS = 60_000
/** Timers cannot wait for a month, and what is due may change while we wait. */
const LONGEST_NAP_MS = 3_600_000

/**
 * Reads everything again that we keep, in the background: blobs one at a time, the one that waits longest first, spread
 * evenly over the time they may take; everything else once a day. Goes on where it stopped, also after a restart.
 */
export class Scrubber {
  readonly #options: ScrubberOptions
  #rounds: ScrubRounds | undefined
  readonly #abort = new AbortController()
  /** Interrupts what goes by rounds that hold no more. */
  #newRounds = new AbortController()
  readonly #mending = new Set<Promise<unknown>>()
  readonly #auditing = new OneAtATime()
  readonly #waiting: OldestFirst
  /** When blobs were read again since that was last written down, by sha256. At most MOST_UNSAVED and what is read while that goes on. */
  #unsaved = new Map<string, number>()
  /** What an earlier run has written down is known: from here on, so is what we write. */
  #isLoaded = false
  #current: { readonly sha256: string; nextChunk: number } | undefined
  #endedMs: number | undefined
  #auditedMs: number | undefined
  #savedMs = 0
  #saving: Promise<void> = Promise.resolve()
  #blobsRead = 0
  #damageFound = 0
  #running: Promise<void> | undefined

  constructor(options: ScrubberOptions) {
    this.#options = options
    this.#rounds = options.rounds
    this.#waiting = new OldestFirst({
      inOrderOfCheck: () => options.store.blobs.inOrderOfCheck(),
      find: (sha256) => this.#find(sha256),
      lastCheckMs: (ref) => this.#lastCheckMs(ref),
    })
  }

  start(): void {
    if (this.#rounds) this.#running ??= this.#run()
  }

  /** From now on; what is being read is read on at the new rate. */
  change(rounds: ScrubRounds | undefined): void {
    if (rounds?.everyMs === this.#rounds?.everyMs && rounds?.bytesPerSecond === this.#rounds?.bytesPerSecond) return
    this.#rounds = rounds
    this.#newRounds.abort(new Error('the scrub goes by other rounds now'))
    this.#newRounds = new AbortController()
    this.start()
  }

  /** Stops reading, and writes down where. */
  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await this.#running
    await this.#auditing.idle()
    await Promise.allSettled(this.#mending)
    if (!this.#running) return
    await this.#save()
  }

  /**
   * Reads a blob now, as fast as the disk gives it, and has it mended if need be. Besides the rounds, whether they are on or not.
   * @throws the signal's reason; MirrorError STORE_BROKEN.
   */
  async examineNow(sha256: string, reading: ReadingNow): Promise<'good' | 'mended' | 'damaged'> {
    const { counters, store } = this.#options
    const { signal } = this.#abort
    const ref = this.#find(sha256)
    if (!ref) return 'damaged'
    const examination = await store.blobs.examine(sha256, {
      signal: AbortSignal.any([signal, reading.signal]),
      onChunk: (index) => {
        counters.scrubbed(Math.min(CHUNK_BYTES, ref.sizeBytes - index * CHUNK_BYTES))
        reading.onChunk(index)
      },
    })
    // Somebody has let go of it meanwhile: nothing is wrong with it.
    if (!examination && !this.#find(sha256)) return 'good'
    this.#noteRead(sha256)
    const mending = this.#judge(ref, examination ?? VANISHED, 'an operator')
    return (await mending) === false ? 'damaged' : mending ? 'mended' : 'good'
  }

  /** Reads everything but blobs now. Answers how much was found damaged. */
  auditNow(): Promise<number> {
    return this.#audit()
  }

  /** `undefined` while there are no rounds. */
  status(): ScrubStatus | undefined {
    if (!this.#rounds) return undefined
    const { bytesPerSecond, everyMs } = this.#rounds
    const oldest = this.#waiting.first
    return {
      everyMs,
      bytesPerSecond,
      oldestCheckMs: oldest && this.#lastCheckMs(oldest),
      current: this.#reading(),
      auditedMs: this.#auditedMs,
      blobsRead: this.#blobsRead,
      damageFound: this.#damageFound,
      isTooSlow: this.#options.store.blobs.keptBytes / bytesPerSecond > everyMs / 1000,
    }
  }

  async #run(): Promise<void> {
    const { clock, log, store } = this.#options
    const { signal } = this.#abort
    const { current, endedMs, auditedMs } = await store.scrub.load(({ checkedMs, sha256 }) => {
      // Somebody may have had it read now, while we were finding out when it was read before.
      if (checkedMs > (store.blobs.checkedMs(sha256) ?? 0)) store.blobs.noteCheck(sha256, checkedMs)
    })
    this.#isLoaded = true
    this.#waiting.forget()
    this.#current = current
    this.#endedMs = endedMs ?? clock.wallMs()
    this.#auditedMs = auditedMs
    this.#savedMs = clock.steadyMs()
    while (!signal.aborted) {
      const changed = this.#newRounds.signal
      try {
        await this.#step(this.#rounds, AbortSignal.any([signal, changed]))
      } catch (error) {
        if (signal.aborted) return
        if (changed.aborted) continue
        log.error({ err: error }, 'the scrub was stopped by a failure; it goes on in a while')
        await clock.pause(PAUSE_AFTER_FAILURE_MS, signal).catch(() => {})
      }
    }
  }

  async #step(rounds: ScrubRounds | undefined, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    if (!rounds) return await clock.pause(LONGEST_NAP_MS, signal)
    const auditDueMs = this.#auditDueMs(rounds)
    if (auditDueMs <= 0) {
      await this.#audit()
      return
    }
    const interrupted = this.#current && this.#find(this.#current.sha256)
    const next = interrupted ?? this.#waiting.first
    const waitMs = next && !interrupted ? this.#dueMs(next, rounds) : 0
    if (next && waitMs <= 0) return await this.#examine(next, rounds, signal)
    await clock.pause(Math.min(next ? waitMs : LONGEST_NAP_MS, auditDueMs, LONGEST_NAP_MS), signal)
  }

  /** In how long the next blob is to be read, so that one after the other fills the time evenly. */
  #dueMs(next: BlobRef, { everyMs }: ScrubRounds): number {
    const { clock } = this.#options
    const nowMs = clock.wallMs()
    const roundMs = HASTE * everyMs
    // After a long time out of service there is no time to spread anything.
    if (nowMs - this.#lastCheckMs(next) >= everyMs) return 0
    const shareMs = (roundMs * next.sizeBytes) / Math.max(1, this.#options.store.blobs.keptBytes)
    // A clock that was set back must not stop us for longer than it would take anyway.
    return Math.min(shareMs, (this.#endedMs ?? nowMs) + shareMs - nowMs)
  }

  async #examine(ref: BlobRef, { bytesPerSecond }: ScrubRounds, signal: AbortSignal): Promise<void> {
    const { clock, counters, store } = this.#options
    const { sha256, sizeBytes } = ref
    if (this.#current?.sha256 !== sha256) this.#current = { sha256, nextChunk: 0 }
    const current = this.#current
    const examination = await store.blobs.examine(sha256, {
      signal,
      fromChunk: current.nextChunk,
      bytesPerSecond,
      onChunk: (index) => {
        current.nextChunk = index + 1
        counters.scrubbed(Math.min(CHUNK_BYTES, sizeBytes - index * CHUNK_BYTES))
        this.#saveNowAndThen()
      },
    })
    this.#current = undefined
    this.#endedMs = clock.wallMs()
    // Not there to be read, though nobody has let go of it.
    const hasVanished = !examination && this.#find(sha256) !== undefined
    if (examination || hasVanished) {
      this.#noteRead(sha256)
      void this.#judge(ref, examination ?? VANISHED, 'the scrub')
    }
    this.#saveNowAndThen()
  }

  /** Answers what becomes of a damaged blob: whether it is good again. */
  #judge(
    { sha256, sizeBytes }: BlobRef,
    { damagedChunks, fingerprint, isWhole }: Examination,
    foundBy: Damage['foundBy'],
  ): Promise<boolean> | undefined {
    const { counters, imagesWith, log, mend, record } = this.#options
    const images = imagesWith(sha256)
    const isGood = damagedChunks.length === 0 && isWhole !== false && fingerprint !== 'lost'
    record('scrubbed', images.length === 1 ? images[0] : undefined, { sha256, sizeBytes, isGood, images })
    if (fingerprint === 'measured again') {
      this.#damageFound++
      counters.damageFound('fingerprint')
      counters.damageMended('fingerprint')
      record('repaired', undefined, { sha256, how: 'fingerprint', images })
      log.error({ sha256 }, `the fingerprint of blob ${sha256} was damaged; it was measured again`)
    }
    if (isGood) return undefined
    this.#damageFound++
    // With its fingerprint gone, nobody can say which of its chunks are good.
    const chunks = fingerprint === 'lost' || damagedChunks.length === 0 ? undefined : damagedChunks
    // It may have to come from far away: the reading goes on meanwhile.
    const mending = mend(sha256, { foundBy, chunks }).finally(() => this.#mending.delete(mending))
    this.#mending.add(mending)
    return mending
  }

  #auditDueMs({ everyMs }: ScrubRounds): number {
    const { clock } = this.#options
    if (this.#auditedMs === undefined) return 0
    const intervalMs = Math.min(AUDIT_EVERY_MS, everyMs)
    return Math.min(intervalMs, this.#auditedMs + intervalMs - clock.wallMs())
  }

  /** Everything but blobs. A store that cannot be read does not keep us from the others. */
  #audit(): Promise<number> {
    return this.#auditing.run(() => this.#auditAll())
  }

  async #auditAll(): Promise<number> {
    const { clock, counters, log, record, store } = this.#options
    let found = 0
    for (const part of [store.images, store.icons, store.claims, store.registry, store.arrivals, store.blobs]) {
      if (this.#abort.signal.aborted) return found
      try {
        for (const { kind, path, complaint, isMended } of await part.audit()) {
          found++
          this.#damageFound++
          counters.damageFound(kind)
          if (isMended) counters.damageMended(kind)
          record('file-damaged', undefined, { what: kind, path, complaint, isMended })
          const outcome = isMended ? 'was written anew' : 'is not used any more'
          log.error({ kind, path, isMended }, `${path} is damaged (${complaint}) and ${outcome}`)
        }
      } catch (error) {
        if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
        log.error({ err: error }, 'a part of the store could not be read again')
      }
    }
    this.#auditedMs = clock.wallMs()
    this.#saveNowAndThen()
    return found
  }

  /** To keep it, all of it was verified. */
  #lastCheckMs({ sha256, keptMs }: BlobRef): number {
    return Math.max(keptMs, this.#options.store.blobs.checkedMs(sha256) ?? 0)
  }

  #noteRead(sha256: string): void {
    const nowMs = this.#options.clock.wallMs()
    this.#blobsRead++
    this.#options.store.blobs.noteCheck(sha256, nowMs)
    if (this.#isLoaded) this.#unsaved.set(sha256, nowMs)
  }

  #find(sha256: string): BlobRef | undefined {
    return this.#options.store.blobs.find({ algorithm: 'sha256', hex: sha256 })
  }

  #reading(): ScrubStatus['current'] {
    const ref = this.#current && this.#find(this.#current.sha256)
    if (!ref || !this.#current) return undefined
    const { sha256, nextChunk } = this.#current
    return { sha256, chunk: nextChunk, chunks: Math.ceil(ref.sizeBytes / CHUNK_BYTES) }
  }

  #saveNowAndThen(): void {
    if (!this.#isLoaded) return
    const nowMs = this.#options.clock.steadyMs()
    if (nowMs - this.#savedMs < SAVE_EVERY_MS && this.#unsaved.size < MOST_UNSAVED) return
    this.#savedMs = nowMs
    this.#saving = this.#save()
  }

  /** One at a time. Not being able to costs no more than reading something again. */
  async #save(): Promise<void> {
    const { log, store } = this.#options
    const checks = [...this.#unsaved].map(([sha256, checkedMs]) => ({ sha256, checkedMs }))
    this.#unsaved = new Map()
    await this.#saving
    const current = this.#current && { ...this.#current }
    const progress = { current, endedMs: this.#endedMs, auditedMs: this.#auditedMs }
    try {
      await store.scrub.save(progress, checks, store.blobs)
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN', 'STORE_FULL')) throw error
      log.warn({ err: error }, 'how far the scrub has come could not be written down')
    }
  }
}
