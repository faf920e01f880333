import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  JSON_ARRAY_LIMITS,
  JsonArrayError,
  JsonArraySplitter,
  type JsonElement,
} from '../../src/upstream/json-array.js'

function split(text: string | Uint8Array, cuts: readonly number[] = [], limits = JSON_ARRAY_LIMITS): JsonElement[] {
  const bytes = Buffer.from(text as string)
  const splitter = new JsonArraySplitter(limits)
  const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  const elements = edges.slice(1).flatMap((edge, index) => [...splitter.push(bytes.subarray(edges[index], edge))])
  splitter.end()
  return elements
}

const values = (elements: JsonElement[]) =>
  elements.map((element) => ('value' in element ? element.value : `fault: ${element.fault}`))

describe('JsonArraySplitter', () => {
  it('gives the elements that JSON.parse gives, however the bytes are cut and laid out', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue({ maxDepth: 5 })),
        fc.constantFrom(undefined, 1, '\t', '\r\n '),
        fc.array(fc.nat(), { maxLength: 20 }),
        (array, indent, cuts) => {
          const text = JSON.stringify(array, null, indent)
          expect(values(split(text, cuts))).toEqual(JSON.parse(text))
        },
      ),
    )
  })

  it('never takes for an array without faults what JSON.parse refuses, nor refuses what it takes', () => {
    const scraps = fc.constantFrom(
      '[',
      ']',
      '{',
      '}',
      ',',
      ':',
      '"',
      '\\',
      '\\"',
      '1',
      'null',
      '"a"',
      '{"a":1}',
      ' ',
      '\n',
    )
    fc.assert(
      fc.property(fc.array(scraps, { maxLength: 14 }), fc.array(fc.nat(), { maxLength: 5 }), (parts, cuts) => {
        const text = `[${parts.join('')}]`
        let expected: unknown
        try {
          expected = JSON.parse(text)
        } catch {
          expected = 'refused'
        }
        let found: unknown
        try {
          const elements = split(text, cuts)
          found = elements.some((element) => 'fault' in element) ? 'refused' : values(elements)
        } catch (error) {
          expect(error).toBeInstanceOf(JsonArrayError)
          found = 'refused'
        }
        expect(found).toEqual(expected)
      }),
      { numRuns: 2000 },
    )
  })

  it('sets aside one bad element and goes on', () => {
    expect(values(split('[{"a":1},{"a":nope},{"b":]},,"x\ny",{"c":2}]'))).toEqual([
      { a: 1 },
      'fault: is not JSON',
      'fault: is not JSON',
      'fault: is not JSON',
      'fault: is not JSON',
      { c: 2 },
    ])
  })

  it('numbers the elements by their place', () => {
    expect(split('[1,oops,3]').map((element) => element.index)).toEqual([0, 1, 2])
  })

  it('sets aside what is not UTF-8', () => {
    const bytes = Buffer.concat([Buffer.from('["'), Buffer.from([0xc3, 0x28]), Buffer.from('", 2]')])
    expect(values(split(bytes))).toEqual(['fault: is not UTF-8', 2])
  })

  it.each([[[]], [[3, 9, 11]], [[...Array(40).keys()]]])(
    'sets aside an element that is too large, cut at %j',
    (cuts) => {
      const limits = { ...JSON_ARRAY_LIMITS, elementBytes: 10 }
      expect(values(split('["0123456789",1,"01234567"]', cuts, limits))).toEqual([
        'fault: is larger than 10 bytes',
        1,
        '01234567',
      ])
      expect(values(split('["0123456789"]', cuts, limits))).toEqual(['fault: is larger than 10 bytes'])
      expect(values(split(`[${' '.repeat(30)}]`, cuts, limits))).toEqual(['fault: is larger than 10 bytes'])
    },
  )

  it('sets aside an element that is nested too deep', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
    const found = values(split(`[${nested(32)}, ${nested(33)}, ${nested(100_000)}, 1]`))
    expect(found.slice(1)).toEqual([
      'fault: is nested deeper than 32 levels',
      'fault: is nested deeper than 32 levels',
      1,
    ])
  })

  it('gives up on more elements than allowed', () => {
    const limits = { ...JSON_ARRAY_LIMITS, count: 3 }
    expect(split('[1,2,3]', [], limits)).toHaveLength(3)
    expect(() => split('[1,2,3,4]', [], limits)).toThrow('more than 3 elements')
  })

  it('skips a byte order mark', () => {
    expect(values(split('\uFEFF [1]'))).toEqual([1])
  })

  it.each([
    ['nothing', '', 'nothing came'],
    ['blanks', ' \n', 'nothing came'],
    ['an object', '{"a":[]}', 'no JSON array'],
    ['a page', '\n<!DOCTYPE html><html></html>', 'a page'],
    ['half an array', '[1,2', 'ends within element #1'],
    ['half a string', '["a', 'ends within element #0'],
    ['something behind the array', '[1] [2]', 'follows the array'],
    ['no byte of an array', '1', 'no JSON array'],
  ])('refuses %s', (_what, text, complaint) => {
    expect(() => split(text)).toThrow(complaint)
    expect(() => split(text)).toThrow(JsonArrayError)
  })
})
