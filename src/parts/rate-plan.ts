import type { Rate } from './parse-rate.js'
import { DAY_MINUTES, isInWindow, type WallTime, type WeeklyWindow } from './weekly-window.js'

/** What holds at a moment: a rate, or that nothing may pass but what `whenClosed` lets through. */
export type RateLimit = Rate | 'closed'

export interface RateWindow extends WeeklyWindow {
  readonly limit: RateLimit
}

/** How fast a line may be used, and when. Plain data. */
export interface RatePlan {
  /** Whose clock on the wall the windows go by: a name of the IANA database. */
  readonly timezone: string
  /** The first that a moment lies in counts. */
  readonly windows: readonly RateWindow[]
  /** At every other moment. */
  readonly otherwise: RateLimit
  /** What a client gets while the plan says closed. Nobody else gets anything then. */
  readonly whenClosed: 'allow' | 'refuse'
}

/** A plan without windows. */
export function steadyPlan(rate: Rate): RatePlan {
  return { timezone: 'UTC', windows: [], otherwise: rate, whenClosed: 'allow' }
}

/** As if nothing were faster than this, which is in bytes per second. */
export function capped(plan: RatePlan, mostBytesPerSecond: number): RatePlan {
  const cap = (limit: RateLimit): RateLimit => {
    if (limit === 'closed') return limit
    return limit === 'unlimited' ? mostBytesPerSecond : Math.min(limit, mostBytesPerSecond)
  }
  const windows = plan.windows.map((window) => ({ ...window, limit: cap(window.limit) }))
  return { ...plan, windows, otherwise: cap(plan.otherwise) }
}

/** The one rule that holds at this moment. @param wallMs since 1970. */
export function limitAt(plan: RatePlan, wallMs: number): RateLimit {
  if (plan.windows.length === 0) return plan.otherwise
  const time = wallTimeAt(plan.timezone, wallMs)
  return plan.windows.find((window) => isInWindow(window, time))?.limit ?? plan.otherwise
}

/**
 * How fast a client may go while the plan says closed and allows it: the slowest rate that the plan names, as a line that
 * is worth closing is no line for full speed. Unlimited if it names none.
 */
export function rateWhenClosed({ windows, otherwise }: RatePlan): Rate {
  const rates = [otherwise, ...windows.map(({ limit }) => limit)].filter((limit) => typeof limit === 'number')
  return rates.length === 0 ? 'unlimited' : Math.min(...rates)
}

/** A week and another one, as a change to summer time may swallow a window of the first. */
const HORIZON_MS = 15 * DAY_MINUTES * 60_000

/**
 * The next moment, after `wallMs`, from which another limit holds; `undefined` if none comes within two weeks.
 *
 * Goes from boundary to boundary. Between two of them the clock on the wall may be set (summer time): such a moment is
 * a boundary as well, found by halving.
 */
export function nextChangeMs(plan: RatePlan, wallMs: number): number | undefined {
  if (plan.windows.length === 0) return undefined
  const { timezone } = plan
  const current = limitAt(plan, wallMs)
  const boundaries = [...plan.windows.flatMap(({ startMinute, endMinute }) => [startMinute, endMinute]), DAY_MINUTES]
  let atMs = wallMs
  while (atMs < wallMs + HORIZON_MS) {
    const { minute } = wallTimeAt(timezone, atMs)
    const next = Math.min(...boundaries.filter((boundary) => boundary > minute))
    const nextMs = wholeMinute(atMs) + (next - minute) * 60_000
    atMs = firstClockSetting(timezone, atMs, nextMs) ?? nextMs
    if (limitAt(plan, atMs) !== current) return atMs
  }
  return undefined
}

/** The first moment after `fromMs`, at latest `toMs`, from which clocks are further from UTC, or nearer to it. */
function firstClockSetting(timezone: string, fromMs: number, toMs: number): number | undefined {
  const offsetMinutes = offsetAt(timezone, fromMs)
  if (offsetAt(timezone, toMs) === offsetMinutes) return undefined
  // Clocks are set at whole minutes.
  let [before, after] = [wholeMinute(fromMs) / 60_000, wholeMinute(toMs) / 60_000]
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2)
    if (offsetAt(timezone, middle * 60_000) === offsetMinutes) before = middle
    else after = middle
  }
  return after * 60_000
}

function wholeMinute(ms: number): number {
  return Math.floor(ms / 60_000) * 60_000
}

function wallTimeAt(timezone: string, wallMs: number): WallTime {
  const localMinutes = Math.floor(wallMs / 60_000) + offsetAt(timezone, wallMs)
  // 1970 began on a Thursday.
  return { day: (Math.floor(localMinutes / DAY_MINUTES) + 4) % 7, minute: localMinutes % DAY_MINUTES }
}

const formats = new Map<string, Intl.DateTimeFormat>()

/** Minutes to add to UTC to get what the clock on the wall shows. */
function offsetAt(timezone: string, wallMs: number): number {
  let format = formats.get(timezone)
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: timezone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
    })
    // One per upstream at most: they come from the configuration.
    formats.set(timezone, format)
  }
  const shown: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {}
  for (const { type, value } of format.formatToParts(wallMs)) shown[type] = Number(value)
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0 } = shown
  return Date.UTC(year, month - 1, day, hour, minute) / 60_000 - Math.floor(wallMs / 60_000)
}
