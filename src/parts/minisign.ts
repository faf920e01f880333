import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'

/** A public key as minisign has it. */
export interface MinisignKey {
  /** 8 bytes that tell keys apart; no secret, and no proof of anything. */
  readonly id: Buffer
  readonly key: KeyObject
}

export interface MinisignSigner extends MinisignKey {
  readonly secret: KeyObject
}

/** The DER of an Ed25519 public key is this, and its 32 bytes (RFC 8410, 4). */
const DER_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
/** Ed25519 itself; in a signature, of the text as it is. */
const PLAIN = 'Ed'
/** Ed25519 of the BLAKE2b-512 of the text, which is what minisign makes since 0.8. */
const PREHASHED = 'ED'

/**
 * Signatures and keys as the program `minisign` reads and writes them.
 * Source: https://jedisct1.github.io/minisign/, "Signature format"; held against minisign 0.11.
 */
export function minisignKeyOf(secret: KeyObject): MinisignSigner {
  const key = createPublicKey(secret)
  return { id: createHash('sha256').update(rawKey(key)).digest().subarray(0, 8), key, secret }
}

/** As minisign prints it: the bytes backwards. */
export function minisignKeyName({ id }: MinisignKey): string {
  return nameOf(id)
}

/** The content of a `.pub` file. */
export function formatMinisignKey(key: MinisignKey): string {
  const bytes = Buffer.concat([Buffer.from(PLAIN), key.id, rawKey(key.key)])
  return `untrusted comment: minisign public key ${minisignKeyName(key)}\n${bytes.toString('base64')}\n`
}

/** Reads a `.pub` file, or only the line with the key. `undefined` for anything else. */
export function parseMinisignKey(text: string): MinisignKey | undefined {
  const line = text.trim().split('\n').at(-1) ?? ''
  const bytes = Buffer.from(line, 'base64')
  if (bytes.length !== 42 || bytes.toString('latin1', 0, 2) !== PLAIN) return undefined
  const key = createPublicKey({ key: Buffer.concat([DER_PREFIX, bytes.subarray(10)]), format: 'der', type: 'spki' })
  return { id: bytes.subarray(2, 10), key }
}

/** The content of a `.minisig` file. @param comment one line, which is signed too. */
export function minisign(signer: MinisignSigner, text: string | Uint8Array, comment: string): string {
  const signature = sign(null, blake2b(text), signer.secret)
  const global = sign(null, Buffer.concat([signature, Buffer.from(comment)]), signer.secret)
  const bytes = Buffer.concat([Buffer.from(PREHASHED), signer.id, signature])
  return [
    `untrusted comment: signature by key ${minisignKeyName(signer)}`,
    bytes.toString('base64'),
    `trusted comment: ${comment}`,
    `${global.toString('base64')}\n`,
  ].join('\n')
}

/** The name of the key that a `.minisig` file claims to be made with; `undefined` for anything else. */
export function minisignSignerName(signature: string): string | undefined {
  const bytes = Buffer.from(signature.split('\n', 2)[1] ?? '', 'base64')
  return bytes.length === 74 ? nameOf(bytes.subarray(2, 10)) : undefined
}

/** Whether `signature`, the content of a `.minisig` file, is this key's of that text, trusted comment and all. */
export function isMinisigned({ id, key }: MinisignKey, text: string | Uint8Array, signature: string): boolean {
  const [, line = '', comment = '', global = ''] = signature.split('\n')
  const bytes = Buffer.from(line, 'base64')
  if (bytes.length !== 74 || !comment.startsWith('trusted comment: ') || !bytes.subarray(2, 10).equals(id)) return false
  const algorithm = bytes.toString('latin1', 0, 2)
  if (algorithm !== PLAIN && algorithm !== PREHASHED) return false
  const signed = bytes.subarray(10)
  const isOfText = verify(null, algorithm === PREHASHED ? blake2b(text) : Buffer.from(text), key, signed)
  const said = Buffer.concat([signed, Buffer.from(comment.slice('trusted comment: '.length))])
  return isOfText && verify(null, said, key, Buffer.from(global, 'base64'))
}

function nameOf(id: Uint8Array): string {
  return Buffer.from(id).reverse().toString('hex').toUpperCase()
}

function rawKey(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(DER_PREFIX.length)
}

function blake2b(text: string | Uint8Array): Buffer {
  return createHash('blake2b512').update(text).digest()
}
