import { expect, it } from 'vitest'
import { isOpenAt, nextOpeningMs, openingHours, parseWeeklyMoment } from '../../src/parts/opening-hours.js'
import { parseWeeklyWindow } from '../../src/parts/weekly-window.js'

const at = (time: string) => Date.parse(time)
const next = (moment: string, from: string, timezone = 'Europe/Berlin') => {
  const foundMs = nextOpeningMs(openingHours(timezone, [parseWeeklyMoment(moment)!]), at(from))
  return foundMs && new Date(foundMs).toISOString()
}

it('is always open without windows, and never opens then', () => {
  const always = openingHours('UTC', [])
  expect(isOpenAt(always, 0)).toBe(true)
  expect(nextOpeningMs(always, 0)).toBeUndefined()
})

it('opens with the next window, also from within one', () => {
  const nights = openingHours('UTC', [parseWeeklyWindow('22:00-05:00')!])
  expect(nextOpeningMs(nights, at('2026-01-05T12:00:00Z'))).toBe(at('2026-01-05T22:00:00Z'))
  expect(nextOpeningMs(nights, at('2026-01-05T22:00:00Z'))).toBe(at('2026-01-06T22:00:00Z'))
  expect(isOpenAt(nights, at('2026-01-06T04:59:00Z'))).toBe(true)
  expect(isOpenAt(nights, at('2026-01-06T05:00:00Z'))).toBe(false)
})

it.each([
  ['Mon 06:00', '2026-01-05T04:59:00Z', '2026-01-05T05:00:00.000Z'],
  ['Mon 06:00', '2026-01-05T05:00:00Z', '2026-01-12T05:00:00.000Z'],
  ['06:00', '2026-01-05T05:00:00Z', '2026-01-06T05:00:00.000Z'],
  ['Mon-Fri 23:30', '2026-01-09T22:30:00Z', '2026-01-12T22:30:00.000Z'],
])('%s comes next, after %s, at %s', (moment, from, expected) => {
  expect(next(moment, from)).toBe(expected)
})

it('knows a moment by the clock on the wall, also when that is set', () => {
  expect(next('Sun 06:00', '2026-03-28T12:00:00Z')).toBe('2026-03-29T04:00:00.000Z')
  expect(next('Sun 06:00', '2026-10-24T12:00:00Z')).toBe('2026-10-25T05:00:00.000Z')
  // The clock goes from 02:00 to 03:00.
  expect(next('Sun 02:30', '2026-03-28T12:00:00Z')).toBe('2026-03-29T01:00:00.000Z')
})

it.each(['24:00', '6:00', 'Mo 06:00', 'Mon', '06:00-07:00', ''])('does not take %j for a moment', (text) => {
  expect(parseWeeklyMoment(text)).toBeUndefined()
})
