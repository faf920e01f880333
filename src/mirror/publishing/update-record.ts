import { type FieldFailure, MirrorError } from '../../errors.js'
import { type ImageRecord, isActivated } from '../../images/image-record.js'
import type { ValidationRules } from '../../images/validate-manifest.js'
import { isDeeperThan, isJsonObject, type JsonObject } from '../../parts/json-object.js'
import { checkRecord } from './make-record.js'
import { invalidData, noBody } from './refusals.js'

/** What anybody who may change an image may change of it (node-imgmanifest 3.2.0, `fields`, those that are `mutable`). */
const MUTABLE = [
  'owner',
  'name',
  'version',
  'description',
  'homepage',
  'eula',
  'public',
  'os',
  'acl',
  'requirements',
  'users',
  'billing_tags',
  'traits',
  'tags',
  'generate_passwords',
  'inherited_directories',
  'nic_driver',
  'disk_driver',
  'cpu_type',
  'image_size',
  'channels',
]
const FOR_OPERATORS = ['state', 'error', 'billing_tags', 'traits', 'files', 'origin', 'uuid']
const UNTIL_ACTIVATED = ['uuid', 'origin', 'files']
/** Of the one file: what docker build learns later. No client is ever told. */
const OF_FILES = ['digest', 'uncompressedDigest']
const MAX_FAILURES = 100

/**
 * The record with what was asked for changed; `null` removes. As the reference does it (sdc-imgapi, lib/images.js, `apiUpdateImage`),
 * without its crashes: an update of `files` that are none is not allowed.
 *
 * @param body parsed JSON, not yet checked.
 * @param isOperator nobody's account was given.
 * @throws MirrorError MANIFEST_INVALID
 */
export function updateRecord(
  record: ImageRecord,
  body: unknown,
  { isOperator, rules }: { readonly isOperator: boolean; readonly rules: ValidationRules },
): ImageRecord {
  if (typeof body !== 'object' || body === null) throw noBody()
  const changes = body as JsonObject
  if (Object.keys(changes).length === 0) {
    throw new MirrorError('MANIFEST_INVALID', 'invalid image update data: no parameters provided', { fields: [] })
  }
  const failures = whatIsNotAllowed(record, changes, isOperator)
  if (failures.length > 0) throw invalidData('invalid image update data', failures.slice(0, MAX_FAILURES))
  const changed: Record<string, unknown> = { ...record }
  for (const [key, value] of Object.entries(changes)) {
    if (key === 'files') changed.files = withDigests(record, value)
    else if (value === null) delete changed[key]
    else changed[key] = value
  }
  return checkRecord(changed, rules)
}

function whatIsNotAllowed(record: ImageRecord, changes: JsonObject, isOperator: boolean): FieldFailure[] {
  const failures = Object.keys(changes)
    .filter((key) => !MUTABLE.includes(key) && !FOR_OPERATORS.includes(key))
    .map((key) => notAllowed(key.slice(0, 100), 'Parameter cannot be updated'))
  for (const key of FOR_OPERATORS) {
    if (changes[key] === undefined) continue
    if (!isOperator) failures.push(notAllowed(key, 'Can only be updated by operators'))
    else if (!UNTIL_ACTIVATED.includes(key)) continue
    else if (isActivated(record)) failures.push(notAllowed(key, 'Can only be updated on unactivated images'))
    else if (key === 'files') failures.push(...whatIsNotAllowedOfFiles(record, changes.files))
  }
  return failures
}

function whatIsNotAllowedOfFiles(record: ImageRecord, files: unknown): FieldFailure[] {
  const failure = notAllowed('files', 'Can only update "digest" or "uncompressedDigest" fields on files')
  const given: unknown = Array.isArray(files) ? files[0] : undefined
  const file = record.files?.[0] as JsonObject | undefined
  if (!isJsonObject(given) || !file || isDeeperThan(given, 1)) return [failure]
  return Object.keys(given)
    .filter((key) => !OF_FILES.includes(key) && given[key] !== file[key])
    .map(() => failure)
}

function withDigests({ files = [] }: ImageRecord, given: unknown): ImageRecord['files'] {
  const [first] = given as JsonObject[]
  const changes = OF_FILES.flatMap((key) => (first?.[key] ? [[key, first[key]]] : []))
  return files.map((file, index) => (index === 0 ? { ...file, ...Object.fromEntries(changes) } : file))
}

function notAllowed(field: string, message: string): FieldFailure {
  return { field, code: 'NotAllowed', message }
}
