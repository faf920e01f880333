/** How far a ledger had come at some time: whoever keeps it elsewhere can tell later whether the ledger was cut or written anew. */
export interface LedgerHead {
  /** How many entries there were. */
  readonly entries: number
  /** SHA-256, lower-case hex, of the last of them, as the line stands in its file, newline included. Of none, 64 zeros. */
  readonly hash: string
  /** When it was signed, ms since 1970. */
  readonly atMs: number
  /** The name of the key it is signed with. */
  readonly key: string
}

/** A head, and the proof that it is the mirror's. */
export interface SignedHead extends LedgerHead {
  /** What is signed: `formatHead`. */
  readonly text: string
  /** The content of a `.minisig` file. */
  readonly signature: string
}

const TITLE = 'imgapi-mirror ledger head'
const HEAD = new RegExp(
  `^${TITLE}\nentries: (\\d{1,15})\nhash: ([0-9a-f]{64})\nat: (\\S{20,30})\nkey: ([0-9A-F]{16})\n(?:\n([\\s\\S]*))?$`,
)
/** As somebody noted it: `12 ab34...`, `12:ab34...`, or both with names before them. */
const NOTED = /\b(\d{1,15})\D{1,20}?\b([0-9a-f]{64})\b/
const NAMED =
  /"entries":(\d{1,15})[\s\S]{0,200}"hash":"([0-9a-f]{64})"|"hash":"([0-9a-f]{64})"[\s\S]{0,200}"entries":(\d{1,15})/

/** The text that is signed. */
export function formatHead({ entries, hash, atMs, key }: LedgerHead): string {
  return `${TITLE}\nentries: ${entries}\nhash: ${hash}\nat: ${new Date(atMs).toISOString()}\nkey: ${key}\n`
}

/** Head and signature as one text, for a page, a bundle, or a mail. */
export function formatSignedHead({ text, signature }: SignedHead): string {
  return `${text}\n${signature}`
}

/** What an earlier head says: as we print it, signed or not, or only its two numbers. `undefined` for anything else. */
export function parseHead(
  said: string,
): (Pick<LedgerHead, 'entries' | 'hash'> & { readonly text?: string; readonly signature?: string }) | undefined {
  const text = said.replaceAll('\r\n', '\n').trimStart()
  const found = HEAD.exec(text.endsWith('\n') ? text : `${text}\n`)
  if (found) {
    const [whole, entries = '', hash = '', , , signature] = found
    const signed = signature === undefined ? whole : whole.slice(0, whole.length - signature.length - 1)
    return { entries: Number(entries), hash, text: signed, ...(signature && { signature }) }
  }
  const named = NAMED.exec(text)
  if (named) return { entries: Number(named[1] ?? named[4]), hash: (named[2] ?? named[3])! }
  const noted = NOTED.exec(text)
  return noted ? { entries: Number(noted[1]), hash: noted[2]! } : undefined
}
