/**
 * The failures we expect. Every room throws these and nothing else on purpose; whatever arrives with another type is a
 * bug, reaches the log whole, and is answered as a 500.
 */
export type FailureCode =
  /** No upstream has the image, and neither have we. */
  | 'IMAGE_UNKNOWN'
  /** Upstreams disagree about the image, and the policy for it lets nobody have it, nor what builds on it. */
  | 'IMAGE_WITHHELD'
  /** The image is known, but something its clients need is not held and cannot be fetched (offline). */
  | 'IMAGE_INCOMPLETE'
  /** The image has a layer that is being packed anew, which takes longer than who asks would wait. */
  | 'IMAGE_NOT_READY'
  /** The image has no file, or none at that index. */
  | 'FILE_UNKNOWN'
  | 'ICON_UNKNOWN'
  /** The origins of an image form a ring, or a chain longer than we follow. */
  | 'ANCESTRY_BROKEN'
  /** A client's request has a parameter that means nothing; `fields` says which. */
  | 'QUERY_INVALID'
  /** A request names a channel that this mirror does not have, or none where none is the default. */
  | 'CHANNEL_UNKNOWN'
  /** What was asked for is not for anonymous clients. */
  | 'UNAUTHORIZED'
  /** Somebody's manifest breaks the rules of IMGAPI in a way that cannot be repaired. */
  | 'MANIFEST_INVALID'
  /** An upstream could not be reached, or fell silent. Trying again later may help. */
  | 'UPSTREAM_UNREACHABLE'
  /** Whoever asks is whom we are asking for it ourselves: each would wait for the other. */
  | 'LOOP_DETECTED'
  /** An upstream answered, but not with what it promised or what its protocol demands. */
  | 'UPSTREAM_MISBEHAVED'
  /** The data directory has no room left for what was to be kept. */
  | 'STORE_FULL'
  /** The disk refused, or what is on it is not what we wrote. */
  | 'STORE_BROKEN'
  /** Another process owns the data directory. */
  | 'STORE_LOCKED'
  /** The data directory was written by a newer release, or is not one of ours. */
  | 'STORE_UNUSABLE'
  | 'CONFIG_INVALID'
  /** Of a configuration that was to take the place of the one in effect: that one stays. */
  | 'CONFIG_REFUSED'
  /** Of a Docker registry: no such repository (or none that may be pulled through us), manifest, or blob. */
  | 'REPOSITORY_UNKNOWN'
  | 'MANIFEST_UNKNOWN'
  | 'BLOB_UNKNOWN'
  /** An image of that uuid exists already. */
  | 'IMAGE_EXISTS'
  /** The image is not of our own making, but an upstream's: it cannot be changed here. */
  | 'NOT_OURS'
  | 'ORIGIN_UNKNOWN'
  | 'ORIGIN_INACTIVE'
  /** The files of an active image never change. */
  | 'FILES_IMMUTABLE'
  | 'ALREADY_ACTIVATED'
  /** An image without a file cannot be activated. */
  | 'NO_FILE'
  /** Other images build on it. */
  | 'IMAGE_IN_USE'
  /** A body that was sent to us is too large, or not of the promised kind. */
  | 'UPLOAD_REFUSED'
  /** Bytes that came are not the promised ones, or could not be fetched. */
  | 'DOWNLOAD_REFUSED'
  | 'NOT_OWNER'
  /** Asked on somebody's behalf for what only operators may do. */
  | 'OPERATOR_ONLY'
  /** Who asks is known, and may not. */
  | 'FORBIDDEN'
  /** Of an image that was to be let go of: it is not here, pinned, being read, or was published here. */
  | 'IMAGE_NOT_HELD'
  | 'IMAGE_PINNED'
  | 'IMAGE_BUSY'
  | 'NOT_REMOVABLE'
  | 'UPSTREAM_UNKNOWN'
  /** No such piece of long work, or it is forgotten; it has ended, or cannot be ended; too many are running. */
  | 'JOB_UNKNOWN'
  | 'JOB_OVER'
  | 'JOBS_FULL'
  /** No bundle of that id is awaited, nor is there such a series. */
  | 'BUNDLE_UNKNOWN'
  /** A bundle, its volume or an inventory is not what its form demands, or not what its index says. */
  | 'BUNDLE_INVALID'
  /** Nobody we trust has signed it. */
  | 'BUNDLE_UNTRUSTED'
  /** What bundles are carried on refuses to be read or written, or has no room left. */
  | 'MEDIUM_UNREADABLE'
  | 'MEDIUM_FULL'
  /** The mirror is closing and takes nothing new. */
  | 'CLOSING'

/** One offending field of a request, in IMGAPI's words (sdc-imgapi docs/index.md, "Errors"). */
export interface FieldFailure {
  readonly field: string
  readonly code: 'MissingParameter' | 'Missing' | 'Invalid' | 'NotAllowed'
  readonly message?: string
}

/** A failure we expect. The message names the thing it was about, so that one log line is enough. */
export class MirrorError extends Error {
  override readonly name = 'MirrorError'
  readonly fields: readonly FieldFailure[] | undefined
  /** When to try again, as an upstream asked us to (Retry-After); milliseconds from when the failure was made. */
  readonly retryAfterMs: number | undefined
  /** An upstream could not be had because we have asked for all that it lets us have: it is well, and not away. */
  readonly isOverLimit: boolean

  constructor(
    readonly code: FailureCode,
    message: string,
    options: {
      cause?: unknown
      fields?: readonly FieldFailure[]
      retryAfterMs?: number | undefined
      isOverLimit?: boolean | undefined
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.fields = options.fields
    this.retryAfterMs = options.retryAfterMs
    this.isOverLimit = options.isOverLimit ?? false
  }
}

/** Whether `error` is a failure we expect, of one of `codes` if any are given. */
export function isMirrorError(error: unknown, ...codes: FailureCode[]): error is MirrorError {
  return error instanceof MirrorError && (codes.length === 0 || codes.includes(error.code))
}

/** Whether `error` carries this `code`, as Node's system errors do (`ENOENT`, `ENOSPC`...). */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
