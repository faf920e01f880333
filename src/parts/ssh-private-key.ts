import { createPrivateKey, type JsonWebKey, type KeyObject } from 'node:crypto'

/** Why a file is no key that we can use. */
export class KeyFault extends Error {
  override readonly name = 'KeyFault'
}

const MAGIC = Buffer.from('openssh-key-v1\0')

/**
 * A private key as ssh-keygen writes it, or as PEM (PKCS#1, PKCS#8, SEC 1): RSA, ECDSA or Ed25519. Without passphrase.
 *
 * Source of the form: openssh-portable, PROTOCOL.key; of what each type has in it, sshkey.c and draft-miller-ssh-agent.
 *
 * @throws KeyFault saying what is wrong with it, and nothing of what is in it.
 */
export function parsePrivateKey(text: string): KeyObject {
  const armored = /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END OPENSSH PRIVATE KEY-----/.exec(text)
  if (!armored) {
    try {
      return createPrivateKey(text)
    } catch {
      throw new KeyFault('no private key in a form we know, or one with a passphrase')
    }
  }
  const fields = new Fields(Buffer.from(armored[1] ?? '', 'base64'))
  if (!fields.take(MAGIC.length).equals(MAGIC)) throw new KeyFault('not in the form openssh-key-v1')
  const cipher = fields.text()
  fields.field() // how the passphrase becomes a key,
  fields.field() // and with what besides it
  if (cipher !== 'none') throw new KeyFault('a key with a passphrase')
  if (fields.count() !== 1) throw new KeyFault('more than one key')
  fields.field() // the public half
  const secret = new Fields(fields.field())
  secret.take(8) // the same number twice, which shows a wrong passphrase
  return makeKey(secret)
}

const CURVES: Readonly<Record<string, { name: string; bytes: number }>> = {
  nistp256: { name: 'P-256', bytes: 32 },
  nistp384: { name: 'P-384', bytes: 48 },
  nistp521: { name: 'P-521', bytes: 66 },
}

function makeKey(secret: Fields): KeyObject {
  const type = secret.text()
  if (type === 'ssh-ed25519') {
    const x = secret.field()
    return fromJwk({ kty: 'OKP', crv: 'Ed25519', x: encoded(x), d: encoded(secret.field().subarray(0, 32)) })
  }
  if (type === 'ssh-rsa') {
    const [n, e, d, qi, p, q] = [
      secret.number(),
      secret.number(),
      secret.number(),
      secret.number(),
      secret.number(),
      secret.number(),
    ]
    // What OpenSSH leaves to be computed, OpenSSL wants to be told.
    const [dp, dq] = [p, q].map((prime) => modulo(d, prime))
    return fromJwk({ kty: 'RSA', ...encodedAll({ n, e, d, p, q, dp, dq, qi }) })
  }
  const curve = /^ecdsa-sha2-(nistp\d+)$/.exec(type)?.[1]
  const { name, bytes } = (curve !== undefined && Object.hasOwn(CURVES, curve) && CURVES[curve]) || {}
  if (name === undefined || bytes === undefined)
    throw new KeyFault(`a key of type ${type.slice(0, 40)}, which cannot sign here`)
  secret.field() // the curve once more
  const point = secret.field()
  const d = secret.number()
  const padded = Buffer.concat([Buffer.alloc(Math.max(0, bytes - d.length)), d])
  const [x, y] = [point.subarray(1, 1 + bytes), point.subarray(1 + bytes)]
  return fromJwk({ kty: 'EC', crv: name, ...encodedAll({ x, y, d: padded }) })
}

function fromJwk(key: JsonWebKey): KeyObject {
  try {
    return createPrivateKey({ key, format: 'jwk' })
  } catch {
    throw new KeyFault('a damaged key')
  }
}

function encoded(bytes: Buffer): string {
  return bytes.toString('base64url')
}

function encodedAll(fields: Record<string, Buffer | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([name, bytes]) => [name, encoded(bytes ?? Buffer.alloc(0))]))
}

/** `exponent` modulo `prime - 1`. */
function modulo(exponent: Buffer, prime: Buffer): Buffer {
  const remainder = BigInt(`0x0${exponent.toString('hex')}`) % (BigInt(`0x0${prime.toString('hex')}`) - 1n)
  const hex = remainder.toString(16)
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
}

/** The fields of ssh: each has its length before it. */
class Fields {
  #rest: Buffer

  constructor(bytes: Buffer) {
    this.#rest = bytes
  }

  take(bytes: number): Buffer {
    if (this.#rest.length < bytes) throw new KeyFault('a key that ends too early')
    const taken = this.#rest.subarray(0, bytes)
    this.#rest = this.#rest.subarray(bytes)
    return taken
  }

  count(): number {
    return this.take(4).readUInt32BE()
  }

  field(): Buffer {
    return this.take(this.count())
  }

  text(): string {
    return this.field().toString('latin1')
  }

  /** Without the byte that tells it is not negative. */
  number(): Buffer {
    const field = this.field()
    const start = field.findIndex((byte) => byte !== 0)
    return start < 0 ? Buffer.alloc(0) : field.subarray(start)
  }
}
