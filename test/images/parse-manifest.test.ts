import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseManifest } from '../../src/images/parse-manifest.js'
import { UNSET_OWNER } from '../../src/images/uuid.js'
import { validateManifest } from '../../src/images/validate-manifest.js'
import type { JsonObject } from '../../src/parts/json-object.js'
import { anyManifest, MD5, parsed, reasonFor, SHA1, SHA256, served, uuid, v1, v2 } from './manifests.js'

const deep = JSON.parse('['.repeat(50_000) + ']'.repeat(50_000))

describe('parseManifest, of a v2 manifest', () => {
  it('takes what is right as it is, facts and text', () => {
    const manifest = v2({ description: 'é', origin: uuid(2), icon: true, tags: { role: 'os' } })
    const { statement, dropped } = parsed(manifest)
    expect(statement.manifest).toEqual({
      uuid: uuid(1),
      name: 'base',
      version: '1.0.0',
      owner: '930896af-bf8c-48d4-885c-6573a94b1853',
      os: 'smartos',
      type: 'zone-dataset',
      state: 'active',
      isPublic: true,
      publishedAt: '2013-01-01T00:00:00.000Z',
      origin: uuid(2),
      files: [{ sizeBytes: 10, compression: 'gzip', digests: [{ algorithm: 'sha1', hex: SHA1 }] }],
      hasIcon: true,
      json: expect.any(String),
    })
    expect(JSON.parse(statement.manifest.json)).toEqual(manifest)
    expect(statement.whereabouts).toEqual([undefined])
    expect(dropped).toEqual([])
  })

  it('drops unknown and internal keys in silence', () => {
    const manifest = v2({ builder_info: {}, error: {}, activated: true, channels: ['dev'], creator_uuid: uuid(3) })
    expect(served(manifest)).toEqual(v2())
    expect(parsed(manifest).dropped).toEqual([])
  })

  it.each([
    ['a homepage of ftp', { homepage: 'ftp://example.com' }, ['homepage']],
    ['a description that is too long', { description: 'd'.repeat(10241) }, ['description']],
    ['tags that are too big', { tags: { a: 't'.repeat(102400) } }, ['tags']],
    ['tags nested too deeply', { tags: { a: deep } }, ['tags']],
    [
      'requirements nested too deeply',
      { requirements: { networks: [{ name: deep, description: '' }] } },
      ['requirements'],
    ],
    ['a bad acl', { acl: ['x'] }, ['acl']],
    ['zvol fields of no zvol', { nic_driver: 'virtio', image_size: '10' }, ['nic_driver', 'image_size']],
    ['an icon that is no boolean', { icon: 'yes' }, ['icon']],
    ['an owner that is no uuid', { owner: 'joyent' }, ['owner']],
  ] as const)('drops %s and says so', (_what, changes, dropped) => {
    const kept = served(v2(changes))
    expect(parsed(v2(changes)).dropped).toEqual(dropped)
    for (const field of dropped) expect(kept[field]).toEqual(field === 'owner' ? UNSET_OWNER : undefined)
  })

  it('drops one bad requirement and keeps the others', () => {
    const manifest = v2({
      requirements: { brand: 'lx', min_ram: '1024', foo: 1, min_platform: { '7.0': '20130301T000000Z' } },
    })
    expect(served(manifest).requirements).toEqual({ brand: 'lx', min_platform: { '7.0': '20130301T000000Z' } })
    expect(parsed(manifest).dropped).toEqual(['requirements.min_ram', 'requirements.foo'])
  })

  it('leaves out what is empty without calling it wrong', () => {
    const manifest = v2({ homepage: '', urn: '', origin: '', users: null, cpu_type: '' })
    expect(served(manifest)).toEqual(v2())
    expect(parsed(manifest).dropped).toEqual([])
  })

  it.each([
    ['owner ""', { owner: '' }, 'owner', UNSET_OWNER],
    ['no owner', { owner: undefined }, 'owner', UNSET_OWNER],
    ['no public', { public: undefined }, 'public', true],
    ['public as text', { public: 'false' }, 'public', false],
    ['a name that is a number', { name: 14 }, 'name', '14'],
    ['state deprecated', { state: 'deprecated' }, 'state', 'active'],
    ['state nuked', { state: 'nuked' }, 'state', 'unactivated'],
    ['state pending', { state: 'pending' }, 'state', 'unactivated'],
    ['no state', { state: undefined }, 'state', 'active'],
    ['no state, not activated', { state: undefined, activated: false }, 'state', 'unactivated'],
    ['active but disabled', { disabled: 'true' }, 'state', 'disabled'],
    ['state disabled, flag forgotten', { state: 'disabled' }, 'disabled', true],
    [
      'a date with 9 digits',
      { published_at: '2013-01-01T00:00:00.123456789Z' },
      'published_at',
      '2013-01-01T00:00:00.123Z',
    ],
    ['generate_passwords as text', { generate_passwords: 'false' }, 'generate_passwords', false],
    ['image_size as text', { type: 'zvol', image_size: '10240' }, 'image_size', 10240],
  ] as const)('repairs %s', (_what, changes, field, right) => {
    expect(served(v2(changes))[field]).toBe(right)
  })

  it('needs neither date nor file of an image that was not activated', () => {
    const manifest = parsed(v2({ state: 'unactivated', published_at: undefined, files: [] })).statement.manifest
    expect(manifest).toMatchObject({ state: 'unactivated', publishedAt: undefined, files: [] })
  })

  it('needs neither type nor os of an image that is being created', () => {
    const placeholder = v2({ state: 'creating', type: undefined, os: 'null', published_at: undefined, files: [] })
    expect(Object.keys(served(placeholder))).not.toContain('os')
    expect(parsed(placeholder).statement.manifest).toMatchObject({ type: 'null', os: 'null' })
  })

  it.each([
    ['it is no object', 'text', 'it is not an object: "text"'],
    ['it is an array', [], 'it is not an object: []'],
    ['the uuid is in upper case', v2({ uuid: uuid(1).toUpperCase() }), 'no valid uuid'],
    ['"v" is 3', v2({ v: 3 }), '"v" is no version'],
    ['it has no name', v2({ name: undefined }), 'it has no name'],
    ['its name has a colon', v2({ name: 'a:b' }), 'image name has invalid characters'],
    ['its version is too long', v2({ version: '1'.repeat(513) }), 'image version is too long'],
    ['its type is unknown', v2({ type: 'vm' }), 'invalid image type, "vm"'],
    ['its os is missing', v2({ os: undefined }), 'it has no os'],
    ['its origin is no uuid', v2({ origin: 'base' }), 'its origin is not valid: "base"'],
    ['nobody can tell whether it is public', v2({ public: 'maybe' }), 'its public is not valid'],
    ['it is active without a date', v2({ published_at: undefined }), 'it is active but has no published_at'],
    ['its date is none', v2({ published_at: '2013-02-30T00:00:00Z' }), 'its published_at is not valid'],
    ['it is active without a file', v2({ files: [] }), 'it is active but has no file'],
    ['files is an object', v2({ files: {} }), 'files is not an array'],
    ['it has 17 files', v2({ files: Array(17).fill({ sha1: SHA1, size: 1 }) }), 'files has 17 entries'],
    ['a docker image lacks its tag', v2({ type: 'docker' }), 'without a tag docker:id'],
    ['it is too long', v2({ users: [{ name: 'x'.repeat(1024 * 1024) }] }), 'longer than 1048576 bytes'],
  ])('sets it aside when %s', (_why, manifest, reason) => {
    expect(reasonFor(manifest)).toContain(reason)
  })

  it('names the uuid of what it sets aside, if that was right', () => {
    expect(parseManifest(v2({ files: [] }))).toMatchObject({ ok: false, uuid: uuid(1) })
    expect(parseManifest({})).toMatchObject({ ok: false, uuid: undefined })
  })

  it('takes a docker image that has its tag', () => {
    expect(served(v2({ type: 'docker', tags: { 'docker:id': 'sha256:1' } })).type).toBe('docker')
  })
})

