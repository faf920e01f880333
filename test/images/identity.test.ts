import { describe, expect, it } from 'vitest'
import { identityDifferences } from '../../src/images/identity.js'
import { image, MD5, SHA1, SHA256, uuid } from './manifests.js'

const file = { sha1: SHA1, size: 10, compression: 'gzip' }
const otherSha1 = SHA1.replace('2', '3')

describe('identityDifferences', () => {
  it.each([
    ['names and states', { name: 'other', state: 'disabled', description: 'x' }],
    ['what only one declares', { files: [{ ...file, md5: MD5, sha256: SHA256 }] }],
    ['compression, which is no byte of the file', { files: [{ ...file, compression: 'none' }] }],
  ])('do not count %s', (_what, changes) => {
    expect(identityDifferences(image(), image(changes))).toEqual([])
    expect(identityDifferences(image(changes), image())).toEqual([])
  })

  it.each([
    ['sha1', { files: [{ ...file, sha1: otherSha1 }] }, [`files[0] sha1 ${SHA1} or ${otherSha1}`]],
    ['size', { files: [{ ...file, size: 11 }] }, ['files[0] size 10 or 11 bytes']],
    ['origin', { origin: uuid(2) }, [`origin none or ${uuid(2)}`]],
    ['number of files', { files: [file, file] }, ['1 or 2 files']],
  ])('tell of another %s', (_what, changes, differences) => {
    expect(identityDifferences(image(), image(changes))).toEqual(differences)
  })

  it('compare every algorithm that both declare', () => {
    const [one, other] = [MD5, MD5.replace('9', '8')].map((md5) => image({ files: [{ md5, size: 1 }] }))
    expect(identityDifferences(one!, other!)).toEqual([expect.stringContaining('files[0] md5')])
  })
})
