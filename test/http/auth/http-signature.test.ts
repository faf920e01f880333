import { describe, expect, it } from 'vitest'
import { verifySignature } from '../../../src/http/auth/http-signature.js'
import { SignatureFault } from '../../../src/http/auth/signature-header.js'
import { type User, Users } from '../../../src/http/auth/users.js'
import { parseSshPublicKeys } from '../../../src/parts/ssh-public-key.js'
import { makeSshKey, type SshKeyPair, signatureOf, signedDate } from '../../support/ssh-keys.js'
import { vectors } from '../../support/vectors.js'

const DATE = 'Mon, 05 Jan 2026 12:00:00 GMT'
const NOW_MS = Date.parse(DATE)

function user(name: string, ...lines: string[]): User {
  const { keys } = parseSshPublicKeys(lines.join('\n'))
  return { name, isReadOnly: false, passwordHash: undefined, tokenHash: undefined, keys }
}

function verify(users: Users, headers: Record<string, string>, request: { method?: string; url?: string } = {}) {
  return verifySignature({ headers, method: 'GET', url: '/images', httpVersion: '1.1', ...request }, users, NOW_MS)
}

/** Signed over these lines, in this order. */
function signedOver(key: SshKeyPair, headers: Record<string, string>, names: string[], line = ''): string {
  const lines = names.map((name) => {
    if (name === 'request-line') return line
    return name === '(request-target)' ? `${name}: ${line}` : `${name}: ${headers[name]}`
  })
  const signature = signatureOf(key, 'ed25519', lines.join('\n'))
  return `Signature keyId="alice",algorithm="ed25519",headers="${names.join(' ')}",signature="${signature}"`
}

describe('the worked signatures of the reference', () => {
  const { publicKey, dateHeader, authorization } = vectors<{
    publicKey: string
    dateHeader: string
    authorization: Record<string, string>
  }>('httpSignature')
  const users = new Users([user('alice', publicKey)])

  it.each(Object.entries(authorization))('%s', (_algorithm, header) => {
    const headers = { date: dateHeader, authorization: header }
    const request = { headers, method: 'GET', url: '/', httpVersion: '1.1' }
    expect(verifySignature(request, users, Date.parse(dateHeader))?.user.name).toBe('alice')
    // Of the same length, and of another date.
    headers.date = dateHeader.replace('21:31:40', '21:31:41')
    expect(verifySignature(request, users, Date.parse(dateHeader))).toBeUndefined()
  })
})

