import type { Claim } from '../images/claim.js'
import type { Uuid } from '../images/uuid.js'
import type { Audited } from './audit-store.js'

/** What one upstream said at one time. */
export interface Hearing {
  readonly upstream: string
  readonly heardMs: number
  /** Claims that are new, or differ from what is written. */
  readonly changed: readonly Claim[]
  /** Images it no longer has. */
  readonly withdrawn: readonly Uuid[]
  /** Set when it told its whole catalogue: every listed, not withdrawn claim of it was heard again just now. */
  readonly listing: { readonly validator: string | undefined } | undefined
}

export interface HeardClaims {
  readonly claims: readonly Claim[]
  /** Per upstream that ever told its whole catalogue: when, and the validator to ask it with. */
  readonly listings: ReadonlyMap<string, { readonly heardMs: number; readonly validator: string | undefined }>
  /** Lines that could not be read back: torn by a crash or damaged. */
  readonly damagedLines: number
}

/**
 * Which upstream claimed what, when: one append-only file `claims/<upstream>.jsonl` for each, every line with its own
 * CRC, rewritten (to a new file, synced and renamed) when most of it is outdated. A torn last line is cut off at start.
 */
export interface ClaimStore extends Audited {
  /** Reads everything back. Called once, at start. */
  load(): Promise<HeardClaims>
  /** What one upstream is known to have claimed, as it stands now: it may not have counted for a while. */
  recall(upstream: string): Promise<readonly Claim[]>
  /** Durable when it resolves. */
  record(hearing: Hearing): Promise<void>
}
