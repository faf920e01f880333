import { LimitTape } from '../../parts/limit-tape.js'
import { nextOpeningMs, type OpeningHours } from '../../parts/opening-hours.js'
import { limitAt, type RateLimit, type RatePlan } from '../../parts/rate-plan.js'

/** A file that is to be fetched. The same object wherever several images need it. */
export interface MissingFile {
  /** Of it, what is not here yet. At least 1. */
  readonly missingBytes: number
  /** Names of upstreams, in the order in which they are asked. At least one. */
  readonly offeredBy: readonly string[]
}

/** An image with all it builds on: what is worth something only together. */
export interface Fetch {
  /** What is missing, base first. */
  readonly files: readonly MissingFile[]
  readonly terms: FetchTerms
}

/** When images of one policy may be fetched, and how much of them. The same object for all of them. */
export interface FetchTerms {
  readonly hours: OpeningHours
  readonly budget: { readonly bytes: number; readonly leftBytes: number; readonly renewal: OpeningHours } | undefined
  /** Ms since 1970. */
  readonly deadlineMs: number | undefined
}

export interface Lines {
  /** Of all upstreams together. */
  readonly total: RatePlan
  readonly upstreams: ReadonlyMap<string, RatePlan>
}

export interface ScheduledFetch {
  /** When its first byte comes; `undefined` if others had fetched everything before, or it never begins. */
  readonly startMs: number | undefined
  /** When its last byte is here, whoever fetched it; `undefined` if that is not within the horizon. */
  readonly doneMs: number | undefined
  /** It could not have kept the deadline any more when its turn came, and was put behind those that can. */
  readonly isPutBack: boolean
}

/** Beyond a year nobody plans. */
export const HORIZON_MS = 366 * 86_400_000

/**
 * When each of these would be here, if they are fetched in this order, one file at a time.
 *
 * At every moment the line is with the first that may be fetched then: its policy is open and has budget left, and an
 * upstream that offers its next file is open too. Rates are those of that upstream or of all, whichever is lower. A fetch
 * whose turn comes when it cannot keep its deadline any more, even with the line for itself, goes behind all that can:
 * so what is late makes nothing else late. What several need is fetched once, for the first of them.
 */
export function schedule(fetches: readonly Fetch[], lines: Lines, nowMs: number): readonly ScheduledFetch[] {
  return new Scheduling(fetches, lines, nowMs).run()
}

/** Which of these is fetched now, by the same rules; its place, or `undefined` if none may be. */
export function firstToFetch(fetches: readonly Fetch[], lines: Lines, nowMs: number): number | undefined {
  return new Scheduling(fetches, lines, nowMs).first()
}

/** Whether anything may be fetched from any of these upstreams. */
export function isLineOpen({ total, upstreams }: Lines, names: readonly string[], nowMs: number): boolean {
  const isOpen = (plan: RatePlan | undefined) => plan !== undefined && limitAt(plan, nowMs) !== 'closed'
  return isOpen(total) && names.some((name) => isOpen(upstreams.get(name)))
}

interface Terms {
  readonly hours: LimitTape
  readonly budget: { readonly bytes: number; readonly renewal: OpeningHours } | undefined
  readonly deadlineMs: number
  leftBytes: number
  renewalMs: number
}

interface Progress {
  leftBytes: number
  doneMs: number | undefined
}

interface Turn {
  readonly terms: Terms
  readonly files: readonly { readonly progress: Progress; readonly offeredBy: readonly LimitTape[] }[]
  startMs: number | undefined
  isPutBack: boolean
  isJudged: boolean
}

class Scheduling {
  readonly #total: LimitTape
  readonly #nowMs: number
  readonly #allTerms: readonly Terms[]
  readonly #tapes: ReadonlySet<LimitTape>
  readonly #turns: readonly Turn[]
  /** Those not done, in order; and behind them those that are late anyway. */
  readonly #queues: { readonly timely: Turn[]; readonly late: Turn[] }

