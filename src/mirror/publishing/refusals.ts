import { type FieldFailure, MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'
import { brief } from '../../parts/json-object.js'

/** A parameter that means nothing, in the reference's words. */
export function invalidParameter(message: string, field: string, code: FieldFailure['code'] = 'Invalid'): MirrorError {
  return new MirrorError('QUERY_INVALID', message, { fields: [{ field, code }] })
}

/** A manifest that breaks the rules: `prefix`, and the fields it breaks them in. */
export function invalidData(prefix: string, fields: readonly FieldFailure[]): MirrorError {
  return new MirrorError('MANIFEST_INVALID', `${prefix}: ${fields.map(({ field }) => field).join(', ')}`, { fields })
}

export function noBody(): MirrorError {
  const fields: FieldFailure[] = [{ field: 'body', code: 'MissingParameter' }]
  return new MirrorError('MANIFEST_INVALID', 'missing request body', { fields })
}

export function unknownImage(uuid: Uuid): MirrorError {
  return new MirrorError('IMAGE_UNKNOWN', `image ${uuid} not found`)
}

export function filesImmutable(uuid: Uuid): MirrorError {
  return new MirrorError('FILES_IMMUTABLE', `cannot modify files on activated image ${uuid}`)
}

export function alreadyActivated(uuid: Uuid): MirrorError {
  return new MirrorError('ALREADY_ACTIVATED', `image "${uuid}" is already activated`)
}

export function imageExists(uuid: Uuid): MirrorError {
  return new MirrorError('IMAGE_EXISTS', `image uuid "${uuid}" already exists`)
}

export function originUnknown(origin: unknown): MirrorError {
  return new MirrorError('ORIGIN_UNKNOWN', `origin image "${told(origin)}" does not exist`)
}

/** What somebody sent, for a message: texts without quotes, as the reference has it, and never long. */
export function told(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 100) : brief(value)
}
