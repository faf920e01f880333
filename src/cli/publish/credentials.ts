import { type KeyObject, sign } from 'node:crypto'
import { MirrorError } from '../../errors.js'
import { KeyFault, parsePrivateKey } from '../../parts/ssh-private-key.js'

/** What proves, of one request, who sends it. */
export type Proof = (method: string, target: string) => Readonly<Record<string, string>>

export interface CredentialOptions {
  readonly user?: string | undefined
  readonly passwordFile?: string | undefined
  readonly tokenFile?: string | undefined
  readonly identity?: string | undefined
}

/**
 * The proof to send along: a password or a token as they are, a key as a signature. Secrets come from files, or with the
 * url as imgadm wants it, but from no option: options can be read by everybody on the machine.
 *
 * @param url may have `user:password@` in it.
 * @throws MirrorError CONFIG_INVALID naming what does not go together, or the file.
 */
export async function makeProof(
  { user, passwordFile, tokenFile, identity }: CredentialOptions,
  url: URL,
  readFile: (path: string) => Promise<string>,
): Promise<Proof> {
  const read = async (path: string) => {
    try {
      return await readFile(path)
    } catch (cause) {
      throw new MirrorError('CONFIG_INVALID', `${path} cannot be read: ${(cause as Error).message}`, { cause })
    }
  }
  if ([passwordFile, tokenFile, identity].filter((path) => path !== undefined).length > 1) {
    throw new MirrorError('CONFIG_INVALID', 'one of --password-file, --token-file and --identity is enough')
  }
  const name = user ?? decodeURIComponent(url.username)
  if (tokenFile !== undefined) {
    const token = (await read(tokenFile)).trim()
    return () => ({ authorization: `Bearer ${token}` })
  }
  if (identity !== undefined) {
    if (name === '') throw new MirrorError('CONFIG_INVALID', '--identity needs --user')
    return signing(name, readKey(await read(identity), identity))
  }
  if (name === '') return () => ({})
  const password = passwordFile === undefined ? decodeURIComponent(url.password) : (await read(passwordFile)).trim()
  const basic = Buffer.from(`${name}:${password}`).toString('base64')
  return () => ({ authorization: `Basic ${basic}` })
}

function readKey(text: string, path: string): KeyObject {
  try {
    return parsePrivateKey(text)
  } catch (error) {
    if (!(error instanceof KeyFault)) throw error
    throw new MirrorError('CONFIG_INVALID', `${path} is ${error.message}`)
  }
}

/**
 * HTTP Signature as IMGAPI knows it, over the request line and the date: what is signed is good for nothing else.
 *
 * Source: sdc-imgapi docs/index.md, "Authentication"; joyent/node-http-signature, http_signing.md.
 */
function signing(name: string, key: KeyObject): Proof {
  const { algorithm, hash } = algorithmOf(key)
  return (method, target) => {
    const date = new Date().toUTCString()
    const text = `${method} ${target} HTTP/1.1\ndate: ${date}`
    const signature = sign(hash, Buffer.from(text), key).toString('base64')
    const parameters = [`keyId="${name}"`, `algorithm="${algorithm}"`, 'headers="request-line date"']
    return { date, authorization: `Signature ${[...parameters, `signature="${signature}"`].join(',')}` }
  }
}

function algorithmOf({ asymmetricKeyType }: KeyObject): { algorithm: string; hash: string | undefined } {
  if (asymmetricKeyType === 'ed25519') return { algorithm: 'ed25519', hash: undefined }
  if (asymmetricKeyType === 'ec') return { algorithm: 'ecdsa-sha256', hash: 'sha256' }
  if (asymmetricKeyType === 'rsa') return { algorithm: 'rsa-sha256', hash: 'sha256' }
  throw new MirrorError('CONFIG_INVALID', `keys of type ${asymmetricKeyType} cannot sign for IMGAPI`)
}
