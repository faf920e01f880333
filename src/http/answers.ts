import type { FailureCode, FieldFailure } from '../errors.js'

/** What a client is told of a failure. */
export interface Answer {
  readonly status: number
  /** In IMGAPI's words: some end in `Error`, most do not (sdc-imgapi, lib/errors.js). */
  readonly code: string
  /** Said instead of the failure's own message, where that speaks of paths on our disk. */
  readonly message?: string
}

const REMOTE_SOURCE: Answer = { status: 503, code: 'RemoteSourceError' }
const INTERNAL: Answer = { status: 500, code: 'InternalError', message: 'internal error' }
const STORAGE_IS_DOWN: Answer = { status: 503, code: 'StorageIsDown', message: 'storage is down at the moment' }
/** The reference has no code for it. Its words say nothing of how much there is: that is the operator's to know. */
const STORAGE_IS_FULL: Answer = {
  ...STORAGE_IS_DOWN,
  message: 'there is no room for it: storage is full at the moment',
}

/**
 * What a client is told of each failure; it does not compile while a code lacks an answer. imgadm goes on to its next
 * source on a 404 and aborts on anything else, so 404 is only for what asking us again would not change.
 *
 * Source of the codes: sdc-imgapi, docs/index.md, "Errors", and lib/errors.js.
 */
export const ANSWERS: Record<FailureCode, Answer> = {
  IMAGE_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  IMAGE_WITHHELD: { status: 404, code: 'ResourceNotFound' },
  IMAGE_INCOMPLETE: { status: 404, code: 'ResourceNotFound' },
  IMAGE_NOT_READY: { status: 503, code: 'ServiceUnavailableError' },
  FILE_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  ICON_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  // The nearest IMGAPI has: a remote source is bad. Not a 404, which would send clients to look for the same ring elsewhere.
  ANCESTRY_BROKEN: REMOTE_SOURCE,
  QUERY_INVALID: { status: 422, code: 'InvalidParameter' },
  CHANNEL_UNKNOWN: { status: 422, code: 'ValidationFailed' },
  UNAUTHORIZED: { status: 401, code: 'UnauthorizedError' },
  MANIFEST_INVALID: { status: 422, code: 'ValidationFailed' },
  UPSTREAM_UNREACHABLE: REMOTE_SOURCE,
  LOOP_DETECTED: { status: 508, code: 'LoopDetected' },
  UPSTREAM_MISBEHAVED: REMOTE_SOURCE,
  STORE_FULL: STORAGE_IS_FULL,
  STORE_BROKEN: STORAGE_IS_DOWN,
  STORE_LOCKED: INTERNAL,
  STORE_UNUSABLE: INTERNAL,
  CONFIG_INVALID: INTERNAL,
  // Operators only are told, and it is their file.
  CONFIG_REFUSED: { status: 422, code: 'ConfigurationRefused' },
  REPOSITORY_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  MANIFEST_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  BLOB_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  IMAGE_EXISTS: { status: 409, code: 'ImageUuidAlreadyExists' },
  // The reference knows no images that it serves and did not make.
  NOT_OURS: { status: 409, code: 'ImageNotPublishedHere' },
  ORIGIN_UNKNOWN: { status: 422, code: 'OriginDoesNotExist' },
  ORIGIN_INACTIVE: { status: 422, code: 'OriginIsNotActive' },
  FILES_IMMUTABLE: { status: 422, code: 'ImageFilesImmutable' },
  ALREADY_ACTIVATED: { status: 422, code: 'ImageAlreadyActivated' },
  NO_FILE: { status: 422, code: 'NoActivationNoFile' },
  IMAGE_IN_USE: { status: 422, code: 'ImageHasDependentImages' },
  UPLOAD_REFUSED: { status: 400, code: 'Upload' },
  DOWNLOAD_REFUSED: { status: 400, code: 'Download' },
  NOT_OWNER: { status: 422, code: 'NotImageOwner' },
  OPERATOR_ONLY: { status: 403, code: 'OperatorOnly' },
  FORBIDDEN: { status: 403, code: 'ForbiddenError' },
  IMAGE_NOT_HELD: { status: 404, code: 'ImageNotHeld' },
  IMAGE_PINNED: { status: 409, code: 'ImageIsPinned' },
  IMAGE_BUSY: { status: 409, code: 'ImageIsBusy' },
  NOT_REMOVABLE: { status: 409, code: 'ImagePublishedHere' },
  UPSTREAM_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  JOB_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  JOB_OVER: { status: 409, code: 'JobIsOver' },
  BUNDLE_INVALID: { status: 422, code: 'BundleInvalid' },
  BUNDLE_UNTRUSTED: { status: 403, code: 'BundleUntrusted' },
  BUNDLE_UNKNOWN: { status: 404, code: 'ResourceNotFound' },
  MEDIUM_UNREADABLE: { status: 500, code: 'MediumUnreadable' },
  MEDIUM_FULL: { status: 507, code: 'MediumFull' },
  JOBS_FULL: { status: 503, code: 'ServiceUnavailableError' },
  CLOSING: { status: 503, code: 'ServiceUnavailableError' },
}

/** For whatever is not a failure we expect, which is a bug. */
export const BUG: Answer = INTERNAL

/** The JSON of every answer that is not a success. */
export interface FailureBody {
  readonly code: string
  readonly message: string
  /** Per offending field; present for `ValidationFailed` and `InvalidParameter`, perhaps empty. */
  readonly errors?: readonly FieldFailure[]
}

/** How a protocol other than IMGAPI tells its clients of failures. */
export interface Dialect {
  /** Of every answer, a failure or not. */
  readonly headers: Readonly<Record<string, string>>
  /** @param error a MirrorError or a Refusal; anything else is a bug. */
  answerTo(error: unknown): { readonly status: number; readonly body: object }
}

/**
 * A request that HTTP itself refuses, before or besides any question of images: a path, a method, a version, a
 * condition, a range. Thrown by endpoints and answered in `every-request.ts`; it never leaves this room.
 */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly headers: Readonly<Record<string, string>>
  readonly fields: readonly FieldFailure[] | undefined

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    options: { headers?: Record<string, string>; fields?: readonly FieldFailure[] } = {},
  ) {
    super(message)
    this.headers = options.headers ?? {}
    this.fields = options.fields
  }
}

/** `/x does not exist`: what a path is told that leads nowhere, with its query, as the reference does. */
export function pathUnknown(target: string): Refusal {
  return new Refusal(404, 'ResourceNotFound', `${target} does not exist`)
}
