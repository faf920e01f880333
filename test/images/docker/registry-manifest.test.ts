import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import {
  choosePlatform,
  MANIFEST_TYPES,
  type PlatformEntry,
  parseImageConfig,
  parseRegistryManifest,
} from '../../../src/images/docker/registry-manifest.js'
import type { JsonObject } from '../../../src/parts/json-object.js'
import { vectors } from '../../support/vectors.js'
import { mostly } from '../manifests.js'

const A = `sha256:${'a'.repeat(64)}`
const B = `sha256:${'b'.repeat(64)}`
const SCHEMA_2 = 'application/vnd.docker.distribution.manifest.v2+json'
const LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
const OCI = 'application/vnd.oci.image.manifest.v1+json'
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+json'
const SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
const EMPTY = 'sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4'

const manifestInvalid = expect.toSatisfy((error) => isMirrorError(error, 'MANIFEST_INVALID'))
const layer = { digest: B, size: 2, mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' }

function image(changes: JsonObject = {}): JsonObject {
  return {
    schemaVersion: 2,
    config: { digest: A, size: 1, mediaType: 'application/vnd.oci.image.config.v1+json' },
    layers: [layer],
    ...changes,
  }
}

function schema1(changes: JsonObject = {}, digests = [EMPTY, B, A]): JsonObject {
  return {
    schemaVersion: 1,
    fsLayers: digests.map((blobSum) => ({ blobSum })),
    history: digests.map((_, index) => ({ v1Compatibility: JSON.stringify({ id: String(index), os: 'linux' }) })),
    ...changes,
  }
}

function parse(value: unknown, contentType?: string) {
  return parseRegistryManifest(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), contentType)
}

function refused(value: unknown, contentType?: string) {
  expect(() => parse(value, contentType)).toThrow(manifestInvalid)
}

