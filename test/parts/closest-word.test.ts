import { expect, it } from 'vitest'
import { closestWord } from '../../src/parts/closest-word.js'

const KEYS = ['listen', 'operator', 'refresh', 'url', 'username']

it.each([
  ['refesh', 'refresh'],
  ['lsiten', 'listen'],
  ['LISTEN', 'listen'],
  ['opreators', 'operator'],
  ['ulr', 'url'],
])('%s was probably meant as %s', (typed, meant) => expect(closestWord(typed, KEYS)).toBe(meant))

it.each(['colour', 'x', '', 'u'.repeat(1000)])('%s is none of them', (typed) =>
  expect(closestWord(typed, KEYS)).toBeUndefined(),
)