describe('parseManifest, of files', () => {
  const file = (changes: JsonObject) => v2({ files: [{ sha1: SHA1, size: 10, compression: 'none', ...changes }] })
  const fileOf = (manifest: JsonObject) => parsed(manifest).statement.manifest.files[0]

  it.each([
    ['a size as text', { size: '42016482' }, { sizeBytes: 42016482 }],
    ['a sha1 in upper case', { sha1: SHA1.toUpperCase() }, { digests: [{ algorithm: 'sha1', hex: SHA1 }] }],
    ['a compression in upper case', { compression: 'GZIP' }, { compression: 'gzip' }],
    ['gzip from the path', { compression: undefined, path: 'a.zfs.gz' }, { compression: 'gzip' }],
    ['bzip2 from .bz', { compression: '', path: 'a.zfs.bz' }, { compression: 'bzip2' }],
    ['xz from the url', { compression: undefined, url: 'http://127.0.0.1/a.zvol.xz' }, { compression: 'xz' }],
    ['none without a hint', { compression: undefined }, { compression: 'none' }],
  ])('repairs %s', (_what, changes, right) => {
    expect(fileOf(file(changes))).toMatchObject(right)
  })

  it('serves of a file only what IMGAPI knows, in its order', () => {
    const manifest = file({ dataset_guid: '77', md5: MD5, stor: 'local', path: 'x' })
    const { json } = parsed(manifest).statement.manifest
    expect(json).toContain(`"files":[{"sha1":"${SHA1}","size":10,"compression":"none","dataset_guid":"77"}]`)
  })

  it('keeps every digest that is declared, strongest first', () => {
    expect(fileOf(file({ md5: MD5, sha256: SHA256 }))?.digests.map(({ algorithm }) => algorithm)).toEqual([
      'sha256',
      'sha1',
      'md5',
    ])
  })

  it('takes a file of which only the md5 is known', () => {
    expect(fileOf(file({ sha1: '', md5: MD5 }))?.digests).toEqual([{ algorithm: 'md5', hex: MD5 }])
  })

  it('takes a file without any digest only if that is allowed', () => {
    expect(reasonFor(file({ sha1: undefined }))).toContain('files[0] has no sha1 or other digest')
    expect(
      parsed(file({ sha1: undefined }), { allowMissingDigest: true }).statement.manifest.files[0]?.digests,
    ).toEqual([])
  })

  it.each([
    ['no size', { size: undefined }, 'files[0].size is not a positive whole number of bytes: missing'],
    ['size 0', { size: 0 }, 'files[0].size'],
    ['a negative size', { size: '-1' }, 'files[0].size'],
    ['half a byte', { size: 1.5 }, 'files[0].size'],
    ['a size no number can hold', { size: '9007199254740993' }, 'files[0].size'],
    ['zstd', { compression: 'zstd' }, 'files[0].compression is none of gzip, bzip2, xz, none: "zstd"'],
    ['a sha1 cut short', { sha1: SHA1.slice(1) }, 'files[0].sha1 is not a sha1 digest'],
    ['an md5 that is none', { md5: 'x' }, 'files[0].md5 is not a md5 digest'],
  ])('sets the manifest aside for %s', (_what, changes, reason) => {
    expect(reasonFor(file(changes))).toContain(reason)
  })

  it('sets the manifest aside for a file that is no object', () => {
    expect(reasonFor(v2({ files: [null] }))).toContain('files[0] is not an object')
  })
})

