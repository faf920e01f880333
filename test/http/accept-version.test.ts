import { expect, it } from 'vitest'
import { isVersionAccepted } from '../../src/http/accept-version.js'

it.each([
  undefined,
  '',
  ...['~1', '1', '1.0.0', '1.x', '~2', '2.0.0', '^2', '>=1', '*', 'x', 'v2', '=1', '~1.0', '^1.0.0', '~> 2'],
  ...['>1', '<2', '<=1', '>= 1', '>=1 <2', '1 - 2', '0.1 - 1.5', '~99 || ~2', '>1.5.0', '3 || *'],
])('Accept-Version: %s is served', (range) => {
  expect(isVersionAccepted(range)).toBe(true)
})

it.each([
  ...[
    '~99',
    '3',
    'bogus',
    '~0',
    '^0.2.3',
    '1.0.1',
    '~1.1',
    '>2',
    '<1',
    '>=1.5 <2',
    '3 - 4',
    '2.0.0.0',
    '1 -2',
    '~',
    '>>1',
  ],
  ...['latest', '>=1 bogus', '^0', '1,2', `${'1'.repeat(400)}`, '|', ' '.repeat(3).concat('-')],
])('Accept-Version: %s is not served', (range) => {
  expect(isVersionAccepted(range)).toBe(false)
})
