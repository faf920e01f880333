import type { LedgerEntry, LedgerReader } from '../../store/ledger-store.js'
import { type AuditHead, auditHeadOf } from './audit-head.js'

export interface AuditSpan {
  /** From then on, and up to then, exclusive; ms since 1970. What is held is told as it was at the end. */
  readonly sinceMs: number
  readonly untilMs: number
  readonly signal?: AbortSignal | undefined
}

/** An image that was held at the end of the span. */
export interface ReportedImage {
  readonly uuid: string
  readonly name: string
  readonly version: string
  /** Whose claim was taken; empty for one that was published here. */
  readonly upstream: string
  readonly files: readonly ReportedFile[]
  /** When we first heard of it. */
  readonly firstSeenMs: number
  readonly heldSinceMs: number
  /** False while a file of it is damaged and could not be had again. */
  readonly isGood: boolean
  /** How often its files were asked for in the span. */
  readonly served: number
}

export interface ReportedFile {
  readonly sizeBytes: number
  readonly sha1: string
  readonly sha256: string
  /** When all its bytes were last hashed. */
  readonly lastCheckedMs: number
  /** Whether that was when it came, and never since. */
  readonly isNeverRechecked: boolean
}

/** Something that happened in the span, in words. */
export interface ReportedEvent {
  readonly seq: number
  readonly atMs: number
  readonly kind: string
  readonly uuid: string | null
  readonly what: string
}

export interface ReportedConflict {
  readonly uuid: string
  readonly winner: string
  readonly loser: string
  readonly differences: readonly string[]
  readonly sinceMs: number
  /** `null` while it stands. */
  readonly settledMs: number | null
}

export interface AuditReport {
  readonly sinceMs: number
  readonly untilMs: number
  readonly madeMs: number
  /** The ledger it was made of; `null` where none was ever signed. */
  readonly head: AuditHead | null
  readonly totals: {
    readonly imagesHeld: number
    readonly bytesHeld: number
    readonly filesPulled: number
    readonly bytesPulled: number
    readonly served: number
    readonly scrubbed: number
    readonly failures: number
    readonly changes: number
  }
  readonly images: readonly ReportedImage[]
  /** Those that stand at the end, or stood in the span. */
  readonly conflicts: readonly ReportedConflict[]
  /** The first MOST_EVENTS of each; `totals` has how many there were. */
  readonly failures: readonly ReportedEvent[]
  readonly changes: readonly ReportedEvent[]
}

/** More are counted, and not told one by one. */
const MOST_EVENTS = 10_000

const FAILURES: ReadonlySet<string> = new Set([
  'pull-failed',
  'verification-failed',
  'damaged',
  'not-repaired',
  'file-damaged',
  'ledger-cut',
  'ledger-gap',
  'ledger-shortened',
])
const CHANGES: ReadonlySet<string> = new Set([
  'claim-changed',
  'withdrawn',
  'tag-moved',
  'published',
  'changed',
  'deleted',
  'evicted',
  'quarantined',
  'repaired',
  'recompressed',
  'pinned',
  'unpinned',
  'config-loaded',
  'started',
  'stopped',
])

/**
 * What the ledger says of a time span. Made of the ledger alone, so that it can be made anywhere the ledger is, and be checked against
 * it. Memory grows with the images that were ever claimed, not with the entries.
 *
 * @throws MirrorError STORE_BROKEN; the signal's reason.
 */
export async function reportOf(ledger: LedgerReader, span: AuditSpan): Promise<AuditReport> {
  const head = await ledger.signedHead()
  const publicKey = await ledger.publicKey()
  const tally = new Tally(span)
  for await (const entries of ledger.entries(span.signal)) for (const entry of entries) tally.take(entry)
  return { ...tally.result(), head: head ? auditHeadOf(head, publicKey) : null }
}

interface Checked {
  readonly atMs: number
  readonly isAgain: boolean
}

type Holding = Omit<ReportedImage, 'files' | 'isGood' | 'served'> & {
  readonly files: readonly Pick<ReportedFile, 'sizeBytes' | 'sha1' | 'sha256'>[]
}

class Tally {
  readonly #span: AuditSpan
  readonly #held = new Map<string, Holding>()
  readonly #firstSeenMs = new Map<string, number>()
  /** By sha256. */
  readonly #checked = new Map<string, Checked>()
  readonly #bad = new Set<string>()
  readonly #served = new Map<string, number>()
  readonly #conflicts = new Map<string, ReportedConflict>()
  readonly #settled: ReportedConflict[] = []
  readonly #failures: ReportedEvent[] = []
  readonly #changes: ReportedEvent[] = []
  readonly #counts = { filesPulled: 0, bytesPulled: 0, served: 0, scrubbed: 0, failures: 0, changes: 0 }

  constructor(span: AuditSpan) {
    this.#span = span
  }

