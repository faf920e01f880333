import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { formatTokenHash, hashOfToken, hashToken, makeToken, parseTokenHash } from '../../src/parts/access-token.js'

it('makes tokens that are never the same, and known by their hash', () => {
  const token = makeToken()
  expect(makeToken()).not.toBe(token)
  expect(hashOfToken(token)).toEqual(createHash('sha256').update(token).digest())
  expect(hashOfToken(formatTokenHash(hashToken(token)))).toEqual(hashToken(token))
})

it.each(['', 'short', 'with blanks in between, so many', 'ü'.repeat(30), 'x'.repeat(513), `sha256:${'g'.repeat(64)}`])(
  'takes "%s" for no token',
  (text) => expect(hashOfToken(text)).toBeUndefined(),
)

it('takes a token for no hash where only a hash may stand', () => {
  expect(parseTokenHash(makeToken())).toBeUndefined()
})