describe('parseRegistryManifest', () => {
  it('reads an image, its digest made of the very bytes', () => {
    const text = `${JSON.stringify(image(), null, 3)} `
    expect(parse(text, `${OCI}; charset=utf-8`)).toEqual({
      kind: 'image',
      mediaType: OCI,
      digest: `sha256:${createHash('sha256').update(text).digest('hex')}`,
      config: { digest: A, sizeBytes: 1, mediaType: 'application/vnd.oci.image.config.v1+json' },
      layers: [{ digest: B, sizeBytes: 2, mediaType: layer.mediaType }],
    })
  })

  it('reads the list and the index of real registries', () => {
    for (const { index } of vectors<{ index?: JsonObject }[]>('dockerPulls')) {
      if (!index) continue
      const parsed = parse({ schemaVersion: 2, ...index }, index.mediaType as string)
      if (parsed.kind !== 'index') throw new Error('an index')
      expect(parsed.entries.map(({ architecture }) => architecture).slice(0, 3)).toEqual(['amd64', 'arm64', '386'])
      expect(parsed.entries.slice(3).every(({ isAttestation }) => isAttestation)).toBe(true)
    }
  })

  it.each([
    ['what it is called', image(), SCHEMA_2, SCHEMA_2],
    ['what it calls itself', image({ mediaType: SCHEMA_2 }), 'application/json', SCHEMA_2],
    ['what it looks like', image(), undefined, OCI],
    ['what it looks like, as an index', { schemaVersion: 2, manifests: [] }, 'text/plain', OCI_INDEX],
    ['what it looks like, as schema 1', schema1(), 'application/octet-stream', SCHEMA_1],
    ['what it is called, in upper case', image(), SCHEMA_2.toUpperCase(), SCHEMA_2],
  ])('takes its type from %s', (_what, value, contentType, type) => {
    expect(parse(value, contentType).mediaType).toBe(type)
  })

  it.each([
    ['comes as one thing and calls itself another', image({ mediaType: OCI }), SCHEMA_2],
    ['is called an image, and is an index', { schemaVersion: 2, manifests: [] }, OCI],
    ['is called an index, and is an image', image(), OCI_INDEX],
    ['is both index and image', image({ manifests: [] }), OCI_INDEX],
    ['is both schema 1 and 2', { ...schema1(), ...image(), schemaVersion: 2 }, undefined],
    ['is of a type nobody knows', image({ mediaType: 'application/vnd.oci.artifact.manifest.v1+json' }), undefined],
    ['has a type that is no text', image({ mediaType: { $gt: '' } }), undefined],
    ['is nothing', {}, OCI],
    ['has no schemaVersion', image({ schemaVersion: undefined }), OCI],
    ['has schemaVersion "2"', image({ schemaVersion: '2' }), OCI],
    ['has schemaVersion 3', image({ schemaVersion: 3 }), OCI],
    ['has schemaVersion 1 in the form of 2', image({ schemaVersion: 1 }), undefined],
    ['is no JSON', '{', OCI],
    ['is an array', '[]', OCI],
    ['is null', 'null', OCI],
    ['is nested too deeply', `{"a":${'['.repeat(500_000)}${']'.repeat(500_000)}}`, OCI],
    ['is too long', JSON.stringify(image({ annotations: { a: 'x'.repeat(4 * 1024 * 1024) } })), OCI],
    ['has its facts on its prototype', '{"schemaVersion":2,"__proto__":{"layers":[],"config":{}}}', OCI],
    ['has a layer that is null', image({ layers: [null] }), OCI],
    ['has layers that are none', image({ layers: { length: 1, 0: layer } }), OCI],
    ['has more layers than anyone makes', image({ layers: Array(1001).fill(layer) }), OCI],
    ['has no config', image({ config: undefined }), OCI],
    ['has a digest without algorithm', image({ layers: [{ ...layer, digest: 'b'.repeat(64) }] }), OCI],
    ['has a digest that is a path', image({ layers: [{ ...layer, digest: 'sha256:../../etc' }] }), OCI],
    ['has a size that is text', image({ layers: [{ ...layer, size: '2' }] }), OCI],
    ['has a size below zero', image({ layers: [{ ...layer, size: -1 }] }), OCI],
    ['has half a byte', image({ layers: [{ ...layer, size: 0.5 }] }), OCI],
    ['has a size beyond all counting', image({ layers: [{ ...layer, size: 2 ** 53 }] }), OCI],
    ['has no media type for a layer', image({ layers: [{ ...layer, mediaType: '' }] }), OCI],
    ['has a media type that would break a header', image({ layers: [{ ...layer, mediaType: 'a/b\r\nx: y' }] }), OCI],
  ])('refuses what %s', (_what, value, contentType) => refused(value, contentType))

  it('keeps urls that could be asked, and no others', () => {
    const urls = ['https://example.com/a', 'file:///etc/passwd', 7, 'http://', `https://${'x'.repeat(5000)}`]
    const parsed = parse(image({ layers: [{ ...layer, urls }] }), OCI)
    expect(parsed.kind === 'image' && parsed.layers[0]?.urls).toEqual(['https://example.com/a'])
  })

  it('tells attestations and platforms of an index apart, whatever stands in it', () => {
    const entry = { ...layer, mediaType: OCI }
    const manifests = [
      { ...entry, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } },
      { ...entry, platform: { os: 'unknown', architecture: 'unknown' } },
      { ...entry, annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } },
      { ...entry, platform: 'linux/amd64' },
      { ...entry, platform: { os: 7, architecture: 'a'.repeat(1000), variant: null } },
    ]
    const parsed = parse({ schemaVersion: 2, manifests }, LIST)
    const said = parsed.kind === 'index' ? parsed.entries : []
    expect(said.map(({ isAttestation }) => isAttestation)).toEqual([false, true, true, false, false])
    expect(said[0]).toMatchObject({ os: 'linux', architecture: 'arm', variant: 'v7' })
    expect(said[4]).toMatchObject({ os: undefined, architecture: undefined, variant: undefined })
  })

  it('never throws anything but MANIFEST_INVALID, whatever comes', () => {
    const text = mostly(fc.constantFrom(A, B, OCI, SCHEMA_2, OCI_INDEX, 'linux', 'amd64', '__proto__'))
    const descriptor = mostly(
      fc.record({ digest: text, mediaType: text, size: mostly(fc.nat()), urls: fc.jsonValue() }, { requiredKeys: [] }),
    )
    const body = fc.record(
      {
        schemaVersion: mostly(fc.constantFrom(1, 2)),
        mediaType: text,
        config: descriptor,
        layers: mostly(fc.array(descriptor, { maxLength: 3 })),
        manifests: mostly(fc.array(descriptor, { maxLength: 3 })),
        fsLayers: mostly(fc.array(fc.record({ blobSum: text }), { maxLength: 3 })),
        history: mostly(fc.array(fc.record({ v1Compatibility: mostly(fc.json({ maxDepth: 2 })) }), { maxLength: 3 })),
        signatures: mostly(fc.array(fc.record({ protected: mostly(fc.base64String()) }), { maxLength: 2 })),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(body, fc.constantFrom(undefined, ...MANIFEST_TYPES), (value, contentType) => {
        try {
          const parsed = parse(value, contentType)
          expect(parsed.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
        } catch (error) {
          expect(error).toEqual(manifestInvalid)
        }
      }),
      { numRuns: 3000 },
    )
  })
})

