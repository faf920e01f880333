import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_PARTS, parseByteRanges } from '../../src/http/byte-ranges.js'

const SIZE = 1000
const part = (startBytes: number, endBytes: number) => ({ startBytes, endBytes })

describe('a Range header', () => {
  it.each([
    ['bytes=0-0', [part(0, 1)]],
    ['bytes=0-999', [part(0, 1000)]],
    ['bytes=10-', [part(10, 1000)]],
    ['bytes=10-99999999999999999999999', [part(10, 1000)]],
    ['bytes=-1', [part(999, 1000)]],
    ['bytes=-5000', [part(0, 1000)]],
    ['BYTES=1-2', [part(1, 3)]],
    ['bytes= 1-2 , 5-6,', [part(1, 3), part(5, 7)]],
    ['bytes=500-501,1-2', [part(500, 502), part(1, 3)]],
    ['bytes=0-0,2000-3000', [part(0, 1)]],
    ['bytes=500-600,1-2,550-700', [part(500, 701), part(1, 3)]],
    ['bytes=0-9,10-19', [part(0, 20)]],
    ['bytes=0-,0-,0-,-1000', [part(0, 1000)]],
  ])('%s asks for these parts', (header, parts) => {
    expect(parseByteRanges(header, SIZE)).toEqual(parts)
  })

  it.each([
    'lines=1-2',
    'bytes',
    'bytes=',
    'bytes=,',
    'bytes=-',
    'bytes=a-b',
    'bytes=5-4',
    'bytes=1-2-3',
    'bytes=0x1-2',
    'bytes=0-1;2-3',
  ])('%s is ignored', (header) => {
    expect(parseByteRanges(header, SIZE)).toBe('whole')
  })

  it.each(['bytes=1000-', 'bytes=1000-2000', 'bytes=-0', 'bytes=5000-6000,7000-'])(
    '%s cannot be satisfied',
    (header) => {
      expect(parseByteRanges(header, SIZE)).toBe('unsatisfiable')
    },
  )

  it.each(['bytes=0-', 'bytes=0-0', 'bytes=-1'])('%s of an empty file cannot be satisfied', (header) => {
    expect(parseByteRanges(header, 0)).toBe('unsatisfiable')
  })

  it('with more parts than is decent gets the whole', () => {
    const scattered = (count: number) =>
      `bytes=${Array.from({ length: count }, (_, at) => `${at * 2}-${at * 2}`).join()}`
    expect(parseByteRanges(scattered(MAX_PARTS), SIZE)).toHaveLength(MAX_PARTS)
    expect(parseByteRanges(scattered(MAX_PARTS + 1), SIZE)).toBe('whole')
    expect(parseByteRanges(`bytes=${'0-,'.repeat(5000)}`, SIZE)).toBe('whole')
  })

  it('never yields a part that is empty, outside the file, or overlaps another', () => {
    const spec = fc.oneof(
      fc.tuple(fc.nat(1200), fc.nat(1200)).map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
      fc.nat(1200).map((first) => `${first}-`),
      fc.nat(1200).map((last) => `-${last}`),
    )
    fc.assert(
      fc.property(fc.array(spec, { minLength: 1, maxLength: 30 }), fc.nat(1100), (specs, size) => {
        const parts = parseByteRanges(`bytes=${specs.join()}`, size)
        if (typeof parts === 'string') return
        const sorted = [...parts].sort((a, b) => a.startBytes - b.startBytes)
        for (const [place, { startBytes, endBytes }] of sorted.entries()) {
          expect(startBytes).toBeLessThan(endBytes)
          expect(endBytes).toBeLessThanOrEqual(size)
          expect(startBytes).toBeGreaterThan(sorted[place - 1]?.endBytes ?? -1)
        }
      }),
    )
  })
})
