import { describe, expect, it } from 'vitest'
import { isSealed, openSealedJson, sealJson } from '../../src/store/sealed-json.js'

describe('sealed JSON', () => {
  const value = { name: 'größer 🎈', nested: { crc32: 'x' }, list: [1, 2] }
  const sealed = sealJson(JSON.stringify(value))

  it('is read back as it was written, and is plain JSON to everybody else', () => {
    expect(openSealedJson(Buffer.from(sealed))).toMatchObject(value)
    expect(JSON.parse(sealed)).toMatchObject(value)
  })

  it('is found out when any one bit of it has changed', () => {
    const text = Buffer.from(sealed)
    for (let bit = 0; bit < text.length * 8; bit++) {
      const damaged = Buffer.from(text)
      damaged[bit >> 3]! ^= 1 << (bit & 7)
      expect(isSealed(damaged), `bit ${bit}`).toBe(false)
    }
  })

  it('is found out when it is cut anywhere', () => {
    const text = Buffer.from(sealed)
    for (let length = 0; length < text.length; length++) expect(isSealed(text.subarray(0, length))).toBe(false)
  })

  it('has to be JSON besides', () => {
    expect(openSealedJson(Buffer.from(sealJson('{"a":nonsense}')))).toBeUndefined()
  })
})
