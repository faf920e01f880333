import { expect, it } from 'vitest'
import { parseSize } from '../../src/parts/parse-size.js'

it.each([
  ['0B', 0],
  ['512B', 512],
  ['64KiB', 65_536],
  ['10 GiB', 10_737_418_240],
  ['1.5KiB', 1536],
  ['1MB', 1_000_000],
  ['1kB', 1000],
])('%s is %d bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes))

it.each([
  '',
  '10',
  '10 ',
  '10G',
  '10 gib',
  '1  KiB',
  '-1B',
  '1e3B',
  '0.3B',
  '10GiBi',
  `${'9'.repeat(400)}B`,
  '1constructor',
])('"%s" is no size', (text) => expect(parseSize(text)).toBeUndefined())
