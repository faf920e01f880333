import type { FieldFailure } from '../errors.js'
import { brief, isDeeperThan, isJsonObject, type JsonObject } from '../parts/json-object.js'
import type { Compression, ImageState } from './manifest.js'
import { PUBLISHED_AT } from './published-at.js'
import { parseUuid } from './uuid.js'
import { checkRequirements } from './validate-requirements.js'

/** Every top-level key a manifest may have, in the order in which the reference complains about them. */
// biome-ignore format: one line for each would push the rules out of sight
export const MANIFEST_FIELDS = [
  'v', 'uuid', 'urn', 'owner', 'name', 'version', 'description', 'homepage', 'eula', 'disabled', 'activated',
  'published_at', 'state', 'public', 'type', 'os', 'origin', 'error', 'files', 'icon', 'acl', 'requirements', 'users',
  'billing_tags', 'traits', 'tags', 'generate_passwords', 'inherited_directories', 'nic_driver', 'disk_driver',
  'cpu_type', 'image_size', 'channels',
] as const
export type ManifestField = (typeof MANIFEST_FIELDS)[number]

export const IMAGE_STATES = ['active', 'unactivated', 'disabled', 'creating', 'failed'] satisfies ImageState[]
export const IMAGE_TYPES = ['zone-dataset', 'zvol', 'lx-dataset', 'lxd', 'docker', 'other']
export const OPERATING_SYSTEMS = ['smartos', 'linux', 'windows', 'bsd', 'illumos', 'other']
export const COMPRESSIONS = ['gzip', 'bzip2', 'xz', 'none'] satisfies Compression[]

/** `minimal` is what imgadm asks of a manifest it installs; the others are the modes of an IMGAPI server. */
export type ValidationMode = 'minimal' | 'dc' | 'public' | 'private'

export interface ValidationRules {
  readonly mode: ValidationMode
  /** Whether the server has channels: then an image must be in one, else it must not. */
  readonly hasChannels?: boolean
}

/** No more failures of one manifest are told than this. */
const MAX_FAILURES = 100
/** Levels of nesting in one field; a requirement needs three, tags may have any JSON values. */
const MAX_DEPTH = 32

/**
 * What is wrong with a v2 manifest; empty when nothing is. Fields, codes, messages and order are the reference's
 * (node-imgmanifest 3.2.0, lib/imgmanifest.js, `validateMinimalManifest`, `validateDcManifest`...), except for inputs
 * on which it dies: those are Invalid.
 */
export function validateManifest(manifest: JsonObject, rules: ValidationRules): FieldFailure[] {
  const required = requiredFields(manifest, rules)
  const optional = MANIFEST_FIELDS.filter((field) => !required.includes(field) && Object.hasOwn(manifest, field))
  const unknown = Object.keys(manifest).filter((key) => !MANIFEST_FIELDS.includes(key as ManifestField))
  return [
    ...required.flatMap((field) => checkRequired(field, manifest, rules)),
    ...optional.flatMap((field) => checkField(field, manifest, rules)),
    ...unknown.map((key) => invalid(key)),
  ].slice(0, MAX_FAILURES)
}

/** What is wrong with one field that is present; some are judged by others, such as `nic_driver` by `type`. */
export function checkField(field: ManifestField, manifest: JsonObject, rules: ValidationRules): FieldFailure[] {
  const value = manifest[field]
  if (isDeeperThan(value, MAX_DEPTH)) return [invalid(field, `image ${field} is nested too deeply, max ${MAX_DEPTH}`)]
  return CHECKS[field](value, field, manifest, rules)
}

/** `true` and `false` also as text, as IMGAPI takes them; `undefined` for anything else. */
export function looseBoolean(value: unknown): boolean | undefined {
  if (value === true || value === 'true') return true
  return value === false || value === 'false' ? false : undefined
}

function requiredFields(manifest: JsonObject, { mode, hasChannels }: ValidationRules): ManifestField[] {
  if (mode === 'minimal') return ['v', 'uuid', 'name', 'version', 'type', 'os']
  const onceActivated = <Field extends ManifestField>(field: Field) => (looseBoolean(manifest.activated) ? [field] : [])
  return [
    ...(['v', 'uuid', 'owner', 'name', 'version', 'disabled', 'activated'] as const),
    ...onceActivated('published_at'),
    ...(['public', 'state', 'type', 'os'] as const),
    ...onceActivated('files'),
    ...(manifest.type === 'zvol' ? (['nic_driver', 'disk_driver', 'cpu_type', 'image_size'] as const) : []),
    ...(hasChannels ? (['channels'] as const) : []),
  ]
}

function checkRequired(field: ManifestField, manifest: JsonObject, rules: ValidationRules): FieldFailure[] {
  if (manifest[field] !== undefined) return checkField(field, manifest, rules)
  if (field !== 'published_at' && field !== 'files') return [{ field, code: 'MissingParameter' }]
  return [{ field, code: 'MissingParameter', message: `if activated is "true" ${field} must be present` }]
}