  constructor(fetches: readonly Fetch[], lines: Lines, nowMs: number) {
    this.#nowMs = nowMs
    this.#total = new LimitTape(lines.total, nowMs)
    const tapes = new Map([...lines.upstreams].map(([name, plan]) => [name, new LimitTape(plan, nowMs)]))
    const terms = new Map<FetchTerms, Terms>()
    const progress = new Map<MissingFile, Progress>()
    this.#turns = fetches.map(({ files, terms: given }) => {
      const own = terms.get(given) ?? begin(given, nowMs)
      terms.set(given, own)
      const missing = files.map((file) => {
        const known = progress.get(file) ?? { leftBytes: file.missingBytes, doneMs: undefined }
        progress.set(file, known)
        return { progress: known, offeredBy: file.offeredBy.flatMap((name) => tapes.get(name) ?? []) }
      })
      return { terms: own, files: missing, startMs: undefined, isPutBack: false, isJudged: false }
    })
    this.#allTerms = [...terms.values()]
    this.#tapes = new Set([this.#total, ...tapes.values(), ...this.#allTerms.map(({ hours }) => hours)])
    this.#queues = { timely: [...this.#turns], late: [] }
  }

  run(): readonly ScheduledFetch[] {
    let atMs = this.#nowMs
    let changeMs = this.#changeAfter(atMs)
    while (atMs - this.#nowMs <= HORIZON_MS) {
      const next = this.#next(atMs)
      if (!next && (this.#isOver() || changeMs === Number.POSITIVE_INFINITY)) break
      if (next) {
        next.turn.startMs ??= atMs
        atMs = transfer(next, atMs, changeMs)
      } else atMs = changeMs
      if (atMs >= changeMs) {
        for (const terms of this.#allTerms) renewBudget(terms, atMs)
        changeMs = this.#changeAfter(atMs)
      }
    }
    return this.#turns.map(({ files, isPutBack, startMs }) => {
      const isDone = files.every(({ progress }) => progress.doneMs !== undefined)
      const doneMs = isDone ? Math.max(this.#nowMs, ...files.map(({ progress }) => progress.doneMs!)) : undefined
      return { startMs, doneMs, isPutBack }
    })
  }

  first(): number | undefined {
    const next = this.#next(this.#nowMs)
    return next && this.#turns.indexOf(next.turn)
  }

  #isOver(): boolean {
    return this.#queues.timely.every(isDone) && this.#queues.late.every(isDone)
  }

  #next(atMs: number): Transfer | undefined {
    const { late, timely } = this.#queues
    for (;;) {
      const found = this.#firstOf(timely, atMs)
      if (!found || found.turn.isJudged || this.#canKeepDeadline(found.turn, atMs)) {
        if (found) found.turn.isJudged = true
        return found ?? this.#firstOf(late, atMs)
      }
      found.turn.isPutBack = true
      timely.splice(timely.indexOf(found.turn), 1)
      late.push(found.turn)
    }
  }

  #firstOf(queue: Turn[], atMs: number): Transfer | undefined {
    let done = 0
    while (done < queue.length && isDone(queue[done]!)) done++
    queue.splice(0, done)
    const total = this.#total.at(atMs).limit
    if (total === 'closed') return undefined
    for (const turn of queue) {
      if (!isOpen(turn.terms, atMs)) continue
      const file = turn.files.find(({ progress }) => progress.doneMs === undefined)
      const bytesPerSecond = file && rateOf(file.offeredBy, total, atMs)
      if (bytesPerSecond) return { turn, progress: file.progress, bytesPerSecond }
    }
    return undefined
  }

  /** Whether it would be here in time, had it the line and its budget for itself from now on. */
  #canKeepDeadline({ files, terms }: Turn, fromMs: number): boolean {
    const { deadlineMs } = terms
    if (deadlineMs === Number.POSITIVE_INFINITY) return true
    const own = { ...terms }
    let atMs = fromMs
    for (const { offeredBy, progress } of files) {
      let { leftBytes } = progress
      while (leftBytes > 0) {
        if (atMs > deadlineMs) return false
        renewBudget(own, atMs)
        const total = this.#total.at(atMs).limit
        const bytesPerSecond = isOpen(own, atMs) && total !== 'closed' ? rateOf(offeredBy, total, atMs) : 0
        const tapes = [this.#total, own.hours, ...offeredBy]
        const changeMs = Math.min(own.renewalMs, ...tapes.map((tape) => tape.at(atMs).untilMs))
        if (bytesPerSecond) {
          const mostBytes = Math.min(leftBytes, own.leftBytes)
          const endMs = atMs + (mostBytes / bytesPerSecond) * 1000
          const bytes = endMs <= changeMs ? mostBytes : (bytesPerSecond * (changeMs - atMs)) / 1000
          leftBytes -= bytes
          own.leftBytes -= bytes
          atMs = Math.min(endMs, changeMs)
        } else atMs = changeMs
      }
    }
    return atMs <= deadlineMs
  }

  #changeAfter(atMs: number): number {
    return Math.min(
      ...[...this.#tapes].map((tape) => tape.at(atMs).untilMs),
      ...this.#allTerms.map(({ renewalMs }) => renewalMs),
    )
  }
}

interface Transfer {
  readonly turn: Turn
  readonly progress: Progress
  readonly bytesPerSecond: number
}

/** Fetches until the file is here, the budget is used up, or something changes; answers when that is. */
function transfer({ bytesPerSecond, progress, turn: { terms } }: Transfer, atMs: number, changeMs: number): number {
  const mostBytes = Math.min(progress.leftBytes, terms.leftBytes)
  const endMs = atMs + (mostBytes / bytesPerSecond) * 1000
  const bytes = endMs <= changeMs ? mostBytes : (bytesPerSecond * (changeMs - atMs)) / 1000
  progress.leftBytes -= bytes
  terms.leftBytes -= bytes
  if (progress.leftBytes <= 0) progress.doneMs = Math.min(endMs, changeMs)
  return Math.min(endMs, changeMs)
}

function begin({ budget, deadlineMs, hours }: FetchTerms, nowMs: number): Terms {
  return {
    hours: new LimitTape(hours, nowMs),
    budget,
    deadlineMs: deadlineMs ?? Number.POSITIVE_INFINITY,
    leftBytes: budget ? budget.leftBytes : Number.POSITIVE_INFINITY,
    renewalMs: budget ? (nextOpeningMs(budget.renewal, nowMs) ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY,
  }
}

/** If it is time to. */
function renewBudget(terms: Terms, atMs: number): void {
  if (atMs < terms.renewalMs) return
  terms.leftBytes = terms.budget!.bytes
  terms.renewalMs = nextOpeningMs(terms.budget!.renewal, atMs) ?? Number.POSITIVE_INFINITY
}

function isDone({ files }: Turn): boolean {
  return files.every(({ progress }) => progress.doneMs !== undefined)
}

function isOpen({ hours, leftBytes }: Terms, atMs: number): boolean {
  return leftBytes > 0 && hours.at(atMs).limit !== 'closed'
}

/** Of the first of these upstreams that is open; 0 when none is. */
function rateOf(offeredBy: readonly LimitTape[], total: RateLimit, atMs: number): number {
  const open = offeredBy.find((tape) => tape.at(atMs).limit !== 'closed')
  return open ? Math.min(bytesPerSecondOf(open.at(atMs).limit), bytesPerSecondOf(total)) : 0
}

function bytesPerSecondOf(limit: RateLimit): number {
  if (limit === 'closed') return 0
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : limit
}
