import { hash } from 'node:crypto'
import { canonicalJson } from '../parts/canonical-json.js'
import { isJsonObject } from '../parts/json-object.js'
import type { LedgerEntry } from './ledger-store.js'
import { openSealedJson, sealJson } from './sealed-json.js'

/** Far more than any entry of ours; the facts of one that is larger are left out, and that is said. */
export const LINE_LIMIT_BYTES = 64 * 1024
/** What the first entry carries as the hash of the one before it. */
export const NO_HASH = '0'.repeat(64)

const TAIL = /"previous":"([0-9a-f]{64})","seq":(\d{1,15}),"crc32":"[0-9a-f]{8}"\}$/
/** More than `TAIL` ever takes. */
const TAIL_BYTES = 140

/** The line of an entry: canonical JSON with a CRC behind it, and a newline. */
export function formatLedgerLine({ seq, atMs, kind, image, facts }: LedgerEntry, previous: string): Buffer {
  const line = (said: object) => {
    const json = canonicalJson({ at: new Date(atMs).toISOString(), facts: said, image, kind, previous, seq })
    return Buffer.from(`${sealJson(json)}\n`)
  }
  const whole = line(facts)
  if (whole.length <= LINE_LIMIT_BYTES) return whole
  return line({ leftOutBytes: whole.length, leftOutSha256: hash('sha256', canonicalJson(facts)) })
}

/** @param line without its newline, which is hashed with it: `sed -n 7p FILE | sha256sum` says the same. */
export function hashOfLine(line: Buffer): string {
  return hash('sha256', Buffer.concat([line, NEWLINE]))
}

const NEWLINE = Buffer.from('\n')

/** What a line says of its place in the chain; `undefined` when it does not. Cheaper than parsing it. */
export function placeOfLine(line: Buffer): { readonly seq: number; readonly previous: string } | undefined {
  const found = TAIL.exec(line.toString('latin1', Math.max(0, line.length - TAIL_BYTES)))
  return found ? { seq: Number(found[2]), previous: found[1]! } : undefined
}

/** What a line says; `undefined` when it is not as we wrote it. */
export function parseLedgerLine(line: Buffer): LedgerEntry | undefined {
  const found = openSealedJson(line)
  if (!isJsonObject(found)) return undefined
  const { seq, at, kind, image, facts } = found
  const atMs = typeof at === 'string' ? Date.parse(at) : Number.NaN
  if (typeof seq !== 'number' || Number.isNaN(atMs) || typeof kind !== 'string' || !isJsonObject(facts))
    return undefined
  return { seq, atMs, kind, image: typeof image === 'string' ? image : undefined, facts }
}