type Check = (value: unknown, field: ManifestField, manifest: JsonObject, rules: ValidationRules) => FieldFailure[]

const CHECKS: Record<ManifestField, Check> = {
  v: checkVersion,
  uuid: checkUuid,
  urn: (value, field) => unless(typeof value === 'string', field),
  owner: checkUuid,
  name: checkWord(/^[A-Za-z0-9._/ -]+$/, 1024, '" ", ".", "-", "_" and "/"'),
  version: checkWord(/^[A-Za-z0-9._/+-]+$/, 512, '".", "-", "_" and "/"'),
  description: checkDescription,
  homepage: checkUrl('homepage'),
  eula: checkUrl('EULA'),
  disabled: checkBoolean,
  activated: checkBoolean,
  published_at: (value, field) =>
    unless(
      typeof value === 'string' && PUBLISHED_AT.test(value),
      field,
      'published_at date not in "YYYY-MM-DDTHH:MM:SS(.SSS)Z" format',
    ),
  state: (value, field) => unless(IMAGE_STATES.includes(value as ImageState), field),
  public: checkPublic,
  type: checkWordOf(IMAGE_TYPES),
  os: checkWordOf(OPERATING_SYSTEMS),
  origin: checkUuid,
  error: checkObject,
  files: checkFiles,
  icon: checkBoolean,
  acl: checkAcl,
  requirements: checkRequirements,
  users: (value, field) => checkEntries(value, field, isUser),
  billing_tags: checkBillingTags,
  traits: checkTraits,
  tags: checkTags,
  generate_passwords: checkBoolean,
  inherited_directories: checkInheritedDirectories,
  nic_driver: checkZvolText,
  disk_driver: checkZvolText,
  cpu_type: checkZvolText,
  image_size: checkImageSize,
  channels: checkChannels,
}

function checkVersion(value: unknown, field: string): FieldFailure[] {
  const isNumeric = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '')
  return unless(isNumeric && Number(value) >= 0, field, '"v" must be a positive integer')
}

function checkUuid(value: unknown, field: string): FieldFailure[] {
  return unless(parseUuid(value) !== undefined, field)
}

function checkWord(pattern: RegExp, maxLength: number, allowed: string): Check {
  return (value, field) => {
    // The reference takes a number for its digits.
    const word = typeof value === 'number' ? String(value) : value
    if (typeof word === 'string' && word.length > maxLength) {
      return [invalid(field, `image ${field} is too long, max ${maxLength} characters`)]
    }
    const complaint = `image ${field} has invalid characters (only alpha-numeric characters and ${allowed} are allowed)`
    return unless(typeof word === 'string' && pattern.test(word), field, complaint)
  }
}

function checkDescription(value: unknown, field: string): FieldFailure[] {
  if (typeof value !== 'string') return [invalid(field)]
  return unless(value.length <= 10240, field, 'image description is too long, max 10240 characters')
}

function checkUrl(name: string): Check {
  return (value, field) => {
    if (typeof value === 'string' && value.length > 1024) {
      return [invalid(field, `image ${name} URL is too long (max 1024 characters)`)]
    }
    const isWebUrl = typeof value === 'string' && /^https?:/i.test(value) && URL.canParse(value)
    return unless(isWebUrl, field, `invalid image ${name} URL protocol`)
  }
}

function checkBoolean(value: unknown, field: string): FieldFailure[] {
  return unless(looseBoolean(value) !== undefined, field, `invalid value for "${field}": ${brief(value)}`)
}

function checkPublic(value: unknown, field: string, _manifest: JsonObject, { mode }: ValidationRules): FieldFailure[] {
  const isPublic = looseBoolean(value)
  if (mode === 'public' && isPublic === false) {
    return [invalid(field, 'private images are not allowed on a public Images API')]
  }
  if (mode === 'private' && isPublic === true) {
    return [invalid(field, 'public images are not allowed on a private Images API')]
  }
  return checkBoolean(value, field)
}

function checkWordOf(words: readonly string[]): Check {
  return (value, field, { state }) => {
    if (words.includes(value as string)) return []
    if (value !== 'null') {
      return [invalid(field, `invalid image ${field}, ${brief(value)}, must be one of: ${words.join(', ')}`)]
    }
    return unless(state === 'creating' || state === 'failed', field, `invalid image ${field}, "null"`)
  }
}

function checkObject(value: unknown, field: string): FieldFailure[] {
  return unless(isJsonObject(value), field, `invalid image "${field}" (not an object): ${brief(value)}`)
}

function checkFiles(files: unknown, field: string, { type }: JsonObject): FieldFailure[] {
  if (!Array.isArray(files)) return [notAnArray(field, files)]
  if (files.length > (type === 'lxd' ? 2 : 1)) return [invalid(field, 'invalid image "files": too many files')]
  return files.flatMap((file) =>
    checkFile(file).map((complaint) => invalid(field, `invalid image "files": ${complaint}`)),
  )
}

