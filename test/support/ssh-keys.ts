import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export interface SshKeyPair {
  readonly privateKey: KeyObject
  /** The public half as OpenSSH writes it. */
  readonly line: string
}

/** A key made for the occasion. */
export function makeSshKey(type: 'rsa' | 'ecdsa' | 'ed25519' = 'ed25519'): SshKeyPair {
  if (type === 'rsa') {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const { e = '', n = '' } = publicKey.export({ format: 'jwk' })
    return { privateKey, line: lineOf('ssh-rsa', Buffer.from(e, 'base64url'), unsigned(Buffer.from(n, 'base64url'))) }
  }
  if (type === 'ecdsa') {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
    const point = Buffer.concat([Buffer.from([4]), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
    return { privateKey, line: lineOf('ecdsa-sha2-nistp256', Buffer.from('nistp256'), point) }
  }
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const { x = '' } = publicKey.export({ format: 'jwk' })
  return { privateKey, line: lineOf('ssh-ed25519', Buffer.from(x, 'base64url')) }
}

function lineOf(type: string, ...parts: Buffer[]): string {
  const wire = [Buffer.from(type), ...parts].flatMap((part) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(part.length)
    return [length, part]
  })
  return `${type} ${Buffer.concat(wire).toString('base64')} made for a test`
}

function unsigned(number: Buffer): Buffer {
  return (number[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), number]) : number
}

/** The signature's Base64, as http-signature makes it. */
export function signatureOf({ privateKey }: SshKeyPair, algorithm: string, text: string): string {
  const hash = algorithm.startsWith('ed25519') ? undefined : algorithm.split('-')[1]
  return sign(hash, Buffer.from(text), privateKey).toString('base64')
}

/** Headers of a request that is signed over its date. */
export function signedDate(
  keyId: string,
  key: SshKeyPair,
  { algorithm, date }: { readonly algorithm: string; readonly date: string },
): { date: string; authorization: string } {
  const signature = signatureOf(key, algorithm, `date: ${date}`)
  return { date, authorization: `Signature keyId="${keyId}",algorithm="${algorithm}",signature="${signature}"` }
}
