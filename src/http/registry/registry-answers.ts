import { type FailureCode, isMirrorError } from '../../errors.js'
import { type Dialect, Refusal } from '../answers.js'

interface RegistryAnswer {
  readonly status: number
  /** In the words of the OCI distribution spec, or distribution's own (docs/content/spec/api.md, "Errors"). */
  readonly code: string
  /** Said instead of the failure's own message. */
  readonly message?: string
}

const UNKNOWN_MANIFEST: RegistryAnswer = { status: 404, code: 'MANIFEST_UNKNOWN' }
const UNAVAILABLE: RegistryAnswer = { status: 503, code: 'UNAVAILABLE' }
const NO_STORAGE: RegistryAnswer = { ...UNAVAILABLE, message: 'storage is down at the moment' }
const DENIED: RegistryAnswer = { status: 403, code: 'DENIED' }
const INTERNAL: RegistryAnswer = { status: 500, code: 'UNKNOWN', message: 'internal error' }

/** What a client of a registry is told of each failure. Those about publishing, and those of operators, cannot happen here. */
const ANSWERS: Record<FailureCode, RegistryAnswer> = {
  REPOSITORY_UNKNOWN: { status: 404, code: 'NAME_UNKNOWN' },
  MANIFEST_UNKNOWN: UNKNOWN_MANIFEST,
  BLOB_UNKNOWN: { status: 404, code: 'BLOB_UNKNOWN' },
  IMAGE_WITHHELD: UNKNOWN_MANIFEST,
  IMAGE_INCOMPLETE: UNKNOWN_MANIFEST,
  IMAGE_UNKNOWN: UNKNOWN_MANIFEST,
  // Of what clients of IMGAPI get; the originals are never waited for.
  IMAGE_NOT_READY: UNAVAILABLE,
  FILE_UNKNOWN: { status: 404, code: 'BLOB_UNKNOWN' },
  ICON_UNKNOWN: UNKNOWN_MANIFEST,
  ANCESTRY_BROKEN: UNAVAILABLE,
  QUERY_INVALID: { status: 400, code: 'NAME_INVALID' },
  // Of what a registry has: no fault of the client's.
  MANIFEST_INVALID: UNAVAILABLE,
  UPSTREAM_UNREACHABLE: UNAVAILABLE,
  LOOP_DETECTED: { status: 508, code: 'UNAVAILABLE' },
  UPSTREAM_MISBEHAVED: UNAVAILABLE,
  STORE_FULL: NO_STORAGE,
  STORE_BROKEN: NO_STORAGE,
  STORE_LOCKED: INTERNAL,
  STORE_UNUSABLE: INTERNAL,
  CONFIG_INVALID: INTERNAL,
  CONFIG_REFUSED: INTERNAL,
  UNAUTHORIZED: { status: 401, code: 'UNAUTHORIZED' },
  FORBIDDEN: DENIED,
  NOT_OWNER: DENIED,
  OPERATOR_ONLY: DENIED,
  CHANNEL_UNKNOWN: INTERNAL,
  IMAGE_EXISTS: INTERNAL,
  NOT_OURS: INTERNAL,
  ORIGIN_UNKNOWN: INTERNAL,
  ORIGIN_INACTIVE: INTERNAL,
  FILES_IMMUTABLE: INTERNAL,
  ALREADY_ACTIVATED: INTERNAL,
  NO_FILE: INTERNAL,
  IMAGE_IN_USE: INTERNAL,
  UPLOAD_REFUSED: INTERNAL,
  DOWNLOAD_REFUSED: INTERNAL,
  IMAGE_NOT_HELD: INTERNAL,
  IMAGE_PINNED: INTERNAL,
  IMAGE_BUSY: INTERNAL,
  NOT_REMOVABLE: INTERNAL,
  UPSTREAM_UNKNOWN: INTERNAL,
  JOB_UNKNOWN: INTERNAL,
  JOB_OVER: INTERNAL,
  BUNDLE_INVALID: INTERNAL,
  BUNDLE_UNTRUSTED: INTERNAL,
  BUNDLE_UNKNOWN: INTERNAL,
  MEDIUM_UNREADABLE: INTERNAL,
  MEDIUM_FULL: INTERNAL,
  JOBS_FULL: INTERNAL,
  CLOSING: UNAVAILABLE,
}

/**
 * The registry's limit is used up: clients know this one, and come again when they are told to. Of a registry that is away
 * it would be wrong: dockerd takes it for fatal, and passes us by (goharbor/harbor#23910).
 */
const TOO_MANY: RegistryAnswer = { status: 429, code: 'TOOMANYREQUESTS' }

/** Refusals that HTTP itself has no better word for, as registries put them. */
const CODES_BY_STATUS = new Map([
  [401, 'UNAUTHORIZED'],
  [403, 'DENIED'],
  [404, 'NAME_UNKNOWN'],
  [405, 'UNSUPPORTED'],
  [416, 'RANGE_INVALID'],
  [429, 'TOOMANYREQUESTS'],
  [503, 'UNAVAILABLE'],
])

/** A request that is refused in a registry's own words. */
export class RegistryRefusal extends Refusal {}

/** What a path is told whose name, digest, tag or page is not one. */
export function invalid(
  code: 'NAME_INVALID' | 'DIGEST_INVALID' | 'TAG_INVALID' | 'PAGINATION_NUMBER_INVALID',
  message: string,
): RegistryRefusal {
  return new RegistryRefusal(400, code, message)
}

/** Clients recognise a registry by the header, and read no error but from this JSON. */
export const registryDialect: Dialect = {
  headers: { 'Docker-Distribution-API-Version': 'registry/2.0' },
  answerTo(error) {
    const { status, code, message } = answerOf(error)
    return { status, body: { errors: [{ code, message, detail: null }] } }
  },
}

function answerOf(error: unknown): Required<RegistryAnswer> {
  if (error instanceof Refusal) {
    const { message, status } = error
    const code = error instanceof RegistryRefusal ? error.code : (CODES_BY_STATUS.get(status) ?? 'UNKNOWN')
    return { status, code, message }
  }
  if (!isMirrorError(error)) return { ...INTERNAL, message: INTERNAL.message! }
  const answer = error.isOverLimit ? TOO_MANY : ANSWERS[error.code]
  return { ...answer, message: answer.message ?? error.message }
}
