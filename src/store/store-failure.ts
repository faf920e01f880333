import { hasCode, MirrorError } from '../errors.js'

/** The failure to tell of when the disk refused while we were at `doing`, such as `cannot keep blob 12ab`. */
export function storeFailure(doing: string, cause: unknown): MirrorError {
  if (cause instanceof MirrorError) return cause
  if (hasCode(cause, 'ENOSPC', 'EDQUOT')) return new MirrorError('STORE_FULL', `${doing}: no room left`, { cause })
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new MirrorError('STORE_BROKEN', `${doing}: ${reason}`, { cause })
}