describe('parseRegistryManifest, of schema 1', () => {
  const vector = vectors<{
    body: string
    digest: string
    sha256OfWholeBody: string
    layersBaseFirst: string[]
  }>('schema1Digest')

  it('takes the digest of what is signed, not of the body', () => {
    const parsed = parse(vector.body, SIGNED)
    expect(parsed.digest).toBe(vector.digest)
    expect(parsed.digest).not.toBe(vector.sha256OfWholeBody)
    if (parsed.kind !== 'schema1') throw new Error('schema 1')
    expect(parsed.layers.map(({ digest }) => digest)).toEqual(vector.layersBaseFirst)
    expect(parsed.config).toMatchObject({ architecture: 'amd64', os: 'linux', config: { Cmd: ['/bin/sh'] } })
  })

  it('takes the digest of the body when nobody has signed', () => {
    const text = JSON.stringify(schema1())
    expect(parse(text, SCHEMA_1).digest).toBe(`sha256:${createHash('sha256').update(text).digest('hex')}`)
  })

  it('believes what is signed, where the body shows something else', () => {
    const signed = JSON.stringify(schema1({}, [A]))
    const body = JSON.stringify({
      ...schema1({}, [B]),
      signatures: [{ protected: protect({ formatLength: 0, formatTail: encode(signed) }) }],
    })
    const parsed = parse(body, SIGNED)
    expect(parsed.kind === 'schema1' && parsed.layers.map(({ digest }) => digest)).toEqual([A])
    expect(parsed.digest).toBe(`sha256:${createHash('sha256').update(signed).digest('hex')}`)
  })

  it('counts layers as imgadm does: runs of one are one, the empty one stays', () => {
    const parsed = parse(schema1({}, [EMPTY, EMPTY, B, A, B, B, A]), SCHEMA_1)
    const digests = parsed.kind === 'schema1' ? parsed.layers.map(({ digest }) => digest) : []
    expect(digests).toEqual([A, B, A, B, EMPTY])
  })

  it.each([
    ['a history of another length', schema1({ history: [] })],
    ['no layers', schema1({ fsLayers: [], history: [] })],
    ['a history that is no text', schema1({ history: [{ v1Compatibility: {} }, {}, {}] })],
    [
      'a history of nested JSON',
      schema1({ history: Array(3).fill({ v1Compatibility: `{"a":${'['.repeat(99)}${']'.repeat(99)}}` }) }),
    ],
    ['a layer of another algorithm', schema1({}, [`sha512:${'a'.repeat(128)}`])],
    ['signatures that are none', schema1({ signatures: {} })],
    ['a signature of nothing', schema1({ signatures: [{}] })],
    ['a signature that is no base64', schema1({ signatures: [{ protected: '{}' }] })],
    [
      'a signature of more than there is',
      schema1({ signatures: [{ protected: protect({ formatLength: 1e9, formatTail: '' }) }] }),
    ],
    [
      'a signature of less than nothing',
      schema1({ signatures: [{ protected: protect({ formatLength: -1, formatTail: '' }) }] }),
    ],
    ['a signature without a tail', schema1({ signatures: [{ protected: protect({ formatLength: 1 }) }] })],
    [
      'signatures that differ',
      schema1({
        signatures: [5, 6].map((formatLength) => ({ protected: protect({ formatLength, formatTail: 'fQ' }) })),
      }),
    ],
    [
      'more signatures than anyone makes',
      schema1({ signatures: Array(17).fill({ protected: protect({ formatLength: 0, formatTail: '' }) }) }),
    ],
  ])('refuses %s', (_what, value) => refused(value))
})

