import { formatSignedHead, parseHead } from '../../parts/ledger-head.js'
import { isMinisigned, minisignKeyName, parseMinisignKey } from '../../parts/minisign.js'
import type { LedgerCheck, LedgerReader } from '../../store/ledger-store.js'

export interface VerifyQuestion {
  /** Heads that were kept elsewhere, as texts: signed ones, or only their two numbers. */
  readonly heads?: readonly string[]
  /** A public key that was kept elsewhere, as minisign writes it. */
  readonly publicKey?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** Whether an earlier head is still the ledger's. */
export interface HeadVerdict {
  readonly entries: number
  readonly hash: string
  /** `kept elsewhere`, or the file it is in. */
  readonly from: string
  /** Whether the mirror's key has signed it. */
  readonly isSigned: boolean
  /** What is wrong; `null` when nothing is. */
  readonly complaint: string | null
}

export interface LedgerVerdict {
  /** Whether everything is as it was written, as far as anybody can tell. */
  readonly isIntact: boolean
  readonly entries: number
  readonly segments: number
  readonly sizeBytes: number
  /** SHA-256 of the last entry. */
  readonly hash: string
  readonly firstMs: number | null
  readonly lastMs: number | null
  /** The first hundred of them. */
  readonly faults: readonly { entry: number; file: string; line: number; complaint: string }[]
  readonly faultsFound: number
  /** Signed heads in the ledger that prove everything before them, and when the last of them was signed. */
  readonly signedHeads: number
  readonly lastSignedMs: number | null
  /** Entries behind that one. Whoever has the disk could have written them anew. */
  readonly entriesUnsigned: number
  readonly heads: readonly HeadVerdict[]
  /** The name of the key; `null` where there is none. */
  readonly key: string | null
  /** What is wrong with the key; `null` when nothing is. */
  readonly keyComplaint: string | null
  /** Behind the last whole line: one that is being written just now, or one that a crash has torn. */
  readonly unfinishedBytes: number
}

const OWN_HEAD = 'ledger/head'

/**
 * Finds whatever is not as it was written: bytes, entries, files. That the end is missing can only be known from a head that is newer:
 * `ledger/head`, or one that was kept elsewhere.
 *
 * @throws MirrorError STORE_BROKEN; the signal's reason.
 */
export async function verifyLedger(
  ledger: LedgerReader,
  { heads: given = [], publicKey, signal }: VerifyQuestion,
): Promise<LedgerVerdict> {
  const own = await ledger.signedHead()
  const wanted = [
    ...(own ? [{ from: OWN_HEAD, said: formatSignedHead(own) }] : []),
    ...given.map((said) => ({ from: 'kept elsewhere', said })),
  ].map(({ from, said }) => ({ from, said, head: parseHead(said) }))
  const hashesOf = wanted.flatMap(({ head }) => (head ? [head.entries] : []))
  const check = await ledger.check({ hashesOf, signal })

  const kept = await ledger.publicKey()
  const key = kept === undefined ? undefined : parseMinisignKey(kept)
  const trusted = publicKey === undefined ? key : parseMinisignKey(publicKey)
  const keyComplaint = complaintAboutKey({ key, trusted, isGiven: publicKey !== undefined, check })
  const heads = wanted.map(({ from, head, said }): HeadVerdict => {
    if (!head) {
      return { entries: 0, hash: '', from, isSigned: false, complaint: `no head of a ledger: "${said.slice(0, 60)}"` }
    }
    const { entries, hash, signature, text } = head
    // A crash between the two files of `ledger/head` leaves the new text beside the signature of the one before; its own is in the ledger.
    const isInLedger = from === OWN_HEAD && text !== undefined && text === check.lastHead?.text
    const isSigned =
      isInLedger ||
      (trusted !== undefined && text !== undefined && signature !== undefined && isMinisigned(trusted, text, signature))
    const forged = signature !== undefined && !isSigned ? 'it is not signed by the key of this mirror' : null
    return { entries, hash, from, isSigned, complaint: forged ?? complaintAboutHead(entries, hash, check) }
  })
  const lastSigned = check.lastHead
  return {
    isIntact: check.faultsFound === 0 && keyComplaint === null && heads.every(({ complaint }) => complaint === null),
    entries: check.entries,
    segments: check.segments,
    sizeBytes: check.sizeBytes,
    hash: check.hash,
    firstMs: check.firstAtMs ?? null,
    lastMs: check.lastAtMs ?? null,
    faults: check.faults.map(({ complaint, line, segment, seq }) => ({ entry: seq, file: segment, line, complaint })),
    faultsFound: check.faultsFound,
    signedHeads: check.goodHeads,
    lastSignedMs: lastSigned?.atMs ?? null,
    // The entry that the head stands in proves itself.
    entriesUnsigned: lastSigned ? Math.max(0, check.entries - lastSigned.entries - 1) : check.entries,
    heads,
    key: key ? minisignKeyName(key) : null,
    keyComplaint,
    unfinishedBytes: check.unfinishedBytes,
  }
}

type Key = ReturnType<typeof parseMinisignKey>

function complaintAboutKey({
  check,
  isGiven,
  key,
  trusted,
}: {
  check: LedgerCheck
  isGiven: boolean
  key: Key
  trusted: Key
}): string | null {
  if (!key) return check.entries > 0 ? 'keys/mirror.pub is missing, or is no key: no signature can be checked' : null
  if (!isGiven) return null
  if (!trusted) return 'the key that was given is none of minisign'
  const isSame = trusted.key.equals(key.key)
  return isSame
    ? null
    : `the mirror's key ${minisignKeyName(key)} is not the one that was given, ${minisignKeyName(trusted)}`
}

function complaintAboutHead(entries: number, hash: string, check: LedgerCheck): string | null {
  if (entries === 0) return null
  const found = check.hashes.get(entries)
  if (found === hash) return null
  if (entries > check.entries || found === undefined) {
    const missing = entries - check.entries
    return missing > 0
      ? `the end of the ledger is missing: it has ${check.entries} entries, and had ${entries}: ${missing} are gone`
      : `entry ${entries}, which was the last one then, is not there any more`
  }
  return `entry ${entries} is not the one that was signed: the ledger was written anew before it, or is another one`
}
