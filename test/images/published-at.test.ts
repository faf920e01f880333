import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { normalisePublishedAt, PUBLISHED_AT } from '../../src/images/published-at.js'

describe('normalisePublishedAt', () => {
  it.each([
    ['2013-01-01T00:00:00Z', '2013-01-01T00:00:00Z'],
    ['2013-01-01T00:00:00.000Z', '2013-01-01T00:00:00.000Z'],
    ['2011-04-11T08:45Z', '2011-04-11T08:45:00Z'],
    ['2011-04-11T08:45', '2011-04-11T08:45:00Z'],
    ['2011-04-11T08:45:01.5', '2011-04-11T08:45:01.500Z'],
    ['2011-04-11T08:45:01.123456Z', '2011-04-11T08:45:01.123Z'],
    ['2011-04-11T08:45:01.999999999Z', '2011-04-11T08:45:01.999Z'],
    ['2011-04-11T00:30:00.25+01:00', '2011-04-10T23:30:00.250Z'],
    ['2011-04-11T08:45:00-0100', '2011-04-11T09:45:00Z'],
    ['2011-04-11 08:45:00Z', '2011-04-11T08:45:00Z'],
    ['2012-02-29T00:00:00Z', '2012-02-29T00:00:00Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00Z'],
  ])('reads %s', (given, right) => {
    expect(normalisePublishedAt(given)).toBe(right)
  })

  it.each([
    '',
    'yesterday',
    '2013-01-01',
    '2013-02-29T00:00:00Z',
    '2013-13-01T00:00:00Z',
    '2013-01-01T24:00:00Z',
    '2013-01-01T00:00:00.Z',
    '2013-01-01T00:00:00.1234567890Z',
    '9999-12-31T23:59:59-01:00',
    ' 2013-01-01T00:00:00Z',
    1357000000000,
    null,
  ])('refuses %s', (given) => {
    expect(normalisePublishedAt(given)).toBeUndefined()
  })

  it('answers in the form of IMGAPI, the same instant, for any date', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date(0), max: new Date('9999-01-01'), noInvalidDate: true }), (date) => {
        const text = normalisePublishedAt(date.toISOString())!
        expect(text).toMatch(PUBLISHED_AT)
        expect(Date.parse(text)).toBe(date.getTime())
      }),
    )
  })
})
