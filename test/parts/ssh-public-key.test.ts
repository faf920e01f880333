import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseSshPublicKeys } from '../../src/parts/ssh-public-key.js'
import { vectors } from '../support/vectors.js'

const { publicKey, publicKeyPem } = vectors<{ publicKey: string; publicKeyPem: string }>('httpSignature')

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'imgapi-mirror-keys-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

/** As ssh-keygen makes it. */
function generate(type: string, bits: number): string {
  const path = join(directory, `${type}-${bits}`)
  execFileSync('ssh-keygen', ['-q', '-t', type, '-b', String(bits), '-N', '', '-f', path, '-C', 'a comment'])
  return path
}

describe('a public key of OpenSSH', () => {
  it('is the key that its PEM says', () => {
    const [key] = parseSshPublicKeys(publicKey).keys
    expect(key?.key.export({ type: 'spki', format: 'pem' })).toBe(publicKeyPem)
  })

  it.each([
    ['rsa', 2048, 'rsa'],
    ['ecdsa', 256, 'ecdsa'],
    ['ecdsa', 384, 'ecdsa'],
    ['ecdsa', 521, 'ecdsa'],
    ['ed25519', 256, 'ed25519'],
  ])('of %s, %i bits, is read with the fingerprints that ssh-keygen shows', (type, bits, expected) => {
    const path = generate(type, bits)
    const { keys, faults } = parseSshPublicKeys(`# mine\n\n  ${readFileSync(`${path}.pub`, 'utf8')}\r\n`)
    expect(faults).toEqual([])
    const shown = (hash: string) => execFileSync('ssh-keygen', ['-l', '-E', hash, '-f', path], { encoding: 'utf8' })
    expect(keys).toHaveLength(1)
    expect(keys[0]?.type).toBe(expected)
    expect(shown('sha256')).toContain(` ${keys[0]?.fingerprints[0]} `)
    expect(shown('md5')).toContain(` MD5:${keys[0]?.fingerprints[1]} `)
  })

  const [, blob = ''] = publicKey.split(' ')

  it.each([
    ['a private key', '-----BEGIN OPENSSH PRIVATE KEY-----', /private key; right is the \.pub file/],
    ['DSA', `ssh-dss ${blob}`, /DSA/],
    ['with options', `no-pty ${publicKey}`, /no public key/],
    ['of another type than it says', `ssh-ed25519 ${blob}`, /damaged/],
    ['of a type nobody knows', 'ssh-foo AAAAB3NzaC1mb28=', /damaged|not one we know/],
    ['cut short', `ssh-rsa ${blob.slice(0, 100)}`, /damaged/],
    [
      'with more behind it',
      `ssh-rsa ${Buffer.concat([Buffer.from(blob, 'base64'), Buffer.from('x')]).toString('base64')}`,
      /damaged/,
    ],
    ['a point that is not on its curve', offCurve(), /damaged/],
  ])('is not %s', (_what, line, reason) => {
    const { keys, faults } = parseSshPublicKeys(`# first\n${line}\n`)
    expect(keys).toEqual([])
    expect(faults).toEqual([{ line: 2, reason: expect.stringMatching(reason) }])
  })

  it('is not RSA of 1024 bits', () => {
    const { faults } = parseSshPublicKeys(readFileSync(`${generate('rsa', 1024)}.pub`, 'utf8'))
    expect(faults).toEqual([{ line: 1, reason: 'its length is 1024 bits; right is 2048 to 8192' }])
  })

  it('is one of 32 at most', () => {
    const { keys, faults } = parseSshPublicKeys(`${publicKey}\n`.repeat(33))
    expect(keys).toHaveLength(32)
    expect(faults).toHaveLength(1)
  })

  it('never throws, whatever it is given', () => {
    fc.assert(
      fc.property(fc.constantFrom('ssh-rsa', 'ssh-ed25519', 'ecdsa-sha2-nistp256'), fc.uint8Array(), (type, bytes) => {
        const length = Buffer.alloc(4)
        length.writeUInt32BE(type.length)
        const text = Buffer.concat([length, Buffer.from(type), bytes]).toString('base64')
        expect(parseSshPublicKeys(`${type} ${text}`).keys).toHaveLength(0)
      }),
    )
  })
})

function offCurve(): string {
  const part = (bytes: Buffer) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return Buffer.concat([length, bytes])
  }
  const point = Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)])
  const wire = [Buffer.from('ecdsa-sha2-nistp256'), Buffer.from('nistp256'), point].map(part)
  return `ecdsa-sha2-nistp256 ${Buffer.concat(wire).toString('base64')}`
}
