import { limitAt, nextChangeMs, type RatePlan } from './rate-plan.js'
import { DAY_MINUTES, parseDays, type WeeklyWindow } from './weekly-window.js'

/** A plan that says nothing but whether something is open. */
export type OpeningHours = RatePlan

/** Open in these windows, or always if there are none. @param timezone whose clock on the wall they go by. */
export function openingHours(timezone: string, windows: readonly WeeklyWindow[]): OpeningHours {
  return {
    timezone,
    windows: windows.map((window) => ({ ...window, limit: 'unlimited' })),
    otherwise: windows.length === 0 ? 'unlimited' : 'closed',
    whenClosed: 'refuse',
  }
}

export function isOpenAt(hours: OpeningHours, wallMs: number): boolean {
  return limitAt(hours, wallMs) !== 'closed'
}

/** When it opens next, after `wallMs`; `undefined` for what never closes, or does not open within two weeks. */
export function nextOpeningMs(hours: OpeningHours, wallMs: number): number | undefined {
  const changeMs = nextChangeMs(hours, wallMs)
  if (changeMs === undefined || isOpenAt(hours, changeMs)) return changeMs
  return nextChangeMs(hours, changeMs)
}

/** For messages: what `parseWeeklyMoment` takes. */
export const WEEKLY_MOMENT_FORM = 'a moment of the week such as "Mon 06:00", "Mon-Fri 06:00", or of every day: 06:00'

/** The clock may be set forward over a moment by so much: then it is when the clock is next seen behind it. */
const LONGEST_SETTING_MINUTES = 180
const MOMENT = /^(?:(?<days>[a-z,-]+) )?(?<hours>[01]\d|2[0-3]):(?<minutes>[0-5]\d)$/i

/**
 * Reads `Mon 06:00`, `Mon-Fri 06:00`, `06:00`; `undefined` for anything else. `nextOpeningMs` answers when it is next, also
 * on a day on which the clock on the wall skips it.
 */
export function parseWeeklyMoment(text: string): WeeklyWindow | undefined {
  const { days: dayText, hours, minutes } = MOMENT.exec(text)?.groups ?? {}
  if (hours === undefined || minutes === undefined) return undefined
  const days = parseDays(dayText ?? 'sun-sat')
  const startMinute = Number(hours) * 60 + Number(minutes)
  return days && { days, startMinute, endMinute: (startMinute + LONGEST_SETTING_MINUTES) % DAY_MINUTES }
}