describe('a signature', () => {
  const rsa = makeSshKey('rsa')
  const ecdsa = makeSshKey('ecdsa')
  const ed25519 = makeSshKey('ed25519')
  const alice = user('alice', rsa.line, ecdsa.line, ed25519.line)
  const bob = user('bob', makeSshKey('rsa').line, makeSshKey('ecdsa').line, makeSshKey().line)
  const users = new Users([alice, bob])

  it.each([
    ['rsa-sha1', rsa],
    ['rsa-sha256', rsa],
    ['RSA-SHA512', rsa],
    ['ecdsa-sha256', ecdsa],
    ['ed25519', ed25519],
    ['ed25519-sha512', ed25519],
  ])('by %s proves who made it, and nobody else', (algorithm, key) => {
    const name = algorithm.toLowerCase()
    const headers = { ...signedDate('alice', key, { algorithm: name, date: DATE }) }
    headers.authorization = headers.authorization.replace(name, algorithm)
    expect(verify(users, headers)?.user.name).toBe('alice')
    for (const [good, bad] of [
      ['"alice"', '"bob"'],
      ['"alice"', '"nobody"'],
      ['"alice"', '"__proto__"'],
      ['signature="', 'signature="AAAA'],
    ] as const) {
      expect(verify(users, { ...headers, authorization: headers.authorization.replace(good, bad) })).toBeUndefined()
    }
  })

  it.each([
    ...alice.keys.flatMap(({ fingerprints }, place) =>
      fingerprints.map((fingerprint) => [fingerprint, place] as const),
    ),
    ...alice.keys.map(({ fingerprints }, place) => [`/alice/keys/${fingerprints[1]}`, place] as const),
  ])('may name its key: %s', (keyId, place) => {
    const key = [rsa, ecdsa, ed25519][place]!
    const algorithm = ['rsa-sha256', 'ecdsa-sha256', 'ed25519'][place]!
    expect(verify(users, signedDate(keyId, key, { algorithm, date: DATE }))?.user.name).toBe('alice')
  })

  it('is not that of another key than it names', () => {
    const other = `/alice/keys/${bob.keys[2]?.fingerprints[0]}`
    expect(verify(users, signedDate(other, ed25519, { algorithm: 'ed25519', date: DATE }))).toBeUndefined()
    const bobs = bob.keys[2]!.fingerprints[0]
    expect(verify(users, signedDate(bobs, ed25519, { algorithm: 'ed25519', date: DATE }))).toBeUndefined()
    const second = makeSshKey()
    const carol = user('carol', ed25519.line, second.line)
    const named = `/carol/keys/${carol.keys[0]!.fingerprints[0]}`
    const by = (key: SshKeyPair) =>
      verify(new Users([carol]), signedDate(named, key, { algorithm: 'ed25519', date: DATE }))
    expect(by(ed25519)?.user.name).toBe('carol')
    expect(by(second)).toBeUndefined()
  })

  it.each([
    [['date'], ''],
    [['date', 'host'], ''],
    [['request-line', 'date'], 'POST /images?action=x HTTP/1.1'],
    [['(request-target)', 'host', 'date'], 'post /images?action=x'],
  ])('over %j counts for what it is over', (names, line) => {
    const headers: Record<string, string> = { date: DATE, host: 'mirror' }
    headers.authorization = signedOver(ed25519, headers, names, line)
    const request = { method: 'POST', url: '/images?action=x' }
    expect(verify(users, headers, request)?.user.name).toBe('alice')
    const isOfTheRequest = names.some((name) => name.startsWith('request') || name.startsWith('('))
    expect(verify(users, headers, { ...request, url: '/images?action=y' }) === undefined).toBe(isOfTheRequest)
    expect(verify(users, { ...headers, host: 'other' }, request) === undefined).toBe(names.includes('host'))
  })

  it('is over X-Date where there is one, and its time counts', () => {
    const headers = { date: 'long ago', 'x-date': DATE }
    const authorization = `Signature keyId="alice",algorithm="ed25519",signature="${signatureOf(ed25519, 'ed25519', `x-date: ${DATE}`)}"`
    expect(verify(users, { ...headers, authorization })?.user.name).toBe('alice')
  })

  const good = signedDate('alice', ed25519, { algorithm: 'ed25519', date: DATE })
  const at = (ms: number) => signedDate('alice', ed25519, { algorithm: 'ed25519', date: new Date(ms).toUTCString() })

  it.each<[string, Record<string, string>, string]>([
    ['in lower case', { ...good, authorization: good.authorization.replace('S', 's') }, 'scheme was not "Signature"'],
    ['with blanks', { ...good, authorization: good.authorization.replaceAll(',', ', ') }, 'bad param format'],
    ['of garbage', { ...good, authorization: 'Digest =' }, 'bad param format'],
    ['without end', { ...good, authorization: good.authorization.slice(0, -1) }, 'bad param format'],
    ['alone', { ...good, authorization: 'Signature' }, 'keyId was not specified'],
    ['without algorithm', { ...good, authorization: 'Signature keyId="alice"' }, 'algorithm was not specified'],
    [
      'without itself',
      { ...good, authorization: 'Signature keyId="a",algorithm="ed25519"' },
      'signature was not specified',
    ],
    ['without date', { authorization: good.authorization }, 'date was not in the request'],
    ['with a date that is none', { ...good, date: 'today' }, 'date was not a date'],
    ['too old', at(NOW_MS - 301_000), 'clock skew of 301s was greater than 300s'],
    ['from the future', at(NOW_MS + 301_000), 'clock skew of 301s was greater than 300s'],
    [
      'over something else than its date',
      { ...good, host: 'x', authorization: signedOver(ed25519, { host: 'x' }, ['host']) },
      'date was not a signed header',
    ],
    [
      'over what is not there',
      { ...good, authorization: good.authorization.replace('",sig', '",headers="date constructor",sig') },
      'constructor was not in the request',
    ],
    [
      'over too much',
      { ...good, authorization: good.authorization.replace('",sig', `",headers="${'date '.repeat(40)}",sig`) },
      'bad param format',
    ],
    ...['hmac-sha256', 'dsa-sha1', 'none', '__proto__'].map((algorithm): [string, Record<string, string>, string] => [
      `by ${algorithm}`,
      { ...good, authorization: good.authorization.replace('ed25519', algorithm) },
      `Unauthorized ("${algorithm.toUpperCase()}" is not a supported http-signature signing algorithm)`,
    ]),
  ])('%s is refused with a reason', (_what, headers, message) => {
    expect(() => verify(users, headers)).toThrow(new SignatureFault(message))
  })

  it('is good up to 300 s, either way', () => {
    expect(verify(users, at(NOW_MS - 300_000))).toBeDefined()
    expect(verify(users, at(NOW_MS + 300_000))).toBeDefined()
  })

  it('is nothing where nobody has a key', () => {
    expect(verify(new Users([user('alice')]), good)).toBeUndefined()
  })
})
