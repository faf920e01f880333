import { createHash } from 'node:crypto'
import { formatBase32 } from '../parts/base32.js'

/** Characters of five bits each, so that what is not there is taken for something that is once in a billion times, however many there are. */
export function wordLength(entries: number): number {
  return Math.ceil((30 + Math.log2(Math.max(2, entries))) / 5)
}

/** The word for an image: what its first characters are in the base32 of SHA-256("<salt> image <uuid> <sha256> ..."). */
export function imageWord(salt: string, length: number, uuid: string, sha256s: readonly string[]): string {
  return wordFor([salt, 'image', uuid, ...sha256s], length)
}

/** The word for a file: of SHA-256("<salt> file <sha256>"). */
export function fileWord(salt: string, length: number, sha256: string): string {
  return wordFor([salt, 'file', sha256], length)
}

function wordFor(parts: readonly string[], length: number): string {
  return formatBase32(createHash('sha256').update(parts.join(' ')).digest()).slice(0, length)
}