function checkFile(file: unknown): string[] {
  if (!isJsonObject(file)) return ['file is not an object']
  const complaints = ['sha1', 'size', 'compression']
    .filter((key) => !file[key])
    .map((key) => `file missing "${key}" field`)
  if (file.compression && !COMPRESSIONS.includes(file.compression as Compression)) {
    complaints.push(`invalid compression ${brief(file.compression)} (must be one of ${COMPRESSIONS.join(', ')})`)
  }
  if (file.dataset_guid !== undefined && typeof file.dataset_guid !== 'string') {
    complaints.push(`invalid dataset_guid ${brief(file.dataset_guid)} (must be a string)`)
  }
  return complaints
}

function checkAcl(acl: unknown, field: string): FieldFailure[] {
  if (!Array.isArray(acl)) return [invalid(field, 'invalid image "acl" (not an array)')]
  const index = acl.findIndex((item) => !parseUuid(item))
  return unless(index === -1, field, `invalid image "acl" (item ${index} is not a UUID): ${plain(acl[index])}`)
}

function isUser(entry: unknown): boolean {
  return isJsonObject(entry) && 'name' in entry && Object.keys(entry).length === 1
}

function checkBillingTags(tags: unknown, field: string): FieldFailure[] {
  if (!Array.isArray(tags)) return [notAnArray(field, tags)]
  return tags
    .filter((tag) => typeof tag !== 'string' || tag.length > 128)
    .map((tag) => invalid(field, `invalid image "billing_tags" entry : ${plain(tag)}`))
}

function checkTraits(traits: unknown, field: string): FieldFailure[] {
  if (!isJsonObject(traits)) return checkObject(traits, field)
  return Object.entries(traits)
    .filter(([, value]) => typeof value !== 'string' && typeof value !== 'boolean' && !Array.isArray(value))
    .map(([key, value]) => invalid(field, `invalid image "traits" entry: (${key}, ${plain(value)})`))
}

function checkTags(tags: unknown, field: string): FieldFailure[] {
  if (!isJsonObject(tags)) return checkObject(tags, field)
  const { length } = JSON.stringify(tags)
  return unless(length <= 102400, field, `image "tags" object is too big: ${length} characters (max 102400)`)
}

function checkInheritedDirectories(directories: unknown, field: ManifestField, { type }: JsonObject): FieldFailure[] {
  if (type !== 'zone-dataset') {
    const complaint = `(only valid for a type:zone-dataset image): ${brief(directories)}`
    return [invalid(field, `invalid image "${field}" ${complaint}`)]
  }
  return checkEntries(directories, field, (entry) => typeof entry === 'string')
}

/** The message says the contrary of what it means; so does the reference's. */
function checkOnlyOnZvol(value: unknown, field: string): FieldFailure[] {
  const complaint = '(cannot have a value when image type is zvol)'
  return unless(!value, field, `invalid image ${field}: "${plain(value)}" ${complaint}`)
}

function checkZvolText(value: unknown, field: string, { type }: JsonObject): FieldFailure[] {
  if (type !== 'zvol') return checkOnlyOnZvol(value, field)
  return unless(typeof value === 'string', field, `invalid image ${field}: "${plain(value)}" (must be a string)`)
}

function checkImageSize(value: unknown, field: string, { type }: JsonObject): FieldFailure[] {
  if (type !== 'zvol') return checkOnlyOnZvol(value, field)
  const isNumeric = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '')
  const isInteger = isNumeric && Number.isInteger(Number(value))
  return unless(isInteger, field, `invalid image image_size: "${plain(value)}" (must be a positive integer)`)
}

function checkChannels(
  channels: unknown,
  field: string,
  _: JsonObject,
  { hasChannels }: ValidationRules,
): FieldFailure[] {
  if (!hasChannels) return [invalid(field, 'channels is invalid with an IMGAPI not configured for channels')]
  return checkEntries(channels, field, (entry) => typeof entry === 'string')
}

function checkEntries(entries: unknown, field: string, isGood: (entry: unknown) => boolean): FieldFailure[] {
  if (!Array.isArray(entries)) return [notAnArray(field, entries)]
  return entries
    .filter((entry) => !isGood(entry))
    .map((entry) => invalid(field, `invalid image "${field}" entry: ${brief(entry, 1000)}`))
}

function notAnArray(field: string, value: unknown): FieldFailure {
  return invalid(field, `invalid image "${field}" (not an array): ${brief(value)}`)
}

function unless(isGood: boolean, field: string, message?: string): FieldFailure[] {
  return isGood ? [] : [invalid(field, message)]
}

function invalid(field: string, message?: string): FieldFailure {
  return { field, code: 'Invalid', ...(message !== undefined && { message }) }
}

/** Texts without quotes, anything else as JSON; cut where a log line would suffer. JSON has no NaN. */
function plain(value: unknown): string {
  if (typeof value === 'number') return String(value)
  return typeof value === 'string' ? value.slice(0, 1000) : brief(value, 1000)
}
