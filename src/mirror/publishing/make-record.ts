import { isMirrorError, MirrorError } from '../../errors.js'
import type { ImageRecord } from '../../images/image-record.js'
import { repairV1 } from '../../images/repair-v1.js'
import { upgradeManifest } from '../../images/upgrade-manifest.js'
import type { Uuid } from '../../images/uuid.js'
import { looseBoolean, type ValidationRules, validateManifest } from '../../images/validate-manifest.js'
import type { JsonObject } from '../../parts/json-object.js'
import { invalidData, invalidParameter } from './refusals.js'

/** A record is refused when its JSON is longer: as with what upstreams send, nobody means more. */
const MAX_RECORD_CHARACTERS = 1024 * 1024
/** Unknown keys that are told of, and how much of each. */
const MAX_EXTRAS = 100
const MAX_EXTRA_LENGTH = 100

const IF_TRUTHY = ['description', 'homepage', 'eula'] as const
const IF_GIVEN = [
  'error',
  'requirements',
  'users',
  'traits',
  'tags',
  'billing_tags',
  'generate_passwords',
  'inherited_directories',
  'origin',
  'acl',
] as const
const OF_ZVOLS = ['nic_driver', 'disk_driver', 'cpu_type'] as const
/** Dropped without a word, so that what GetImage answers can be given back. */
const DROPPED = ['files', 'state', 'channels']

export interface NewImage {
  /** What was given, parsed JSON. */
  readonly given: JsonObject
  readonly uuid: Uuid
  readonly owner: unknown
  /** The channels it goes into; `undefined` on a mirror without channels. */
  readonly channels: readonly string[] | undefined
  /** Imported images bring their uuid, date and urn. */
  readonly isImport: boolean
  readonly rules: ValidationRules
}

/**
 * The record of a new image: unactivated, without files.
 *
 * As the reference makes it (sdc-imgapi, lib/images.js, `Image.create`), but for what it gets wrong: v1 manifests are upgraded
 * before anything is added to them; without `public` an image on a public server is public; `icon` of an imported one is
 * dropped, its bytes being elsewhere; and a manifest that no imgadm could read, of a version below 2, is refused.
 *
 * @throws MirrorError QUERY_INVALID for unknown keys, MANIFEST_INVALID.
 */
export function makeRecord({ given, uuid, owner, channels, isImport, rules }: NewImage): ImageRecord {
  const data = upgraded(given)
  const isZvol = data.type === 'zvol'
  const takesPublishedAt = isImport && Boolean(data.published_at)
  if (takesPublishedAt && typeof data.published_at !== 'string') {
    throw invalidParameter('invalid "published_at"', 'published_at')
  }
  const isPublic = data.public === undefined && rules.mode === 'public' ? true : data.public || false
  const taken: Record<string, unknown> = {
    v: data.v,
    uuid,
    owner,
    name: data.name,
    version: data.version,
    type: data.type,
    os: data.os,
    public: isPublic,
    disabled: data.disabled || false,
    activated: false,
    state: 'unactivated',
    ...(channels && { channels }),
    ...(takesPublishedAt && { published_at: data.published_at }),
    ...(isImport && data.urn ? { urn: data.urn } : {}),
  }
  for (const key of IF_TRUTHY) if (data[key]) taken[key] = data[key]
  for (const key of IF_GIVEN) if (data[key] !== undefined) taken[key] = data[key]
  if (isZvol) {
    for (const key of OF_ZVOLS) taken[key] = data[key]
    taken.image_size = typeof data.image_size === 'object' ? Number.NaN : Number(data.image_size)
  }
  refuseExtras(data, new Set(extrasAllowed({ isImport, isZvol, takesPublishedAt, hasUrn: Boolean(data.urn) })))
  if (!isImport && data.icon) {
    throw invalidData('invalid image data', [
      { field: 'icon', code: 'Invalid', message: 'invalid image "icon": icon missing "contentMD5" field' },
    ])
  }
  return checkRecord(taken, rules)
}

/**
 * A record that is to be kept: checked as a manifest, with loose booleans and texts for lists made plain.
 * @throws MirrorError MANIFEST_INVALID
 */
export function checkRecord(given: JsonObject, rules: ValidationRules): ImageRecord {
  const record: Record<string, unknown> = { ...given }
  for (const key of ['acl', 'billing_tags']) if (typeof record[key] === 'string') record[key] = [record[key]]
  const failures = validateManifest(record, rules)
  if (failures.length > 0) throw invalidData('invalid image data', failures)
  if (Number(record.v) < 2) {
    throw invalidData('invalid image data', [{ field: 'v', code: 'Invalid', message: '"v" must be 2 or more' }])
  }
  for (const key of ['public', 'disabled', 'activated', 'icon', 'generate_passwords']) {
    if (record[key] !== undefined) record[key] = looseBoolean(record[key])
  }
  // What is kept is JSON; whatever is not, `undefined` above all, must not be there one day and gone after a restart.
  const json = JSON.stringify(record)
  if (json.length > MAX_RECORD_CHARACTERS) {
    const message = `image manifest is too long: ${json.length} characters (max ${MAX_RECORD_CHARACTERS})`
    throw new MirrorError('MANIFEST_INVALID', message, { fields: [] })
  }
  return JSON.parse(json) as ImageRecord
}

/** What cannot be upgraded stays as it is: the validation that follows says why. */
function upgraded(given: JsonObject): JsonObject {
  const isVersion1 = given.v ? given.v === 1 || given.v === '1' : Boolean(given.creator_uuid)
  if (!isVersion1) return given
  try {
    return upgradeManifest(repairV1(given))
  } catch (error) {
    if (!isMirrorError(error, 'MANIFEST_INVALID')) throw error
    return given
  }
}

function extrasAllowed(of: {
  isImport: boolean
  isZvol: boolean
  takesPublishedAt: boolean
  hasUrn: boolean
}): string[] {
  return [
    ...['v', 'owner', 'name', 'version', 'type', 'os', 'public', 'disabled', 'icon'],
    ...IF_TRUTHY,
    ...IF_GIVEN,
    ...DROPPED,
    ...(of.isZvol ? [...OF_ZVOLS, 'image_size'] : []),
    ...(of.isImport ? ['uuid'] : []),
    ...(of.takesPublishedAt ? ['published_at'] : []),
    ...(of.isImport && of.hasUrn ? ['urn'] : []),
  ]
}

function refuseExtras(data: JsonObject, allowed: ReadonlySet<string>): void {
  // The upgrade leaves keys without a value.
  const extras = Object.keys(data)
    .filter((key) => !allowed.has(key) && data[key] !== undefined)
    .slice(0, MAX_EXTRAS)
    .map((key) => key.slice(0, MAX_EXTRA_LENGTH))
  if (extras.length === 0) return
  throw new MirrorError('QUERY_INVALID', `invalid extra parameters: "${extras.join('", "')}"`, {
    fields: extras.map((field) => ({ field, code: 'Invalid' })),
  })
}