describe('parseImageConfig', () => {
  it('reads an object, bounded in length and depth', () => {
    expect(parseImageConfig(Buffer.from('{"os":"linux"}'))).toEqual({ os: 'linux' })
    for (const text of ['[]', '7', '{', `{"a":${'['.repeat(99)}${']'.repeat(99)}}`, `{"a":"${'x'.repeat(4 << 20)}"}`]) {
      expect(() => parseImageConfig(Buffer.from(text))).toThrow(manifestInvalid)
    }
  })
})

describe('choosePlatform', () => {
  const linux = { os: 'linux', architecture: 'amd64' }

  function entry(
    architecture: string | undefined,
    variant?: string,
    changes: Partial<PlatformEntry> = {},
  ): PlatformEntry {
    const os = architecture === undefined ? undefined : 'linux'
    return { digest: A, mediaType: OCI, sizeBytes: 1, os, architecture, variant, isAttestation: false, ...changes }
  }

  it.each([
    ['the one that fits', [entry('arm64', 'v8'), entry('amd64'), entry('386')], linux, 1],
    ['the first of two that fit', [entry('amd64', 'v1'), entry('amd64')], linux, 0],
    ['none that wants a newer machine', [entry('amd64', 'v3'), entry('amd64')], linux, 1],
    ['386 before nothing', [entry('arm64'), entry('386')], linux, 1],
    ['amd64 before 386, in whatever order', [entry('386'), entry('amd64')], linux, 1],
    ['no attestation', [entry('amd64', undefined, { isAttestation: true }), entry('386')], linux, 1],
    ['the only one, though it says nothing', [entry(undefined)], linux, 0],
    ['what fits before what says nothing', [entry(undefined), entry('amd64')], linux, 1],
    [
      'the variant asked for',
      [entry('arm', 'v6'), entry('arm', 'v7')],
      { os: 'linux', architecture: 'arm', variant: 'v6' },
      0,
    ],
    ['the usual variant', [entry('arm', 'v6'), entry('arm', 'v7')], { os: 'linux', architecture: 'arm' }, 1],
    ['v8 of arm64 for arm64', [entry('arm64', 'v8')], { os: 'linux', architecture: 'arm64' }, 0],
  ])('takes %s', (_what, entries, platform, chosen) => {
    expect(choosePlatform(entries, platform)).toBe(entries[chosen])
  })

  it('takes none where none fits', () => {
    expect(choosePlatform([], linux)).toBeUndefined()
    expect(
      choosePlatform([entry('arm64'), entry('amd64', 'v4'), entry('amd64', undefined, { os: 'windows' })], linux),
    ).toBeUndefined()
    expect(choosePlatform([entry('386')], { os: 'linux', architecture: 'arm64' })).toBeUndefined()
  })

  it("takes what the reference took of real registries' lists", () => {
    for (const { index, chosen } of vectors<{ index?: JsonObject; chosen?: string }[]>('dockerPulls')) {
      if (!index) continue
      const parsed = parse({ schemaVersion: 2, ...index }, index.mediaType as string)
      expect(parsed.kind === 'index' && choosePlatform(parsed.entries, linux)?.digest).toBe(chosen)
    }
  })
})

function encode(text: string): string {
  return Buffer.from(text).toString('base64url')
}

function protect(value: JsonObject): string {
  return encode(JSON.stringify(value))
}
