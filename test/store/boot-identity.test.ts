import { describe, expect, it } from 'vitest'
import { bootIdentity, isSameBoot } from '../../src/store/boot-identity.js'

describe('bootIdentity', () => {
  it('is the same as long as the machine runs', async () => {
    expect(isSameBoot(await bootIdentity(), await bootIdentity())).toBe(true)
  })

  it.each([
    ['0b1c', '0b1c', true],
    ['0b1c', '0b1d', false],
    ['booted at 1000000', 'booted at 1000010', true],
    ['booted at 1000000', 'booted at 1000011', false],
    ['booted at 1000000', '0b1c', false],
  ])('%s and %s: %s', (left, right, isSame) => {
    expect(isSameBoot(left, right)).toBe(isSame)
    expect(isSameBoot(right, left)).toBe(isSame)
  })
})
