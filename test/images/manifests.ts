import fc from 'fast-check'
import type { Manifest } from '../../src/images/manifest.js'
import { type ParseOptions, parseManifest, type UsableManifest } from '../../src/images/parse-manifest.js'
import type { Uuid } from '../../src/images/uuid.js'
import type { JsonObject } from '../../src/parts/json-object.js'

export const SHA1 = '246c9ae158dc8f204643afdd6bd4d3c4aa35e733'
export const MD5 = '9e107d9d372bb6826bd81d3542a419d6'
export const SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** `aaaaaaaa-0000-4000-8000-00000000000n`, as the vectors number their images. */
export function uuid(number: number): Uuid {
  return `aaaaaaaa-0000-4000-8000-${String(number).padStart(12, '0')}` as Uuid
}

/** A small v2 manifest as an IMGAPI server sends it. */
export function v2(changes: JsonObject = {}): JsonObject {
  return {
    v: 2,
    uuid: uuid(1),
    owner: '930896af-bf8c-48d4-885c-6573a94b1853',
    name: 'base',
    version: '1.0.0',
    state: 'active',
    disabled: false,
    public: true,
    published_at: '2013-01-01T00:00:00.000Z',
    type: 'zone-dataset',
    os: 'smartos',
    files: [{ sha1: SHA1, size: 10, compression: 'gzip' }],
    ...changes,
  }
}

/** A small v1 manifest as a DSAPI server sends it. */
export function v1(changes: JsonObject = {}): JsonObject {
  return {
    uuid: uuid(1),
    name: 'base',
    version: '1.0.0',
    type: 'zone-dataset',
    os: 'smartos',
    creator_uuid: '352971aa-31ba-496c-9ade-a379feaecd52',
    published_at: '2012-05-02T15:14:45.805Z',
    files: [{ path: 'base-1.0.0.zfs.gz', sha1: SHA1, size: 100 }],
    ...changes,
  }
}

export function parsed(value: unknown, options?: ParseOptions): UsableManifest {
  const result = parseManifest(value, options)
  if (!result.ok) throw new Error(`set aside: ${result.reason}`)
  return result
}

/** Why it is set aside. */
export function reasonFor(value: unknown, options?: ParseOptions): string {
  const result = parseManifest(value, options)
  if (result.ok) throw new Error('taken, not set aside')
  return result.reason
}

export function image(changes: JsonObject = {}): Manifest {
  return parsed(v2(changes), { allowMissingDigest: true }).statement.manifest
}

/** What is served of it. */
export function served(value: unknown): JsonObject {
  return JSON.parse(parsed(value).statement.manifest.json)
}

/** A value now and then replaced by any JSON at all. */
export function mostly<Value>(usual: fc.Arbitrary<Value>): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 5, arbitrary: usual }, { weight: 1, arbitrary: fc.jsonValue() })
}

/** Manifests of both versions, most of which have something wrong with them. */
export const anyManifest: fc.Arbitrary<JsonObject> = fc.record(
  {
    v: mostly(fc.constantFrom(1, 2, '2')),
    uuid: mostly(fc.nat(50).map(uuid)),
    owner: mostly(fc.constantFrom('', uuid(9))),
    creator_uuid: mostly(fc.constantFrom('', uuid(9))),
    name: mostly(fc.constantFrom('base', 'a b/c')),
    version: mostly(fc.constantFrom('1.0.0', '20.04+1')),
    description: mostly(fc.string()),
    homepage: mostly(fc.constantFrom('https://example.com/', 'ftp://x')),
    state: mostly(fc.constantFrom('active', 'disabled', 'unactivated', 'deprecated', 'nuked', 'creating')),
    disabled: mostly(fc.constantFrom(true, false, 'false')),
    public: mostly(fc.constantFrom(true, false, 'true')),
    restricted_to_uuid: mostly(fc.constantFrom('', uuid(8))),
    published_at: mostly(
      fc.constantFrom('2013-01-01T00:00Z', '2013-01-01T00:00:00.123456789Z', '2013-01-01T00:00:00Z'),
    ),
    type: mostly(fc.constantFrom('zone-dataset', 'zvol', 'docker', 'other')),
    os: mostly(fc.constantFrom('smartos', 'linux')),
    origin: mostly(fc.constantFrom('', uuid(7))),
    icon: mostly(fc.constantFrom(true, 'true')),
    acl: mostly(fc.constantFrom([], [uuid(6)])),
    requirements: mostly(fc.record({ min_ram: mostly(fc.nat()), brand: mostly(fc.constant('lx')) })),
    tags: mostly(fc.dictionary(fc.constantFrom('role', 'docker:id', '__proto__'), fc.jsonValue())),
    image_size: mostly(fc.constantFrom('10240', 10240)),
    generate_passwords: mostly(fc.constantFrom(false, 'true')),
    files: mostly(
      fc.array(
        fc.record(
          {
            sha1: mostly(fc.constantFrom(SHA1, SHA1.toUpperCase())),
            md5: mostly(fc.constantFrom(MD5, '')),
            sha256: mostly(fc.constant(SHA256)),
            size: mostly(fc.constantFrom(10, '10')),
            compression: mostly(fc.constantFrom('gzip', 'xz')),
            path: mostly(fc.constantFrom('a.zfs.bz2', 'a.zfs.xz')),
            url: mostly(fc.constant('http://127.0.0.1/a')),
            dataset_guid: mostly(fc.constant('123')),
          },
          { requiredKeys: ['sha1', 'size'] },
        ),
        { minLength: 1, maxLength: 2 },
      ),
    ),
  },
  { requiredKeys: ['uuid', 'name', 'version', 'type', 'os', 'published_at', 'files'] },
)
