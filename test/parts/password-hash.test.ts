import { describe, expect, it } from 'vitest'
import { formatPasswordHash, hashPassword, isPassword, parsePasswordHash } from '../../src/parts/password-hash.js'

describe('a password hash', () => {
  it('knows its password and no other, also after it was written down', async () => {
    const hash = parsePasswordHash(formatPasswordHash(await hashPassword('Grüße')))!
    expect(await isPassword('Grüße', hash)).toBe(true)
    expect(await isPassword('grüße', hash)).toBe(false)
    expect(await isPassword('', hash)).toBe(false)
  })

  it('has a salt of its own', async () => {
    const [one, other] = await Promise.all([hashPassword('same'), hashPassword('same')])
    expect(formatPasswordHash(one)).not.toBe(formatPasswordHash(other))
  })

  const salt = 'A'.repeat(22)
  const key = 'A'.repeat(43)

  it('may be another in our form', () => {
    expect(parsePasswordHash(`scrypt:32768:8:1:${salt}:${key}`)).toMatchObject({ cost: 32768, parallelism: 1 })
  })

  it.each([
    ['a password', 'geheim'],
    ['a cost that is no power of two', `scrypt:16385:8:1:${salt}:${key}`],
    ['a cost too cheap', `scrypt:8192:8:1:${salt}:${key}`],
    ['a cost too dear in memory', `scrypt:131072:8:1:${salt}:${key}`],
    ['a cost too dear in time', `scrypt:16384:8:17:${salt}:${key}`],
    ['blocks too small', `scrypt:16384:1:1:${salt}:${key}`],
    ['no parallelism', `scrypt:16384:8:0:${salt}:${key}`],
    ['a short salt', `scrypt:16384:8:1:AAAA:${key}`],
    ['a short key', `scrypt:16384:8:1:${salt}:AAAA`],
    ['more behind it', `scrypt:16384:8:1:${salt}:${key}\n`],
  ])('is not %s', (_what, text) => {
    expect(parsePasswordHash(text)).toBeUndefined()
  })
})