describe('parseManifest, of a v1 manifest', () => {
  it('upgrades it, and keeps where the file is', () => {
    const url = 'http://127.0.0.1/datasets/x/base-1.0.0.zfs.gz'
    const manifest = v1({ urn: 'sdc:sdc:base:1.0.0', files: [{ path: 'a.zfs.bz2', url, sha1: SHA1, size: 100 }] })
    expect(served(manifest)).toEqual(
      v2({
        owner: '352971aa-31ba-496c-9ade-a379feaecd52',
        urn: 'sdc:sdc:base:1.0.0',
        published_at: '2012-05-02T15:14:45.805Z',
        files: [{ sha1: SHA1, size: 100, compression: 'bzip2' }],
      }),
    )
    expect(parsed(manifest).statement.whereabouts).toEqual([JSON.stringify({ path: 'a.zfs.bz2', url })])
  })

  it.each([
    ['no creator', { creator_uuid: undefined }, { owner: UNSET_OWNER }],
    ['an empty creator, v said', { v: 1, creator_uuid: '' }, { owner: UNSET_OWNER }],
    ['an owner beside the creator', { owner: uuid(4) }, { owner: '352971aa-31ba-496c-9ade-a379feaecd52' }],
    ['an owner instead of a creator', { creator_uuid: '', owner: uuid(4) }, { owner: uuid(4) }],
    ['disabled "false"', { disabled: 'false' }, { state: 'active', disabled: false }],
    ['disabled', { disabled: true }, { state: 'disabled', disabled: true }],
    [
      'a private image that says so twice',
      { restricted_to_uuid: uuid(5), public: false },
      { public: false, acl: [uuid(5)] },
    ],
    ['a date without seconds', { published_at: '2011-04-11T08:45Z' }, { published_at: '2011-04-11T08:45:00Z' }],
    ['a date without a zone', { published_at: '2011-04-11T08:45:01' }, { published_at: '2011-04-11T08:45:01Z' }],
    [
      'a bad date beside a good one',
      { published_at: 'x', created_at: '2011-04-11T08:45Z' },
      { published_at: '2011-04-11T08:45:00Z' },
    ],
    ['image_size as text', { type: 'zvol', image_size: '16384' }, { image_size: 16384 }],
  ])('repairs %s', (_what, changes, right) => {
    expect(served(v1(changes))).toMatchObject(right)
  })

  it('drops a urn that is no text', () => {
    expect(parsed(v1({ urn: 5 })).dropped).toEqual(['urn'])
  })

  it('knows xz, which the reference takes for nothing', () => {
    expect(served(v1({ files: [{ path: 'a.zfs.xz', sha1: SHA1, size: 1 }] })).files).toMatchObject([
      { compression: 'xz' },
    ])
  })

  it('keeps of whereabouts only texts of a bearable length', () => {
    const whereabouts = (path: unknown, url: unknown) =>
      parsed(v1({ files: [{ path, url, sha1: SHA1, size: 1, compression: 'none' }] })).statement.whereabouts
    expect(whereabouts({}, 'u')).toEqual(['{"url":"u"}'])
    expect(whereabouts('p'.repeat(5000), '')).toEqual([undefined])
  })
})

