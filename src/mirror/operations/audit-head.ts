import type { SignedHead } from '../../store/ledger-store.js'

/** A signed head, as whoever keeps it elsewhere wants it. */
export interface AuditHead {
  readonly entries: number
  readonly hash: string
  readonly atMs: number
  readonly key: string
  /** What is signed, and the content of a `.minisig` file. */
  readonly text: string
  readonly signature: string
  /** The content of a minisign `.pub` file; `null` when it cannot be read. */
  readonly publicKey: string | null
}

export function auditHeadOf(head: SignedHead, publicKey: string | undefined): AuditHead {
  const { atMs, entries, hash, key, signature, text } = head
  return { entries, hash, atMs, key, text, signature, publicKey: publicKey ?? null }
}
