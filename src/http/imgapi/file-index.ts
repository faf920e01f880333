import { MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'

/**
 * `?index=`: which of an image's files, the first if it is absent or no number (parseInt, as the reference does).
 *
 * @throws MirrorError FILE_UNKNOWN for a number that no file can have.
 */
export function parseFileIndex(query: URLSearchParams, uuid: Uuid): number {
  const index = Number.parseInt(query.get('index') ?? '0', 10)
  if (Number.isNaN(index)) return 0
  if (index >= 0 && Number.isSafeInteger(index)) return index
  throw new MirrorError('FILE_UNKNOWN', `image "${uuid}" has no file at index ${index}`)
}
