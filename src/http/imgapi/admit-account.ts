import { MirrorError } from '../../errors.js'
import type { Manifest } from '../../images/manifest.js'
import { parseUuid, type Uuid } from '../../images/uuid.js'
import { isSharedWith } from '../../images/viewer.js'

/**
 * `?account=UUID` asks on behalf of that user. It is no protection (whoever leaves it out sees everything), but it is
 * how cloudapi asks.
 *
 * @throws MirrorError QUERY_INVALID when it is no uuid.
 */
export function parseAccount(query: URLSearchParams): Uuid | undefined {
  const given = query.get('account')
  if (given === null || given === '') return undefined
  const account = parseUuid(given)
  if (account !== undefined) return account
  throw new MirrorError('QUERY_INVALID', `invalid "account": not a UUID: "${given}"`, {
    fields: [{ field: 'account', code: 'Invalid' }],
  })
}

/**
 * Refuses an image that the account may not see: it sees its own, and activated ones that are public or shared with it.
 *
 * @throws MirrorError IMAGE_UNKNOWN, in the words that do not say whether there is such an image (imgapi.md, 4.2).
 */
export function admitAccount(manifest: Manifest, account: Uuid | undefined): void {
  if (account === undefined || isSharedWith(manifest, account)) return
  throw new MirrorError('IMAGE_UNKNOWN', 'image not found')
}
