import { type FieldFailure, MirrorError } from '../../errors.js'
import type { Compression } from '../../images/manifest.js'
import { COMPRESSIONS } from '../../images/validate-manifest.js'
import type { ChangeOptions } from '../../mirror/publishing.js'

/** Where the reference can keep files. Ours are kept where they are kept; both words are understood, and mean nothing. */
const STORAGES = ['local', 'manta']

/**
 * What a file is compressed with. Nothing checks that it is.
 *
 * @throws MirrorError QUERY_INVALID.
 */
export function parseCompression(query: URLSearchParams): Compression {
  const given = query.get('compression')
  if (!given) throw invalid('missing "compression"', { field: 'compression', code: 'Missing' })
  const compression = COMPRESSIONS.find((known) => known === given)
  if (compression !== undefined) return compression
  const choice = COMPRESSIONS.join(', ')
  throw invalid(`invalid compression "${given}" (must be one of ${choice})`, { field: 'compression', code: 'Invalid' })
}

/**
 * `?storage=` is for operators, and has to be one that the reference knows.
 *
 * @throws MirrorError QUERY_INVALID.
 */
export function checkStorage(query: URLSearchParams, { account }: ChangeOptions): void {
  const given = query.get('storage')
  if (!given) return
  if (account !== undefined) {
    throw invalid(`invalid storage "${given}"`, {
      field: 'storage',
      code: 'NotAllowed',
      message: 'Parameter cannot be specified by non-operators',
    })
  }
  if (STORAGES.includes(given)) return
  const choice = STORAGES.join(', ')
  throw invalid(`invalid storage "${given}" (must be one of ${choice})`, { field: 'storage', code: 'Invalid' })
}

function invalid(message: string, field: FieldFailure): MirrorError {
  return new MirrorError('QUERY_INVALID', message, { fields: [field] })
}
