import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'

export type SshKeyType = 'rsa' | 'ecdsa' | 'ed25519'

export interface SshPublicKey {
  readonly type: SshKeyType
  readonly key: KeyObject
  /** As ssh-keygen shows them: `SHA256:` and base64, and sixteen pairs of hex digits. */
  readonly fingerprints: readonly [sha256: string, md5: string]
}

export interface SshPublicKeys {
  readonly keys: readonly SshPublicKey[]
  /** Lines from 1 that are neither a key we can use, nor empty, nor a comment. */
  readonly faults: readonly { readonly line: number; readonly reason: string }[]
}

/** Each costs a verification whenever its owner shows up. */
const MOST_KEYS = 32

const LEAST_RSA_BITS = 2048
const MOST_RSA_BITS = 8192

const LINE = /^(?<type>[a-z0-9@.-]+) +(?<blob>[A-Za-z0-9+/]+={0,2})(?: .*)?$/

/** Curve names of RFC 5656, and what JSON Web Keys call them. */
const CURVES: Readonly<Record<string, { readonly name: string; readonly bytes: number }>> = {
  nistp256: { name: 'P-256', bytes: 32 },
  nistp384: { name: 'P-384', bytes: 48 },
  nistp521: { name: 'P-521', bytes: 66 },
}

/**
 * Public keys as OpenSSH writes them, one per line (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; RFC 4253, 6.6; RFC 5656, 3.1;
 * RFC 8709, 4). A line with options is refused, since we would not do what they say.
 */
export function parseSshPublicKeys(text: string): SshPublicKeys {
  const keys: SshPublicKey[] = []
  const faults: { line: number; reason: string }[] = []
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const parsed = parseLine(line)
    if (typeof parsed === 'string') faults.push({ line: index + 1, reason: parsed })
    else if (keys.length === MOST_KEYS)
      faults.push({ line: index + 1, reason: `there are more than ${MOST_KEYS} keys` })
    else keys.push(parsed)
  }
  return { keys, faults }
}

function parseLine(line: string): SshPublicKey | string {
  if (/-----BEGIN/.test(line)) return 'it is PEM, perhaps a private key; right is the .pub file'
  const { type, blob: base64 } = LINE.exec(line)?.groups ?? {}
  if (type === undefined || base64 === undefined) return 'it is no public key as in a .pub file'
  if (type === 'ssh-dss') return 'it is a DSA key, which nobody trusts any more; right is RSA, ECDSA or Ed25519'
  const blob = Buffer.from(base64, 'base64')
  const made = makeKey(type, new WireReader(blob))
  if (typeof made === 'string') return made
  return { ...made, fingerprints: [sha256Of(blob), md5Of(blob)] }
}

function makeKey(type: string, wire: WireReader): Omit<SshPublicKey, 'fingerprints'> | string {
  const damaged = `its ${type} part is damaged`
  if (wire.next()?.toString('latin1') !== type) return damaged
  if (type === 'ssh-rsa') {
    const [exponent, modulus] = [wire.next(), wire.next()]
    if (!exponent || !modulus || !wire.isAtEnd) return damaged
    const [e, n] = [withoutSign(exponent), withoutSign(modulus)]
    const bits = n.length === 0 ? 0 : n.length * 8 - Math.clz32(n[0]!) + 24
    if (bits < LEAST_RSA_BITS || bits > MOST_RSA_BITS) {
      return `its length is ${bits} bits; right is ${LEAST_RSA_BITS} to ${MOST_RSA_BITS}`
    }
    if (e.length === 0 || e.length > 4) return damaged
    return made('rsa', { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') }, damaged)
  }
  if (type === 'ssh-ed25519') {
    const point = wire.next()
    if (point?.length !== 32 || !wire.isAtEnd) return damaged
    return made('ed25519', { kty: 'OKP', crv: 'Ed25519', x: point.toString('base64url') }, damaged)
  }
  const curve = CURVES[type.replace('ecdsa-sha2-', '')]
  if (!type.startsWith('ecdsa-sha2-') || !curve) return `its type, ${type.slice(0, 40)}, is not one we know`
  const [name, point] = [wire.next(), wire.next()]
  const isRight = type.endsWith(`-${name?.toString('latin1')}`) && point?.length === 1 + 2 * curve.bytes
  if (!isRight || point[0] !== 4 || !wire.isAtEnd) return damaged // 4: both coordinates, not compressed
  const x = point.subarray(1, 1 + curve.bytes).toString('base64url')
  const y = point.subarray(1 + curve.bytes).toString('base64url')
  return made('ecdsa', { kty: 'EC', crv: curve.name, x, y }, damaged)
}

/** OpenSSL knows best whether a point is on its curve. */
function made(type: SshKeyType, key: JsonWebKey, damaged: string): Omit<SshPublicKey, 'fingerprints'> | string {
  try {
    return { type, key: createPublicKey({ key, format: 'jwk' }) }
  } catch {
    return damaged
  }
}

/** Numbers in ssh's format have a zero in front when their first bit is set. */
function withoutSign(number: Buffer): Buffer {
  return number[0] === 0 ? number.subarray(1) : number
}

function sha256Of(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`
}

function md5Of(blob: Buffer): string {
  return createHash('md5')
    .update(blob)
    .digest('hex')
    .replaceAll(/(..)(?!$)/g, '$1:')
}

/** Texts with their lengths in front (RFC 4251, 5). */
class WireReader {
  readonly #bytes: Buffer
  #offset = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#offset === this.#bytes.length
  }

  next(): Buffer | undefined {
    const start = this.#offset + 4
    if (start > this.#bytes.length) return undefined
    const end = start + this.#bytes.readUInt32BE(this.#offset)
    if (end > this.#bytes.length) return undefined
    this.#offset = end
    return this.#bytes.subarray(start, end)
  }
}