describe('parseManifest, of anything', () => {
  it('never throws, and what it lets through is valid and well formed', () => {
    let taken = 0
    const check = (value: unknown) => {
      const result = parseManifest(value, { allowMissingDigest: true })
      if (!result.ok) {
        expect(result.reason.length).toBeLessThan(2000)
        return
      }
      taken++
      const wire = JSON.parse(result.statement.manifest.json)
      const { files, ...rest } = wire
      expect(validateManifest({ type: 'null', os: 'null', ...rest }, { mode: 'minimal' })).toEqual([])
      for (const file of files) {
        expect(file.size).toSatisfy((size) => Number.isSafeInteger(size) && Number(size) > 0)
        expect(['gzip', 'bzip2', 'xz', 'none']).toContain(file.compression)
      }
    }
    fc.assert(fc.property(fc.jsonValue(), check))
    fc.assert(fc.property(anyManifest, check), { numRuns: 2000 })
    expect(taken).toBeGreaterThan(50)
  })

  it('takes its own output for what it is', () => {
    fc.assert(
      fc.property(anyManifest, (value) => {
        const first = parseManifest(value, { allowMissingDigest: true })
        if (!first.ok) return
        const { json } = first.statement.manifest
        expect(parsed(JSON.parse(json), { allowMissingDigest: true })).toMatchObject({
          statement: { manifest: { json } },
          dropped: [],
        })
      }),
      { numRuns: 2000 },
    )
  })
})

describe('parseManifest, of a Docker layer', () => {
  const layer = (file: JsonObject, tags: JsonObject = { 'docker:id': `sha256:${SHA256}` }) =>
    v2({ type: 'docker', os: 'linux', tags, files: [{ size: 10, compression: 'gzip', ...file }] })

  it('takes the digest it is named by where no sha1 is known yet', () => {
    const { manifest } = parsed(layer({})).statement
    expect(manifest.files[0]!.digests).toEqual([{ algorithm: 'sha256', hex: SHA256 }])
    expect(served(layer({}))).toEqual(layer({}))
  })

  it('goes by the sha1 alone where there is one: what is served may have been made from the layer', () => {
    const { manifest } = parsed(layer({ sha1: SHA1 })).statement
    expect(manifest.files[0]!.digests).toEqual([{ algorithm: 'sha1', hex: SHA1 }])
  })

  it.each([
    ['no digest', { 'docker:id': 'latest' }],
    ['upper case', { 'docker:id': `sha256:${SHA256.toUpperCase()}` }],
  ])('is set aside when its name is %s', (_what, tags) => {
    expect(reasonFor(layer({}, tags))).toMatch('cannot be verified')
  })

  it('does not take the tag of an image of another type for a digest', () => {
    expect(reasonFor({ ...layer({}), type: 'zone-dataset' })).toMatch('cannot be verified')
  })
})
