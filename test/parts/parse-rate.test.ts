import { describe, expect, it } from 'vitest'
import { parseRate } from '../../src/parts/parse-rate.js'

describe('parseRate', () => {
  it.each([
    ['20Mbit/s', 2_500_000],
    ['1.5 Mbit/s', 187_500],
    ['64kbit/s', 8_000],
    ['5MB/s', 5_000_000],
    ['1MiB/s', 1_048_576],
    ['10Gbit/s', 1_250_000_000],
    ['unlimited', 'unlimited'],
  ])('reads %s', (text, rate) => expect(parseRate(text)).toBe(rate))

  it.each([
    '',
    '20',
    '20Mbit',
    '20 mbit/s',
    '20Mbps',
    '-1MB/s',
    '1e3MB/s',
    ' 1MB/s',
    '0MB/s',
    '900B/s',
    'closed',
    '9999999GB/s',
    '1constructor/s',
  ])('does not guess at %j', (text) => expect(parseRate(text)).toBeUndefined())
})
