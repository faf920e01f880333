import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import { isImageConfigType, mapDockerImage, uuidOfLayers } from '../../../src/images/docker/layer-images.js'
import { parseRegistryManifest } from '../../../src/images/docker/registry-manifest.js'
import { parseManifest } from '../../../src/images/parse-manifest.js'
import { validateManifest } from '../../../src/images/validate-manifest.js'
import type { JsonObject } from '../../../src/parts/json-object.js'
import { vectors } from '../../support/vectors.js'
import { mostly } from '../manifests.js'

const A = `sha256:${'a'.repeat(64)}`
const B = `sha256:${'b'.repeat(64)}`
const GZIP = 'application/vnd.docker.image.rootfs.diff.tar.gzip'

const manifestInvalid = expect.toSatisfy((error) => isMirrorError(error, 'MANIFEST_INVALID'))

function layer(digest = A, mediaType = GZIP, changes = {}) {
  return { digest, mediaType, sizeBytes: 7, ...changes }
}

function map(changes: Partial<Parameters<typeof mapDockerImage>[0]> = {}) {
  return mapDockerImage({
    localName: 'busybox',
    tags: ['latest'],
    layers: [layer()],
    config: { os: 'linux' },
    ...changes,
  })
}

function wire(manifest: { json: string }): JsonObject {
  return JSON.parse(manifest.json) as JsonObject
}

describe('uuidOfLayers', () => {
  type Case = { name: string; digests: string[]; uuid?: string; error?: unknown }
  /** Where we differ on purpose: the reference makes uuids of texts that no registry could have meant. */
  const ours = new Map([
    ['upper-case hex is accepted and gives another uuid', 'b265d8d3-a33c-f570-5fbf-d453e6c4391b'],
    ['empty list is accepted', undefined],
  ])

  it.each(vectors<Case[]>('imgUuidFromDockerDigests').map((each) => [each.name, each] as const))(
    'is as the reference makes it: %s',
    (name, { digests, uuid, error }) => {
      const expected = ours.has(name) ? ours.get(name) : uuid
      if (error || expected === undefined) expect(() => uuidOfLayers(digests)).toThrow(manifestInvalid)
      else expect(uuidOfLayers(digests)).toBe(expected)
    },
  )
})

