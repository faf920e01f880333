import { createHash, randomBytes } from 'node:crypto'

/** For messages: what `hashOfToken` takes. */
export const TOKEN_FORM =
  'a token of 24 to 512 letters, digits and "-._~+/=", such as "imgapi-mirror user make-token" makes, or its hash (sha256:...)'

/** Of RFC 6750's alphabet, and long enough that a plain sha256 of it cannot be guessed from. */
const TOKEN = /^[A-Za-z0-9._~+/-]{24,512}={0,2}$/

const HASH = /^sha256:([0-9a-f]{64})$/

const TOKEN_BYTES = 32

/** A token that nobody will guess. */
export function makeToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url')
}

/** What is kept of a token: its sha256. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** As it stands in files. */
export function formatTokenHash(hash: Buffer): string {
  return `sha256:${hash.toString('hex')}`
}

/** Reads a token or the text of its hash; `undefined` for what is neither. */
export function hashOfToken(text: string): Buffer | undefined {
  return parseTokenHash(text) ?? (TOKEN.test(text) ? hashToken(text) : undefined)
}

/** Reads the text of a hash alone. */
export function parseTokenHash(text: string): Buffer | undefined {
  const hex = HASH.exec(text)?.[1]
  return hex === undefined ? undefined : Buffer.from(hex, 'hex')
}
