import { posix } from 'node:path'
import { MirrorError } from '../errors.js'
import { brief, isJsonObject, type JsonObject } from '../parts/json-object.js'
import { parseUuid } from './uuid.js'

const DROPPED_WITH_CREATOR = ['creator_uuid', 'vendor_uuid', 'creator_name', 'cloud_name', 'creator_admin']
const DROPPED_WITH_RESTRICTION = ['restricted_to_uuid', 'owner_uuid']
const DROPPED_AT_THE_END = ['platform_type', 'created_at', 'updated_at', '_url']

/**
 * A v1 (DSAPI) manifest as v2, exactly as the reference does it, its oddities included: `disabled: "false"` is
 * disabled, `.xz` is no compression, `public: false` becomes true. `repairV1` makes good what can be made good before.
 * A manifest of version 2 or later is answered as it is, unchecked. The input is not changed; the result shares its
 * nested values.
 *
 * Source: node-imgmanifest 3.2.0, lib/imgmanifest.js, `upgradeManifest`. One thing differs: a file with neither path nor
 * url has compression `none`, where the reference crashes on Node 6 and later.
 *
 * @throws MirrorError MANIFEST_INVALID for what the reference refuses.
 */
export function upgradeManifest(manifest: JsonObject): JsonObject {
  if (!manifest.v && !manifest.creator_uuid) throw refusal('manifest does not have a "v" field')
  const version = manifest.v ? numberOf(manifest.v) : 1
  if (version >= 2) return manifest
  if (version !== 1) throw refusal(`manifest has "v" ${brief(manifest.v)}, which is no version we know`)
  return fromVersion1(manifest)
}

function fromVersion1(v1: JsonObject): JsonObject {
  if (!parseUuid(v1.uuid)) throw refusal(`manifest has no valid uuid: ${brief(v1.uuid)}`)
  if (!v1.creator_uuid) throw refusal('v1 manifest does not have a "creator_uuid"')
  if (v1.owner !== undefined) throw refusal('v1 manifest has both "owner" and "creator_uuid"')
  if (v1.restricted_to_uuid && v1.public !== undefined) {
    throw refusal('v1 manifest has both "public" and "restricted_to_uuid"')
  }

  // The order of these assignments is the order of the new keys, which the reference's users see in its output.
  const v2: Record<string, unknown> = { ...v1 }
  v2.owner = v1.creator_uuid
  remove(v2, DROPPED_WITH_CREATOR)

  v2.public = !v1.restricted_to_uuid
  if (v1.restricted_to_uuid) v2.acl = [v1.restricted_to_uuid]
  remove(v2, DROPPED_WITH_RESTRICTION)

  v2.disabled = Boolean(v1.disabled)
  v2.state = v1.disabled ? 'disabled' : 'active'

  if (!v1.published_at && v1.created_at) v2.published_at = v1.created_at
  if (typeof v2.published_at === 'string' && /\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z/.test(v2.published_at)) {
    v2.published_at = `${v2.published_at.slice(0, -1)}:00Z`
  }

  if (Array.isArray(v1.files)) v2.files = v1.files.map(upgradeFile)
  if (v1.image_size) v2.image_size = numberOf(v1.image_size)
  remove(v2, DROPPED_AT_THE_END)
  v2.v = 2
  return v2
}

function upgradeFile(file: unknown): unknown {
  if (!isJsonObject(file)) return file
  const { path, url, ...rest } = file
  return { ...rest, compression: file.compression || compressionBySuffix(path || url) }
}

function compressionBySuffix(name: unknown): string {
  const suffix = typeof name === 'string' ? posix.extname(name) : ''
  if (suffix === '.gz') return 'gzip'
  return suffix === '.bz2' ? 'bzip2' : 'none'
}

/** Number(), but NaN for objects, on which it can throw. */
function numberOf(value: unknown): number {
  return typeof value === 'object' ? Number.NaN : Number(value)
}

function remove(object: Record<string, unknown>, keys: readonly string[]): void {
  for (const key of keys) delete object[key]
}

function refusal(message: string): MirrorError {
  return new MirrorError('MANIFEST_INVALID', message)
}