  take(entry: LedgerEntry): void {
    const { atMs, kind } = entry
    if (atMs >= this.#span.untilMs) return
    this.#follow(entry)
    if (atMs < this.#span.sinceMs) return
    this.#count(entry)
    if (FAILURES.has(kind)) {
      this.#counts.failures++
      if (this.#failures.length < MOST_EVENTS) this.#failures.push(eventOf(entry))
    } else if (CHANGES.has(kind)) {
      this.#counts.changes++
      if (this.#changes.length < MOST_EVENTS) this.#changes.push(eventOf(entry))
    }
  }

  result(): Omit<AuditReport, 'head'> {
    const images = [...this.#held.values()].map((holding): ReportedImage => {
      const files = holding.files.map((file): ReportedFile => {
        const checked = this.#checked.get(file.sha256)
        const lastCheckedMs = checked?.atMs ?? holding.heldSinceMs
        return { ...file, lastCheckedMs, isNeverRechecked: checked?.isAgain !== true }
      })
      const isGood = !files.some(({ sha256 }) => this.#bad.has(sha256))
      return { ...holding, files, isGood, served: this.#served.get(holding.uuid) ?? 0 }
    })
    images.sort((one, other) => one.name.localeCompare(other.name) || one.firstSeenMs - other.firstSeenMs)
    const sizes = new Map(images.flatMap(({ files }) => files.map(({ sha256, sizeBytes }) => [sha256, sizeBytes])))
    const bytesHeld = [...sizes.values()].reduce((sum, sizeBytes) => sum + sizeBytes, 0)
    const { sinceMs, untilMs } = this.#span
    return {
      sinceMs,
      untilMs,
      madeMs: Date.now(),
      totals: { imagesHeld: images.length, bytesHeld, ...this.#counts },
      images,
      conflicts: [...this.#settled, ...this.#conflicts.values()],
      failures: this.#failures,
      changes: this.#changes,
    }
  }

  /** What is true from this entry on. */
  #follow({ atMs, facts, image, kind }: LedgerEntry): void {
    switch (kind) {
      case 'claimed':
        if (image !== undefined && !this.#firstSeenMs.has(image)) this.#firstSeenMs.set(image, atMs)
        break
      case 'held':
      case 'found':
      case 'published':
        if (image !== undefined) this.#hold(image, atMs, facts)
        break
      case 'evicted':
      case 'deleted':
        if (image !== undefined) this.#held.delete(image)
        for (const sha256 of textsOf(facts.sha256s)) this.#checked.delete(sha256)
        break
      case 'verified':
      case 'recompressed':
        this.#check(facts, { atMs, isAgain: false })
        break
      case 'scrubbed':
        if (facts.isGood === true) this.#check(facts, { atMs, isAgain: true })
        break
      case 'repaired':
        this.#check(facts, { atMs, isAgain: true })
        break
      case 'quarantined':
        this.#bad.add(textOf(facts.sha256))
        break
      case 'conflicted':
        this.#conflicts.set(`${image} ${textOf(facts.loser)}`, {
          uuid: image ?? '',
          winner: textOf(facts.winner),
          loser: textOf(facts.loser),
          differences: textsOf(facts.differences),
          sinceMs: numberOf(facts.firstSeenMs) ?? atMs,
          settledMs: null,
        })
        break
      case 'settled':
        this.#settle(`${image} ${textOf(facts.loser)}`, atMs)
        break
    }
  }

  #check(facts: LedgerEntry['facts'], checked: Checked): void {
    const sha256 = textOf(facts.sha256)
    this.#checked.set(sha256, checked)
    this.#bad.delete(sha256)
  }

  #hold(uuid: string, atMs: number, facts: LedgerEntry['facts']): void {
    const firstSeenMs = Math.min(this.#firstSeenMs.get(uuid) ?? atMs, numberOf(facts.firstHeardMs) ?? atMs)
    const files = Array.isArray(facts.files) ? (facts.files as Record<string, unknown>[]) : []
    this.#held.set(uuid, {
      uuid,
      name: textOf(facts.name),
      version: textOf(facts.version),
      upstream: textOf(facts.upstream),
      files: files.map(({ sha1, sha256, sizeBytes }) => ({
        sizeBytes: numberOf(sizeBytes) ?? 0,
        sha1: textOf(sha1),
        sha256: textOf(sha256),
      })),
      firstSeenMs,
      heldSinceMs: numberOf(facts.heldSinceMs) ?? atMs,
    })
  }

  #settle(key: string, atMs: number): void {
    const conflict = this.#conflicts.get(key)
    this.#conflicts.delete(key)
    if (conflict && atMs >= this.#span.sinceMs && this.#settled.length < MOST_EVENTS) {
      this.#settled.push({ ...conflict, settledMs: atMs })
    }
  }

  #count({ facts, image, kind }: LedgerEntry): void {
    if (kind === 'pulled') {
      this.#counts.filesPulled++
      this.#counts.bytesPulled += numberOf(facts.sizeBytes) ?? 0
    } else if (kind === 'scrubbed') this.#counts.scrubbed++
    else if (kind === 'served' && image !== undefined) {
      const times = numberOf(facts.times) ?? 0
      this.#counts.served += times
      this.#served.set(image, (this.#served.get(image) ?? 0) + times)
    }
  }
}

function eventOf({ atMs, facts, image, kind, seq }: LedgerEntry): ReportedEvent {
  const words = Object.entries(facts).map(([name, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    return `${name} ${text.length > 200 ? `${text.slice(0, 200)}…` : text}`
  })
  return { seq, atMs, kind, uuid: image ?? null, what: words.join(', ') }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}
