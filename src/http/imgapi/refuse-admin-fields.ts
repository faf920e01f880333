import { MirrorError } from '../../errors.js'

/**
 * `inclAdminFields` is for those who prove who they are, which nobody can here yet.
 *
 * @throws MirrorError UNAUTHORIZED when it is true, QUERY_INVALID when it is no boolean.
 */
export function refuseAdminFields(query: URLSearchParams): void {
  const given = query.get('inclAdminFields')
  if (given === null || given === 'false') return
  if (given === 'true') {
    throw new MirrorError('UNAUTHORIZED', 'Unauthorized (auth required to use "inclAdminFields" parameter)')
  }
  throw new MirrorError('QUERY_INVALID', `invalid value for "inclAdminFields" param: "${given}" is not a boolean`, {
    fields: [{ field: 'inclAdminFields', code: 'Invalid' }],
  })
}
