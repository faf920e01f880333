import { verify } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { SshKeyType, SshPublicKey } from '../../parts/ssh-public-key.js'
import { parseSignatureHeader, SignatureFault } from './signature-header.js'
import type { User, Users } from './users.js'

/** How far a client's clock may be off, in either direction. */
export const CLOCK_SKEW_MS = 300_000

export interface ProvenSignature {
  readonly user: User
  /** The same for every signature of the same key over the same text, however it is written. */
  readonly signed: string
}

interface Algorithm {
  readonly keyType: SshKeyType
  /** `undefined` where the key decides. */
  readonly hash: string | undefined
}

/**
 * The reference's RSA, and what newer clients have besides it under the names http-signature 1.x gives them. Left out:
 * DSA, which OpenSSH gave up in 2015, and HMAC, which the reference refuses too. ECDSA signatures are in DER.
 */
const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  'rsa-sha1': { keyType: 'rsa', hash: 'sha1' },
  'rsa-sha256': { keyType: 'rsa', hash: 'sha256' },
  'rsa-sha512': { keyType: 'rsa', hash: 'sha512' },
  'ecdsa-sha256': { keyType: 'ecdsa', hash: 'sha256' },
  'ecdsa-sha384': { keyType: 'ecdsa', hash: 'sha384' },
  'ecdsa-sha512': { keyType: 'ecdsa', hash: 'sha512' },
  ed25519: { keyType: 'ed25519', hash: undefined },
  'ed25519-sha512': { keyType: 'ed25519', hash: undefined },
}

/** `/NAME/keys/FINGERPRINT`, as cloudapi has it. A SHA256 fingerprint may have slashes in it. */
const KEY_PATH = /^\/([^/]+)\/keys\/(.+)$/

/**
 * Who signed a request, in the scheme of draft-cavage-http-signatures as the reference knows it: over the Date header (or
 * X-Date), or over the headers it names. `request-line` stands for the first line of the request, and so does
 * `(request-target)` of later drafts. A keyId is a user's name; also `/NAME/keys/FINGERPRINT`, or a fingerprint alone.
 *
 * Answers `undefined` for a signature that is wrong, or of somebody unknown: the work is the same.
 *
 * @throws SignatureFault saying what is wrong with its form or its time.
 */
export function verifySignature(
  request: Pick<IncomingMessage, 'headers' | 'method' | 'url' | 'httpVersion'>,
  users: Users,
  nowMs: number,
): ProvenSignature | undefined {
  const { keyId, algorithm: name, signature, headers } = parseSignatureHeader(request.headers.authorization ?? '')
  const dateHeader = request.headers['x-date'] === undefined ? 'date' : 'x-date'
  const signed = headers ?? [dateHeader]
  const text = signingString(request, signed)
  requireTime(request.headers[dateHeader], nowMs)
  // Else it would be good for ever, whatever the header says.
  if (!signed.includes(dateHeader)) throw new SignatureFault(`${dateHeader} was not a signed header`)
  const algorithm = Object.hasOwn(ALGORITHMS, name) ? ALGORITHMS[name] : undefined
  if (!algorithm) {
    const shown = name.slice(0, 40).toUpperCase()
    throw new SignatureFault(`Unauthorized ("${shown}" is not a supported http-signature signing algorithm)`)
  }

  const { user, fingerprint, label } = whose(keyId, users)
  let signer: SshPublicKey | undefined
  for (const key of users.keysFor(user, label)) {
    const isMeant = fingerprint === undefined || !user || key.fingerprints.includes(fingerprint)
    // No leaving at the first that fits: how long it takes is nobody's business.
    if (isMeant && key.type === algorithm.keyType && isSignature(text, signature, key, algorithm)) signer = key
  }
  return user && signer ? { user, signed: `${signer.fingerprints[0]}\n${text}` } : undefined
}

function whose(
  keyId: string,
  users: Users,
): { user: User | undefined; fingerprint: string | undefined; label: string } {
  const [, name, fingerprint] = KEY_PATH.exec(keyId) ?? []
  if (name !== undefined) return { user: users.named(name), fingerprint, label: name }
  const owner = users.withKey(keyId)
  return owner
    ? { user: owner, fingerprint: keyId, label: owner.name }
    : { user: users.named(keyId), fingerprint: undefined, label: keyId }
}

function signingString(
  {
    headers,
    method = 'GET',
    url = '/',
    httpVersion,
  }: Pick<IncomingMessage, 'headers' | 'method' | 'url' | 'httpVersion'>,
  names: readonly string[],
): string {
  const lines = names.map((name) => {
    if (name === 'request-line') return `${method} ${url} HTTP/${httpVersion}`
    if (name === '(request-target)') return `${name}: ${method.toLowerCase()} ${url}`
    const value = Object.hasOwn(headers, name) ? headers[name] : undefined
    if (value === undefined || value === '') throw new SignatureFault(`${name.slice(0, 40)} was not in the request`)
    return `${name}: ${Array.isArray(value) ? value.join(', ') : value}`
  })
  return lines.join('\n')
}

function requireTime(date: string | string[] | undefined, nowMs: number): void {
  if (date === undefined || date === '') throw new SignatureFault('date was not in the request')
  const atMs = Date.parse(String(date))
  // The reference takes a date that is none for a good one.
  if (Number.isNaN(atMs)) throw new SignatureFault('date was not a date')
  const skewMs = Math.abs(nowMs - atMs)
  if (skewMs <= CLOCK_SKEW_MS) return
  throw new SignatureFault(`clock skew of ${skewMs / 1000}s was greater than ${CLOCK_SKEW_MS / 1000}s`)
}

function isSignature(text: string, signature: Buffer, { key }: SshPublicKey, { hash }: Algorithm): boolean {
  try {
    return verify(hash, Buffer.from(text), key, signature)
  } catch {
    return false // bytes that are no signature of this kind
  }
}
