import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { limitAt, nextChangeMs, type RatePlan, rateWhenClosed, steadyPlan } from '../../src/parts/rate-plan.js'
import { DAY_MINUTES, parseWeeklyWindow } from '../../src/parts/weekly-window.js'

const MINUTE_MS = 60_000
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const ms = (time: string) => Date.parse(time)

function plan(timezone: string, windows: Record<string, number | 'unlimited' | 'closed'>, more: object = {}): RatePlan {
  return {
    timezone,
    windows: Object.entries(windows).map(([text, limit]) => ({ ...parseWeeklyWindow(text)!, limit })),
    otherwise: 1000,
    whenClosed: 'allow',
    ...more,
  }
}

/** What the clock on the wall shows, by another way than the code under test goes. */
function shown(timezone: string, atMs: number): string {
  const format = { timeZone: timezone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
  return new Date(atMs).toLocaleString('en-GB', format).replace(',', '')
}

describe('a plan', () => {
  const nights = plan('Europe/Berlin', { 'Sat,Sun 00:00-24:00': 'unlimited', '22:00-05:00': 5000 })

  it('goes by the clock of its time zone', () => {
    expect(limitAt(nights, ms('2026-01-05T20:59:00Z'))).toBe(1000)
    expect(limitAt(nights, ms('2026-01-05T21:00:00Z'))).toBe(5000)
    expect(limitAt(nights, ms('2026-07-06T20:00:00Z'))).toBe(5000)
    expect(limitAt(nights, ms('2026-07-06T19:59:59Z'))).toBe(1000)
  })

  it('lets the first window count that fits', () => {
    expect(limitAt(nights, ms('2026-01-10T22:30:00Z'))).toBe('unlimited')
    expect(limitAt(nights, ms('2026-01-11T23:30:00Z'))).toBe(5000)
  })

  it('knows when another limit holds', () => {
    expect(nextChangeMs(nights, ms('2026-01-05T12:34:56Z'))).toBe(ms('2026-01-05T21:00:00Z'))
    expect(nextChangeMs(nights, ms('2026-01-05T21:00:00Z'))).toBe(ms('2026-01-06T04:00:00Z'))
    // Friday night runs into Saturday at midnight, and the weekend into Sunday night.
    expect(nextChangeMs(nights, ms('2026-01-09T22:00:00Z'))).toBe(ms('2026-01-09T23:00:00Z'))
    expect(nextChangeMs(nights, ms('2026-01-09T23:00:00Z'))).toBe(ms('2026-01-11T23:00:00Z'))
  })

  it('never changes if all is the same', () => {
    expect(nextChangeMs(steadyPlan(7), 0)).toBeUndefined()
    expect(nextChangeMs(plan('UTC', { '08:00-09:00': 1000 }), 0)).toBeUndefined()
  })

  it.each([
    // 02:00 to 03:00 is left out; the window begins when the clock jumps past its beginning.
    ['Europe/Berlin', '02:30-04:00', '2026-03-28T23:00:00Z', '2026-03-29T01:00:00Z', '2026-03-29T02:00:00Z'],
    ['America/New_York', '02:30-04:00', '2026-03-08T05:00:00Z', '2026-03-08T07:00:00Z', '2026-03-08T08:00:00Z'],
    // 02:00 to 03:00 comes twice; so does the window.
    ['Europe/Berlin', '02:30-03:00', '2026-10-24T23:00:00Z', '2026-10-25T00:30:00Z', '2026-10-25T01:00:00Z'],
    ['America/New_York', '01:30-02:00', '2026-11-01T05:00:00Z', '2026-11-01T05:30:00Z', '2026-11-01T06:00:00Z'],
  ])('in %s keeps to %s when clocks are changed', (timezone, window, from, begin, end) => {
    const changing = plan(timezone, { [window]: 'closed' })
    expect(nextChangeMs(changing, ms(from))).toBe(ms(begin))
    expect(limitAt(changing, ms(begin))).toBe('closed')
    expect(nextChangeMs(changing, ms(begin))).toBe(ms(end))
    expect(limitAt(changing, ms(end))).toBe(1000)
  })

  it('skips a window that falls whole into the hour left out, and finds that of the next week', () => {
    const sundays = plan('Europe/Berlin', { 'Sun 02:00-03:00': 'closed' })
    expect(nextChangeMs(sundays, ms('2026-03-28T12:00:00Z'))).toBe(ms('2026-04-05T00:00:00Z'))
  })

  it('lets clients through a closed line at the slowest rate it names', () => {
    expect(rateWhenClosed(plan('UTC', { '08:00-18:00': 'closed', '18:00-20:00': 500 }))).toBe(500)
    expect(rateWhenClosed(plan('UTC', { '08:00-18:00': 'closed' }, { otherwise: 'closed' }))).toBe('unlimited')
  })

  const day = fc.constantFrom(...DAYS)
  const time = fc.integer({ min: 0, max: DAY_MINUTES / 15 - 1 }).map((quarter) => {
    const [hours, minutes] = [Math.floor(quarter / 4), (quarter % 4) * 15]
    return `${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}`
  })
  const window = fc
    .tuple(fc.option(fc.uniqueArray(day, { minLength: 1, maxLength: 7 })), time, time)
    .filter(([, start, end]) => start !== end)
    .map(([days, start, end]) => `${days ? `${days.join(',')} ` : ''}${start}-${end}`)
  const plans = fc.record({
    timezone: fc.constantFrom('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'UTC'),
    windows: fc.dictionary(window, fc.constantFrom(10, 20, 'closed' as const), { maxKeys: 4 }),
  })
  // Around all four changes of 2026, and in between.
  const moment = fc.constantFrom(
    '2026-03-07',
    '2026-03-28',
    '2026-04-04',
    '2026-06-01',
    '2026-10-03',
    '2026-10-24',
    '2026-10-31',
  )
  const offset = fc.integer({ min: 0, max: 2 * DAY_MINUTES * 60 })

  it('has one rule for every moment, that of the first window the clock on the wall is in', () => {
    fc.assert(
      fc.property(plans, moment, offset, ({ timezone, windows }, from, seconds) => {
        const atMs = ms(`${from}T00:00:00Z`) + seconds * 1000
        const [today, clock] = shown(timezone, atMs).split(' ') as [string, string]
        const yesterday = DAYS.at(DAYS.indexOf(today) - 1)!
        const found = Object.entries(windows).find(([text]) => {
          const [span, days] = text.split(' ').reverse() as [string, string | undefined]
          const [start, end] = span.split('-') as [string, string]
          const isOn = (name: string) => days === undefined || days.split(',').includes(name)
          if (start < end) return isOn(today) && clock >= start && clock < end
          return (isOn(today) && clock >= start) || (isOn(yesterday) && clock < end)
        })
        expect(limitAt(plan(timezone, windows), atMs)).toBe(found ? found[1] : 1000)
      }),
    )
  })

  it('changes exactly when it says', () => {
    fc.assert(
      fc.property(plans, moment, offset, ({ timezone, windows }, from, seconds) => {
        const made = plan(timezone, windows)
        const atMs = ms(`${from}T00:00:00Z`) + seconds * 1000
        const now = limitAt(made, atMs)
        const said = nextChangeMs(made, atMs)
        if (said !== undefined) expect(limitAt(made, said)).not.toBe(now)
        // Minute by minute, as far as two days.
        const untilMs = Math.min(said ?? Number.POSITIVE_INFINITY, atMs + 2 * DAY_MINUTES * MINUTE_MS)
        for (let minuteMs = Math.ceil(atMs / MINUTE_MS) * MINUTE_MS; minuteMs < untilMs; minuteMs += MINUTE_MS) {
          if (limitAt(made, minuteMs) !== now) throw new Error(`changes at ${new Date(minuteMs).toISOString()} already`)
        }
      }),
      { numRuns: 60 },
    )
  })
})
