import type { JsonObject } from '../parts/json-object.js'
import type { Manifest } from './manifest.js'

/** What a v1 manifest says that no v2 manifest knows. */
export interface DatasetTerms {
  /** `creator_name` and `cloud_name` of every image, and the first two words of the urns we make up. */
  readonly creatorName: string
  /** What file urls begin with, without a slash at its end; empty for urls that are a path alone. */
  readonly baseUrl: string
}

/** dsapid's keys in its order; what is not named here follows in IMGAPI's. */
const FIRST_KEYS = [
  'uuid',
  'name',
  'version',
  'description',
  'os',
  'type',
  'homepage',
  'urn',
  'published_at',
  'created_at',
  'updated_at',
  'creator_uuid',
  'creator_name',
  'vendor_uuid',
  'cloud_name',
  'platform_type',
  'restricted_to_uuid',
  'requirements',
  'users',
  'tags',
  'cpu_type',
  'image_size',
  'nic_driver',
  'disk_driver',
  'files',
] as const

/** What DSAPI clients cannot ask for, or nobody tells them. */
const NEVER_TOLD: ReadonlySet<string> = new Set(['icon', 'channels', 'error'])

const SUFFIXES = { gzip: '.gz', bzip2: '.bz2', xz: '.xz', none: '' } as const

/**
 * A manifest as DSAPI clients need it: everything that v1 asks for, and all of v2 besides.
 *
 * Both, since imgadm 2 and later reads either and each alone fails: it upgrades what has no `v`, but not the origins of an
 * image, and then misses the `state` and the compression of their files; and the compression it guesses for `.xz` is none.
 * Clients from before read what they know. The exact upgrade of the v1 part (without `v` and the keys that only v2 has)
 * gives back what v1 can say: test/images/downgrade-manifest.test.ts.
 *
 * Sources: dsapi.md, 4 and imgadm-client.md, 3 of our notes on imgadm 3.9.5; dsapid 0.7.2, converter/dsapi/encoder.go.
 */
export function downgradeManifest(manifest: Manifest, { creatorName, baseUrl }: DatasetTerms): JsonObject {
  const v2 = JSON.parse(manifest.json) as JsonObject
  const { publishedAt, owner } = manifest
  const v1: Record<string, unknown> = {
    description: v2.description ?? '',
    urn: urnOf(manifest, creatorName, v2),
    created_at: publishedAt,
    updated_at: publishedAt,
    creator_uuid: owner,
    creator_name: creatorName,
    vendor_uuid: owner,
    cloud_name: creatorName,
    platform_type: 'smartos',
    restricted_to_uuid: manifest.isPublic ? undefined : restrictedTo(manifest, v2),
    files: manifest.files.map((_file, index) => downgradeFile(manifest, index, v2, baseUrl)),
  }
  const dataset: Record<string, unknown> = {}
  for (const key of FIRST_KEYS) {
    const value = v1[key] ?? v2[key]
    if (value !== undefined) dataset[key] = value
  }
  for (const key of Object.keys(v2)) {
    if (!(key in dataset) && !NEVER_TOLD.has(key)) dataset[key] = v2[key]
  }
  return dataset
}

function downgradeFile(manifest: Manifest, index: number, v2: JsonObject, baseUrl: string): JsonObject {
  const { sizeBytes, compression, digests } = manifest.files[index]!
  const path = datasetFilePath(manifest, index)
  const file: Record<string, unknown> = {
    url: `${baseUrl}/datasets/${manifest.uuid}/${encodeURIComponent(path)}`,
    path,
  }
  // Strongest last, as dsapid has them.
  for (const { algorithm, hex } of digests.toReversed()) file[algorithm] = hex
  file.size = sizeBytes
  file.compression = compression
  const guid = (v2.files as readonly { dataset_guid?: string }[])[index]?.dataset_guid
  if (guid !== undefined) file.dataset_guid = guid
  return file
}

/** How DSAPI names a file of an image: `base-1.0.0.zfs.gz`, of a second one `base-1.0.0-1.zfs.gz`. Without a slash. */
export function datasetFilePath({ name, version, type, files }: Manifest, index: number): string {
  const stem = `${name}-${version}`.replace(/[ /]/g, '_')
  const suffix = SUFFIXES[files[index]?.compression ?? 'none']
  return `${stem}${index > 0 ? `-${index}` : ''}.${type === 'zvol' ? 'zvol' : 'zfs'}${suffix}`
}

/** `cloud:creator:name:version`: the one it came with, or one that says the same of every image. */
export function urnOf(manifest: Manifest, creatorName: string, v2: JsonObject = JSON.parse(manifest.json)): string {
  if (typeof v2.urn === 'string' && v2.urn !== '') return v2.urn
  return `${creatorName}:${creatorName}:${manifest.name}:${manifest.version}`
}

/** v1 knows one account besides the owner. A private image that is shared with nobody is its owner's alone. */
export function restrictedTo({ owner }: Manifest, { acl }: JsonObject): unknown {
  return (Array.isArray(acl) && acl[0]) || owner
}
