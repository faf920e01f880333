import type { SignedHead } from '../parts/ledger-head.js'

export type { SignedHead } from '../parts/ledger-head.js'

/** One thing that happened. */
export interface LedgerEntry {
  /** 1 for the first, and no number is left out. */
  readonly seq: number
  readonly atMs: number
  readonly kind: string
  /** The uuid of the image it is about; `undefined` where it is about none. */
  readonly image: string | undefined
  readonly facts: Readonly<Record<string, unknown>>
}

/** Something that is not as it was written. */
export interface LedgerFault {
  /** Where: `ledger/000001.jsonl`, and the line in it, from 1. */
  readonly segment: string
  readonly line: number
  /** Which entry that is, as far as it can be told. */
  readonly seq: number
  readonly complaint: string
}

export interface LedgerCheck {
  /** Lines there are. */
  readonly entries: number
  readonly segments: number
  readonly sizeBytes: number
  /** SHA-256 of the last line; 64 zeros when there is none. */
  readonly hash: string
  readonly firstAtMs: number | undefined
  readonly lastAtMs: number | undefined
  /** The first FAULTS_LIMIT of them, in order, and how many there are. */
  readonly faults: readonly LedgerFault[]
  readonly faultsFound: number
  /** Signed heads in it that are the mirror's. */
  readonly goodHeads: number
  /** The last of them: entries behind it are vouched for by the chain alone. */
  readonly lastHead: SignedHead | undefined
  /** Bytes behind the last whole line: one being written, or one that a crash has torn. */
  readonly unfinishedBytes: number
  /** The hash of each entry that was asked for, where there is such an entry. */
  readonly hashes: ReadonlyMap<number, string>
}

/**
 * Reads the ledger as it stands in its files. Nobody is kept from writing meanwhile: what is written after a reading has begun may be
 * in it or not.
 */
export interface LedgerReader {
  /** Whether there is nothing at all: nothing was ever written, or the files were taken away. @throws MirrorError STORE_BROKEN. */
  isEmpty(): Promise<boolean>
  /** In order, some hundred at a time. Lines that are damaged are left out. @throws MirrorError STORE_BROKEN. */
  entries(signal?: AbortSignal): AsyncIterable<readonly LedgerEntry[]>
  /** The newest entries about an image, at most `limit`, in order; of all, where no image is named. @throws MirrorError STORE_BROKEN. */
  newest(image: string | undefined, limit: number): Promise<readonly LedgerEntry[]>
  /**
   * Reads everything, and tells every line that is not as it was written.
   * @param hashesOf numbers of entries whose hash is wanted.
   * @throws MirrorError STORE_BROKEN; the signal's reason.
   */
  check(options?: { hashesOf?: readonly number[]; signal?: AbortSignal | undefined }): Promise<LedgerCheck>
  /** The head that was signed last, if its files are there and whole. */
  signedHead(): Promise<SignedHead | undefined>
  /** The content of `keys/mirror.pub`, if it is there. */
  publicKey(): Promise<string | undefined>
}

/**
 * What happened, in the order in which it did, in files that only grow: `ledger/NNNNNN.jsonl`, each line with the SHA-256 of the one
 * before it.
 */
export interface LedgerStore extends LedgerReader {
  /**
   * Adds an entry. It is durable within about a second; a crash before that may lose it, and whatever came after it, but never
   * leaves half of it or another order. It never fails: what cannot be written waits, up to a bound, and what is lost behind
   * that is counted, and told by an entry of its own as soon as one can be written.
   */
  append(kind: string, image: string | undefined, facts: object): void
  /**
   * Entries so far, and those that were lost since the start; and how many were damaged at start in the newest segment, which is read
   * then anyway: older ones are for `check`. In memory.
   */
  readonly standing: {
    readonly entries: number
    readonly waiting: number
    readonly lost: number
    readonly damaged: number
  }
  /** Resolves when everything appended so far is durable. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  flush(): Promise<void>
  /** Signs the head of everything appended so far, as an entry and in `ledger/head`. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  sign(): Promise<SignedHead>
}
