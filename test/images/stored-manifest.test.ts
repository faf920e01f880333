import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../src/errors.js'
import { parseManifest } from '../../src/images/parse-manifest.js'
import { fromStored, toStored } from '../../src/images/stored-manifest.js'
import { anyManifest, image, MD5, SHA1, SHA256 } from './manifests.js'

describe('a stored manifest', () => {
  it('comes back the same through JSON, whatever was parsed', () => {
    let taken = 0
    fc.assert(
      fc.property(anyManifest, (value) => {
        const result = parseManifest(value, { allowMissingDigest: true })
        if (!result.ok) return
        taken++
        const { manifest } = result.statement
        expect(fromStored(JSON.parse(JSON.stringify(toStored(manifest))))).toEqual(manifest)
      }),
      { numRuns: 2000 },
    )
    expect(taken).toBeGreaterThan(50)
  })

  it('is nothing but the served text when that says all', () => {
    const manifest = image()
    expect(toStored(manifest)).toEqual({ json: manifest.json })
  })

  it('keeps the digests that the served text has no place for', () => {
    const manifest = image({ files: [{ md5: MD5, sha1: SHA1, sha256: SHA256, size: 1, compression: 'none' }] })
    expect(toStored(manifest).digests).toEqual([[`sha256:${SHA256}`, `md5:${MD5}`]])
    expect(fromStored(toStored(manifest))).toEqual(manifest)
  })

  it.each([
    ['nothing', undefined],
    ['text that is no JSON', { json: '{' }],
    ['JSON that is no manifest', { json: '{}' }],
    ['a file without a size', { json: image().json.replace('"size":10,', '') }],
    ['a digest that is none', { json: image().json, digests: [['crc:1']] }],
  ])('is refused when it is %s', (_what, stored) => {
    expect(() => fromStored(stored)).toThrow(expect.toSatisfy((error) => isMirrorError(error, 'MANIFEST_INVALID')))
  })
})
