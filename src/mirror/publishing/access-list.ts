import type { ImageRecord } from '../../images/image-record.js'
import { parseUuid, type Uuid } from '../../images/uuid.js'
import { invalidParameter, told } from './refusals.js'

/**
 * The accounts that a request names.
 * @param body parsed JSON, not yet checked.
 * @throws MirrorError QUERY_INVALID
 */
export function parseAccounts(body: unknown): readonly Uuid[] {
  if (!Array.isArray(body)) throw invalidParameter('invalid image "acl" (not an array)', 'acl')
  return body.map((item: unknown, index) => {
    const uuid = parseUuid(item)
    if (uuid) return uuid
    throw invalidParameter(`invalid image "acl" (item ${index} is not a UUID): ${told(item)}`, 'acl')
  })
}

/** Whoever is in the list already stays where they are. */
export function withAccounts(record: ImageRecord, accounts: readonly Uuid[]): ImageRecord {
  return { ...record, acl: [...new Set([...accountsOf(record), ...accounts])] }
}

/** Whoever is not in the list is no mistake. */
export function withoutAccounts(record: ImageRecord, accounts: readonly Uuid[]): ImageRecord {
  if (record.acl === undefined) return record
  return { ...record, acl: accountsOf(record).filter((uuid) => !accounts.includes(uuid)) }
}

/** Those whom a private image names. */
export function accountsOf({ acl }: ImageRecord): readonly Uuid[] {
  return Array.isArray(acl) ? (acl as Uuid[]) : []
}
