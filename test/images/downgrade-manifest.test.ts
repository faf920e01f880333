import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DatasetTerms, datasetFilePath, downgradeManifest } from '../../src/images/downgrade-manifest.js'
import type { Manifest } from '../../src/images/manifest.js'
import { parseManifest } from '../../src/images/parse-manifest.js'
import { upgradeManifest } from '../../src/images/upgrade-manifest.js'
import type { JsonObject } from '../../src/parts/json-object.js'
import { anyManifest, image, MD5, parsed, SHA1, SHA256, uuid, v1, v2 } from './manifests.js'

const TERMS: DatasetTerms = { creatorName: 'sdc', baseUrl: 'http://mirror:8080' }

/** What a client sees that knows v1 alone. */
function v1Part(dataset: JsonObject): JsonObject {
  const { v: _v, owner: _owner, state: _state, public: _public, acl: _acl, ...rest } = dataset
  return rest
}

/** Manifests as they are when they have passed the gate. */
const anyImage: fc.Arbitrary<Manifest> = anyManifest
  .map((value) => parseManifest(value))
  .filter((result) => result.ok)
  .map((result) => result.statement.manifest)

describe('downgradeManifest', () => {
  it('says what imgadm of every age needs, in the order of dsapid', () => {
    const manifest = image({
      description: 'a base',
      urn: 'cloud:me:base:1.0.0',
      icon: true,
      tags: { role: 'db' },
      requirements: { brand: 'lx' },
      origin: uuid(7),
      files: [{ sha1: SHA1, md5: MD5, size: 10, compression: 'gzip', dataset_guid: '12' }],
    })
    const dataset = downgradeManifest(manifest, TERMS)
    expect(dataset).toEqual({
      uuid: uuid(1),
      name: 'base',
      version: '1.0.0',
      description: 'a base',
      os: 'smartos',
      type: 'zone-dataset',
      urn: 'cloud:me:base:1.0.0',
      published_at: '2013-01-01T00:00:00.000Z',
      created_at: '2013-01-01T00:00:00.000Z',
      updated_at: '2013-01-01T00:00:00.000Z',
      creator_uuid: '930896af-bf8c-48d4-885c-6573a94b1853',
      creator_name: 'sdc',
      vendor_uuid: '930896af-bf8c-48d4-885c-6573a94b1853',
      cloud_name: 'sdc',
      platform_type: 'smartos',
      requirements: { brand: 'lx' },
      tags: { role: 'db' },
      files: [
        {
          url: `http://mirror:8080/datasets/${uuid(1)}/base-1.0.0.zfs.gz`,
          path: 'base-1.0.0.zfs.gz',
          md5: MD5,
          sha1: SHA1,
          size: 10,
          compression: 'gzip',
          dataset_guid: '12',
        },
      ],
      v: 2,
      owner: '930896af-bf8c-48d4-885c-6573a94b1853',
      state: 'active',
      disabled: false,
      public: true,
      origin: uuid(7),
    })
    expect(Object.keys(dataset).slice(0, 8)).toEqual([
      'uuid',
      'name',
      'version',
      'description',
      'os',
      'type',
      'urn',
      'published_at',
    ])
  })

  it('makes an urn and a description where there is none', () => {
    expect(downgradeManifest(image(), { ...TERMS, creatorName: 'acme' })).toMatchObject({
      urn: 'acme:acme:base:1.0.0',
      description: '',
      creator_name: 'acme',
    })
  })

  it.each([
    [[uuid(5), uuid(6)], uuid(5)],
    [[], '930896af-bf8c-48d4-885c-6573a94b1853'],
  ])('restricts a private image shared with %j to %s', (acl, account) => {
    expect(downgradeManifest(image({ public: false, acl }), TERMS).restricted_to_uuid).toBe(account)
    expect(downgradeManifest(image({ acl }), TERMS)).not.toHaveProperty('restricted_to_uuid')
  })

  it.each([
    [{ name: 'a b/c', version: '1/2' }, 0, 'a_b_c-1_2.zfs.gz'],
    [
      { type: 'zvol', nic_driver: 'virtio', disk_driver: 'virtio', cpu_type: 'host', image_size: 10 },
      0,
      'base-1.0.0.zvol.gz',
    ],
    [{ files: [{ sha1: SHA1, size: 1, compression: 'xz' }] }, 0, 'base-1.0.0.zfs.xz'],
    [{ files: [{ sha1: SHA1, size: 1, compression: 'bzip2' }] }, 0, 'base-1.0.0.zfs.bz2'],
    [{ files: [1, 2].map((size) => ({ sha1: SHA1, size, compression: 'none' })) }, 1, 'base-1.0.0-1.zfs'],
  ])('names the file of %j', (changes, index, path) => {
    expect(datasetFilePath(image(changes), index)).toBe(path)
  })

  it('gives back, through the exact upgrade, all that v1 can say', () => {
    fc.assert(
      fc.property(anyImage, (manifest) => {
        const wire = JSON.parse(manifest.json) as JsonObject
        const upgraded = upgradeManifest(v1Part(JSON.parse(JSON.stringify(downgradeManifest(manifest, TERMS)))))
        const [acl] = (wire.acl as string[] | undefined) ?? []
        const files = (wire.files as JsonObject[]).map(({ sha1: _sha1, ...file }, index) => ({
          ...file,
          ...Object.fromEntries(manifest.files[index]!.digests.map(({ algorithm, hex }) => [algorithm, hex])),
        }))
        const { icon: _icon, ...rest } = wire
        expect(upgraded).toEqual({
          ...rest,
          description: wire.description ?? '',
          urn: `sdc:sdc:${manifest.name}:${manifest.version}`,
          // v1 knows neither images that wait to be activated nor more than one account to share with.
          state: wire.disabled ? 'disabled' : 'active',
          ...(manifest.isPublic ? {} : { acl: [acl ?? manifest.owner] }),
          ...(manifest.isPublic && { acl: undefined }),
          files,
        })
      }),
    )
  })

  it('gives everything but the icon to a reader of v2, such as another mirror', () => {
    fc.assert(
      fc.property(anyImage, (manifest) => {
        const dataset = JSON.parse(JSON.stringify(downgradeManifest(manifest, TERMS)))
        const again = parsed(dataset).statement.manifest
        const { icon: _icon, ...rest } = JSON.parse(manifest.json)
        expect(JSON.parse(again.json)).toEqual({ ...rest, urn: `sdc:sdc:${manifest.name}:${manifest.version}` })
        expect(again.files).toEqual(manifest.files)
      }),
    )
  })

  it('turns an old manifest into what it was, dates in full', () => {
    const { manifest } = parsed(v1({ published_at: '2011-04-11T08:45Z', urn: 'sdc:sdc:base:1.0.0' })).statement
    expect(downgradeManifest(manifest, TERMS)).toMatchObject({
      ...v1({ published_at: '2011-04-11T08:45:00Z', urn: 'sdc:sdc:base:1.0.0' }),
      files: [{ path: 'base-1.0.0.zfs.gz', sha1: SHA1, size: 100 }],
    })
  })

  it('hands on every digest that was declared', () => {
    const { manifest } = parsed(v2({ files: [{ sha256: SHA256, sha1: SHA1, md5: MD5, size: 10 }] })).statement
    expect(downgradeManifest(manifest, TERMS).files).toEqual([
      expect.objectContaining({ md5: MD5, sha1: SHA1, sha256: SHA256 }),
    ])
  })
})
