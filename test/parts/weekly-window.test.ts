import { describe, expect, it } from 'vitest'
import { isInWindow, parseWeeklyWindow } from '../../src/parts/weekly-window.js'

const EVERY_DAY = [0, 1, 2, 3, 4, 5, 6]
const at = (day: number, time: string) => {
  const [hours, minutes] = time.split(':').map(Number)
  return { day, minute: hours! * 60 + minutes! }
}
const [SUNDAY, MONDAY, FRIDAY, SATURDAY] = [0, 1, 5, 6]

describe('parseWeeklyWindow', () => {
  it.each([
    ['22:00-05:00', { days: EVERY_DAY, startMinute: 1320, endMinute: 300 }],
    ['Mon-Fri 08:00-18:30', { days: [1, 2, 3, 4, 5], startMinute: 480, endMinute: 1110 }],
    ['Sat,Sun 00:00-24:00', { days: [0, 6], startMinute: 0, endMinute: 1440 }],
    ['fri-mon,wed 01:00-02:00', { days: [0, 1, 3, 5, 6], startMinute: 60, endMinute: 120 }],
  ])('reads %s', (text, window) => expect(parseWeeklyWindow(text)).toEqual(window))

  it.each([
    '',
    '22:00',
    '22-05',
    '22:00-25:00',
    '22:60-23:00',
    '08:00-08:00',
    '24:00-05:00',
    'Mon',
    'Foo 01:00-02:00',
    'Mon- 01:00-02:00',
    'Mon-Tue-Wed 01:00-02:00',
    'Mon  01:00-02:00',
    ', 01:00-02:00',
    '8:00-9:00',
  ])('does not guess at %j', (text) => expect(parseWeeklyWindow(text)).toBeUndefined())
})

describe('a window', () => {
  it('begins with its first minute and ends before its last', () => {
    const window = parseWeeklyWindow('08:00-18:00')!
    const inside = ['07:59', '08:00', '17:59', '18:00'].map((time) => isInWindow(window, at(MONDAY, time)))
    expect(inside).toEqual([false, true, true, false])
  })

  it('across midnight belongs to the day on which it begins', () => {
    const window = parseWeeklyWindow('Fri,Sat 22:00-05:00')!
    expect(isInWindow(window, at(FRIDAY, '04:00'))).toBe(false)
    expect(isInWindow(window, at(FRIDAY, '22:00'))).toBe(true)
    expect(isInWindow(window, at(SATURDAY, '04:59'))).toBe(true)
    expect(isInWindow(window, at(SUNDAY, '04:59'))).toBe(true)
    expect(isInWindow(window, at(SUNDAY, '05:00'))).toBe(false)
    expect(isInWindow(window, at(SUNDAY, '23:00'))).toBe(false)
  })

  it('may fill a day', () => {
    const window = parseWeeklyWindow('Sun 00:00-24:00')!
    expect(isInWindow(window, at(SUNDAY, '23:59'))).toBe(true)
    expect(isInWindow(window, at(MONDAY, '00:00'))).toBe(false)
    expect(isInWindow(window, at(SATURDAY, '23:59'))).toBe(false)
  })
})
