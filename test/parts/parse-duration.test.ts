import { expect, it } from 'vitest'
import { parseDuration } from '../../src/parts/parse-duration.js'

it.each([
  ['0s', 0],
  ['500ms', 500],
  ['30s', 30_000],
  ['1.5s', 1500],
  ['10m', 600_000],
  ['1h30m', 5_400_000],
  ['2d', 172_800_000],
  ['1m500ms', 60_500],
])('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

it.each([
  '',
  '10',
  '10 m',
  ' 10m',
  '10m ',
  '-1s',
  '1e3s',
  '10M',
  '10 minutes',
  '30m1h',
  '1s1s',
  '1..5s',
  '1h30',
  `${'9'.repeat(400)}s`,
])('"%s" is no duration', (text) => expect(parseDuration(text)).toBeUndefined())
