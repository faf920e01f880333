export const DAY_MINUTES = 24 * 60

/** A span of every week, by the clock on the wall. */
export interface WeeklyWindow {
  /** On which it begins, Sunday being 0. */
  readonly days: readonly number[]
  /** Minutes since midnight. */
  readonly startMinute: number
  /** Exclusive. Not later than `startMinute`: the window ends on the next day. */
  readonly endMinute: number
}

/** A moment as the clock on the wall shows it. */
export interface WallTime {
  /** Sunday is 0. */
  readonly day: number
  readonly minute: number
}

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
const WINDOW = /^(?:(?<days>[a-z,-]+) )?(?<start>\d\d:\d\d)-(?<end>\d\d:\d\d)$/i

/** For messages: what `parseWeeklyWindow` takes. */
export const WINDOW_FORM =
  'a window such as 22:00-05:00, "Mon-Fri 08:00-18:00" or "Sat,Sun 00:00-24:00" (days are those on which it begins)'

/**
 * Reads `22:00-05:00` (every day; it ends on the next), `Mon-Fri 08:00-18:00`, `Sat,Sun 00:00-24:00`; `undefined` for
 * anything else, also for a window without length.
 */
export function parseWeeklyWindow(text: string): WeeklyWindow | undefined {
  const { days: dayText, start, end } = WINDOW.exec(text)?.groups ?? {}
  const days = dayText === undefined ? [...DAYS.keys()] : parseDays(dayText)
  const [startMinute, endMinute] = [minuteOf(start), minuteOf(end)]
  if (!days || startMinute === undefined || endMinute === undefined) return undefined
  if (startMinute === DAY_MINUTES || startMinute === endMinute) return undefined
  return { days, startMinute, endMinute }
}

export function isInWindow({ days, startMinute, endMinute }: WeeklyWindow, { day, minute }: WallTime): boolean {
  const isAcrossMidnight = endMinute < startMinute
  const isAfterStart = minute >= startMinute
  const isBeforeEnd = minute < endMinute
  if (!isAcrossMidnight) return isAfterStart && isBeforeEnd && days.includes(day)
  return (isAfterStart && days.includes(day)) || (isBeforeEnd && days.includes((day + 6) % 7))
}

/** `Sat,Sun`, `Mon-Fri`, `Fri-Mon`, and lists of those; `undefined` for anything else. Sunday is 0. */
export function parseDays(text: string): number[] | undefined {
  const found = new Set<number>()
  for (const part of text.toLowerCase().split(',')) {
    const [first, last, ...rest] = part.split('-').map((word) => DAYS.indexOf(word))
    if (first === undefined || first < 0 || last === -1 || rest.length > 0) return undefined
    for (let day = first; ; day = (day + 1) % 7) {
      found.add(day)
      if (day === (last ?? first)) break
    }
  }
  return [...found].sort()
}

/** `24:00` is the end of the day. */
function minuteOf(text: string | undefined): number | undefined {
  const [hours, minutes] = (text ?? '').split(':').map(Number)
  if (hours === undefined || minutes === undefined || minutes > 59) return undefined
  const minute = hours * 60 + minutes
  return minute <= DAY_MINUTES ? minute : undefined
}
