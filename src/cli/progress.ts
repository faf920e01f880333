import type { JobDetails, JobItem, JobSummary } from '../mirror/jobs.js'
import { formatDuration, formatSize } from './amounts.js'
import { Pace } from './pace.js'
import { printable } from './printable.js'

/** Items drawn at once; what more is running is counted. */
const MOST_DRAWN = 8
/** Longer names are cut, so that figures stay near them. */
const MOST_NAME = 60
/** In a job of more items than these, only what failed, or ended with another note than it began with, is told item by item. */
const FEW_ITEMS = 40
const BAR_WIDTH = 20
/** On a terminal of fewer columns, uuids and sizes give way to names and times. */
const NARROW = 100
/** How often a log hears of work in which nothing ends. */
const PLAIN_INTERVAL_MS = 10_000

/** How far a job is, in words: what has happened since the last event, and how it stands. */
export class Progress {
  readonly #running = new Map<string, { item: JobItem; pace: Pace }>()
  readonly #told = new Set<string>()
  readonly #pace = new Pace()
  #job: JobSummary | undefined
  #saidMs = Number.NEGATIVE_INFINITY

  /** @returns lines about items that have ended. */
  take(job: JobDetails, nowMs: number): string[] {
    this.#job = job
    this.#pace.note(job.doneBytes, nowMs)
    const lines: string[] = []
    for (const item of job.items) {
      if (item.state === 'running') {
        const { pace } = this.#running.get(item.name) ?? { pace: new Pace() }
        this.#running.set(item.name, { item, pace })
      } else {
        const before = this.#running.get(item.name)?.item
        this.#running.delete(item.name)
        const isNews = before !== undefined && before.note !== item.note
        const isWorthALine = job.itemCount <= FEW_ITEMS || item.state === 'failed' || isNews
        if (item.state !== 'waiting' && isWorthALine && !this.#told.has(item.name)) {
          this.#told.add(item.name)
          lines.push(describeEnded(item))
        }
      }
    }
    for (const { item, pace } of this.#running.values()) pace.note(item.doneBytes, nowMs)
    return lines
  }

  /** The lines that stand at the end of a terminal while the work goes on: what is running, and all of it. */
  draw(columns: number): string[] {
    const job = this.#job
    if (!job) return []
    const running = [...this.#running.values()]
    const lines = running.slice(0, MOST_DRAWN).map(({ item, pace }) => {
      const facts = describeBytes(item.doneBytes, item.sizeBytes, pace.bytesPerSecond, columns)
      const name = printable(columns < NARROW ? (item.note ?? item.name) : nameOf(item))
      const room = Math.min(MOST_NAME, Math.max(8, columns - facts.length - 3))
      return `${[...name].length > room ? `${[...name].slice(0, room - 1).join('')}…` : name.padEnd(room)}  ${facts}`
    })
    if (running.length > MOST_DRAWN) lines.push(`and ${running.length - MOST_DRAWN} more`)
    return [...lines, this.#total(job, columns)].map((line) => [...line].slice(0, columns - 1).join(''))
  }

  /** One line now and then, for what is no terminal. */
  sayNowAndThen(nowMs: number): string | undefined {
    if (this.#saidMs === Number.NEGATIVE_INFINITY) this.#saidMs = nowMs
    if (!this.#job || nowMs - this.#saidMs < PLAIN_INTERVAL_MS) return undefined
    this.#saidMs = nowMs
    return `${describeBytes(this.#job.doneBytes, this.#job.totalBytes, this.#pace.bytesPerSecond)}, ${ended(this.#job)}`
  }

  #total(job: JobSummary, columns: number): string {
    const { doneBytes, totalBytes } = job
    const share = totalBytes ? Math.min(1, doneBytes / totalBytes) : 0
    const filled = Math.round(share * BAR_WIDTH)
    const bar = `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}]`
    const facts = describeBytes(doneBytes, totalBytes, this.#pace.bytesPerSecond, columns)
    return `${bar}  ${ended(job)}  ${facts}`
  }
}

function ended({ itemCount, itemsEnded }: JobSummary): string {
  return `${itemsEnded} of ${itemCount}`
}

/** With what it is called by people, where that is known. */
function nameOf({ name, note }: JobItem): string {
  return note === null ? name : `${name}  ${note}`
}

function describeEnded(item: JobItem): string {
  const { doneBytes, sizeBytes, state } = item
  const size = state === 'done' && (sizeBytes ?? doneBytes) > 0 ? `  ${formatSize(sizeBytes ?? doneBytes)}` : ''
  return printable(`${state.padEnd(7)}  ${nameOf(item)}${size}`)
}

/** `45%  12 MiB of 28 MiB  1.2 MiB/s  14s left`, as far as it is known; a narrow terminal is spared the sizes. */
function describeBytes(
  doneBytes: number,
  totalBytes: number | null,
  bytesPerSecond: number | undefined,
  columns = Number.POSITIVE_INFINITY,
): string {
  const isNarrow = columns < NARROW
  const parts: string[] = []
  if (totalBytes) parts.push(`${Math.min(100, Math.floor((100 * doneBytes) / totalBytes))}%`.padStart(4))
  if (!totalBytes) parts.push(formatSize(doneBytes))
  else if (!isNarrow) parts.push(`${formatSize(doneBytes)} of ${formatSize(totalBytes)}`)
  else parts.push(formatSize(totalBytes))
  if (bytesPerSecond !== undefined) {
    parts.push(`${formatSize(bytesPerSecond)}/s`)
    if (totalBytes) parts.push(`${formatDuration(((totalBytes - doneBytes) * 1000) / bytesPerSecond)} left`)
  }
  return parts.join('  ')
}
