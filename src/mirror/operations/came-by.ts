import type { LedgerEntry } from '../../store/ledger-store.js'
import type { Happenings } from '../ledger.js'
import type { CameByView } from './explanation.js'

/** Among how many of the newest entries about an image it is looked for by which bundle it came. */
export const ENTRIES_LOOKED_AT = 100

/** By which bundle an image came here last, as the ledger's kind `imported` has it. */
export function cameBy(entries: readonly LedgerEntry[]): CameByView | null {
  const entry = entries.findLast(({ kind }) => kind === 'imported')
  if (!entry) return null
  const { bundle, from, signedBy } = entry.facts as unknown as Happenings['imported']
  return { bundle, site: from.site, signedBy, atMs: entry.atMs }
}