describe('mapDockerImage', () => {
  type Info = {
    name: string
    opts: { layerDigests: string[]; imgJson: JsonObject; repo: { localName: string }; tags?: string[] } & JsonObject
    manifest: JsonObject
    error?: unknown
  }

  it.each(vectors<Info[]>('imgManifestFromDockerInfo').map((each) => [each.name, each] as const))(
    'makes the manifest that the reference makes: %s',
    (name, { opts, manifest, error }) => {
      const { layerDigests, imgJson, repo, tags = [] } = opts
      const image = {
        localName: repo.localName,
        tags,
        layers: layerDigests.map((digest) => layer(digest)),
        config: imgJson,
      }
      if (name === 'FAIL no layer digests') return expect(() => mapDockerImage(image)).toThrow(manifestInvalid)
      const top = mapDockerImage(image).at(-1)!
      if (name === 'FAIL created missing') {
        // OCI asks for no date; the reference fails, IMGAPI demands one.
        return expect(wire(top.manifest).published_at).toBe('1970-01-01T00:00:00.000Z')
      }
      expect(error).toBeUndefined()
      // What its caller may say otherwise we have no use for; and the origin of a base image is none, whatever `parent` says.
      const { uuid = manifest.uuid, owner = manifest.owner, public: isPublic = true } = opts
      const origin = layerDigests.length > 1 ? uuidOfLayers(layerDigests.slice(0, -1)) : undefined
      if (opts.uuid === undefined) expect(wire(top.manifest).uuid).toBe(uuid)
      expect(wire(top.manifest)).toEqual(
        asServed({
          ...manifest,
          uuid: uuidOfLayers(layerDigests),
          owner: opts.owner === undefined ? owner : '00000000-0000-0000-0000-000000000000',
          public: opts.public === undefined ? isPublic : true,
          origin: opts.origin === undefined && !name.includes('empty chain') ? manifest.origin : origin,
        }),
      )
    },
  )

  type Pull = {
    repo: string
    tag: string
    manifestMediaType: string
    configDigest: string
    layers: { digest: string; size: number; mediaType: string }[]
    config: JsonObject
    sdcImgapi: { uuid: string }[]
    imgadm: JsonObject[]
  }

  it.each(vectors<Pull[]>('dockerPulls').map((each) => [`${each.repo}:${each.tag}`, each] as const))(
    'makes of %s what imgadm makes of it, and the uuids of sdc-imgapi',
    (_name, { repo, tag, manifestMediaType, configDigest, layers, config, sdcImgapi, imgadm }) => {
      const manifest = {
        schemaVersion: 2,
        config: { digest: configDigest, size: 1, mediaType: 'application/vnd.oci.image.config.v1+json' },
        layers,
      }
      const parsed = parseRegistryManifest(Buffer.from(JSON.stringify(manifest)), manifestMediaType)
      if (parsed.kind !== 'image') throw new Error('an image')
      const images = mapDockerImage({ localName: repo, tags: [tag], layers: parsed.layers, config })
      expect(images.map((each) => wire(each.manifest))).toEqual(
        imgadm.map((theirs, index) => asServed(theirs, layers[index])),
      )
      if (sdcImgapi) expect(images.map((each) => each.manifest.uuid)).toEqual(sdcImgapi.map(({ uuid }) => uuid))
      expect(images.map((each) => each.layer)).toEqual(parsed.layers)
    },
  )

  it('makes of schema 1 what imgadm makes of it', () => {
    const vector = vectors<{ body: string; imgadmUuids: string[] }>('schema1Digest')
    const parsed = parseRegistryManifest(Buffer.from(vector.body), undefined)
    if (parsed.kind !== 'schema1') throw new Error('schema 1')
    const images = map({ layers: parsed.layers.map((each) => ({ ...each, sizeBytes: 9 })), config: parsed.config })
    expect(images.map(({ manifest }) => manifest.uuid)).toEqual(vector.imgadmUuids)
    expect(images.map(({ manifest }) => manifest.publishedAt)).toEqual(Array(4).fill('2023-11-14T22:13:30.000Z'))
  })

  it('holds the bytes of a layer to its digest, which the served text has no place for', () => {
    const [only] = map()
    expect(only!.manifest.files).toEqual([
      { sizeBytes: 7, compression: 'gzip', digests: [{ algorithm: 'sha256', hex: 'a'.repeat(64) }] },
    ])
    expect(wire(only!.manifest).files).toEqual([{ size: 7, compression: 'gzip' }])
  })

  it('chains layers that occur twice: one uuid for each place', () => {
    const images = map({ layers: [layer(A), layer(B), layer(A), layer(A)] })
    expect(new Set(images.map(({ manifest }) => manifest.uuid)).size).toBe(4)
    expect(images.map(({ manifest }) => manifest.origin)).toEqual([
      undefined,
      ...images.slice(0, -1).map(({ manifest }) => manifest.uuid),
    ])
    expect(
      images.map(({ manifest }) => Object.keys(wire(manifest).tags as object).includes('docker:tag:latest')),
    ).toEqual([false, false, false, true])
  })

  it.each([
    [GZIP, 'gzip', false],
    ['application/vnd.docker.image.rootfs.diff.tar', 'none', false],
    ['application/vnd.docker.image.rootfs.diff.tar.bzip2', 'bzip2', false],
    ['application/vnd.docker.image.rootfs.diff.tar.xz', 'xz', false],
    ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'none', true],
    ['application/vnd.oci.image.layer.v1.tar', 'none', false],
    ['application/vnd.oci.image.layer.v1.tar+gzip', 'gzip', false],
    ['application/vnd.oci.image.layer.v1.tar+zstd', 'none', true],
  ])('takes the compression from %s', (mediaType, compression, needsRecompression) => {
    const [only] = map({ layers: [layer(A, mediaType)] })
    expect(only).toMatchObject({ needsRecompression, manifest: { files: [{ compression }] } })
  })

  it.each([
    ['without layers', { layers: [] }],
    ['with a layer of sha512', { layers: [layer(`sha512:${'a'.repeat(128)}`)] }],
    ['with a layer of no bytes', { layers: [layer(A, GZIP, { sizeBytes: 0 })] }],
    ['with a chart for a layer', { layers: [layer(A, 'application/vnd.cncf.helm.chart.content.v1.tar+gzip')] }],
    ['with an encrypted layer', { layers: [layer(A, `application/vnd.oci.image.layer.v1.tar+gzip+encrypted`)] }],
    [
      'with a foreign layer nobody gives away',
      { layers: [layer(A, 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')] },
    ],
    ['with an environment that IMGAPI has no room for', { config: { config: { Env: ['x'.repeat(102_400)] } } }],
  ])('refuses an image %s', (_what, changes) => {
    expect(() => map(changes)).toThrow(manifestInvalid)
  })

  it('takes a foreign layer that says where it is', () => {
    const foreign = layer(A, 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', {
      urls: ['https://a.example/b'],
    })
    expect(map({ layers: [foreign] })[0]!.layer.urls).toEqual(['https://a.example/b'])
  })

  it.each([
    ['its own', { created: '2024-05-06T07:08:09.123456789Z' }, '2024-05-06T07:08:09.123Z'],
    ['its own, before all calendars', { created: '0001-01-01T00:00:00Z' }, '0001-01-01T00:00:00.000Z'],
    [
      'the newest of its history',
      { history: [{ created: '2020-01-01T00:00:00Z' }, { created: '2021-01-01T00:00:00Z' }, {}] },
      '2021-01-01T00:00:00.000Z',
    ],
    ['none', { created: 7, history: 'x' }, '1970-01-01T00:00:00.000Z'],
  ])('has a date: %s', (_what, config, date) => {
    expect(map({ config })[0]!.manifest.publishedAt).toBe(date)
  })

  it('leaves out of a config what is not what Docker writes', () => {
    const config = {
      os: 'linux',
      architecture: { toString: 'x' },
      comment: ['x'],
      container_config: { Cmd: ['a', { b: 1 }, 'c'] },
      config: { Cmd: 'sh', Entrypoint: [{}], Env: null, WorkingDir: {}, Labels: { a: 'b' }, __proto__: { Cmd: ['x'] } },
    }
    const served = wire(map({ config })[0]!.manifest)
    expect(served.description).toBe('a c')
    expect(served.tags).toEqual({
      'docker:repo': 'busybox',
      'docker:id': A,
      'docker:tag:latest': true,
      'docker:config': { Env: null },
    })
  })

  it('stays an image with more tags than IMGAPI has room for', () => {
    const tags = ['__proto__', 'not a tag', ...Array.from({ length: 5000 }, (_, index) => `nightly-${index}`)]
    const [only] = map({ tags })
    const served = Object.keys(wire(only!.manifest).tags as object).filter((key) => key.startsWith('docker:tag:'))
    expect(served.slice(0, 2)).toEqual(['docker:tag:__proto__', 'docker:tag:nightly-0'])
    expect(served.length).toBeGreaterThan(500)
    expect(served.length).toBeLessThan(5000)
  })

  it('makes manifests that IMGAPI takes, whatever the config says', () => {
    const words = mostly(fc.array(fc.string()))
    const config = fc.record(
      {
        os: mostly(fc.constantFrom('linux', 'windows')),
        architecture: mostly(fc.constant('amd64')),
        created: mostly(fc.constant('2020-01-02T03:04:05Z')),
        comment: mostly(fc.string()),
        container_config: mostly(fc.record({ Cmd: words })),
        config: mostly(
          fc.record(
            { Cmd: words, Entrypoint: words, Env: words, WorkingDir: mostly(fc.string()) },
            { requiredKeys: [] },
          ),
        ),
        history: fc.jsonValue(),
      },
      { requiredKeys: [] },
    )
    const property = fc.property(mostly(config), fc.array(fc.string()), (value, tags) => {
      const given = typeof value === 'object' && value !== null ? (value as JsonObject) : {}
      for (const { manifest } of map({ config: given, tags, layers: [layer(A), layer(B)] })) {
        const served = wire(manifest)
        // Everything but the sha1, which nobody knows yet.
        const complete = { ...served, activated: true, files: [{ sha1: 'a'.repeat(40), size: 7, compression: 'gzip' }] }
        expect(validateManifest(complete, { mode: 'public' })).toEqual([])
        expect(parseManifest(served)).toMatchObject({ ok: true, dropped: [] })
      }
    })
    fc.assert(property, { numRuns: 500 })
  })

  it('tells images from charts by their config', () => {
    expect(isImageConfigType('application/vnd.oci.image.config.v1+json')).toBe(true)
    expect(isImageConfigType('application/vnd.cncf.helm.config.v1+json')).toBe(false)
    expect(isImageConfigType('application/vnd.oci.empty.v1+json')).toBe(false)
  })
})

/** A manifest of the reference, with what an IMGAPI adds, and without what it leaves out because it says nothing. */
function asServed(
  manifest: JsonObject,
  file: { size: number; mediaType: string } = { size: 7, mediaType: GZIP },
): JsonObject {
  const { description, origin, ...rest } = manifest
  return {
    ...rest,
    ...(origin ? { origin } : {}),
    ...(description ? { description } : {}),
    os: manifest.os ?? 'other',
    state: 'active',
    files: [{ size: file.size, compression: /gzip$/.test(file.mediaType) ? 'gzip' : 'none' }],
  }
}
