/** What `Authorization: Signature ...` says. */
export interface SignatureHeader {
  readonly keyId: string
  /** In lower case. */
  readonly algorithm: string
  readonly signature: Buffer
  /** What was signed, in lower case and in order; `undefined` where it is left to the default. */
  readonly headers: readonly string[] | undefined
}

/** Why a signature is no proof, in the words of the reference: safe to be told to whoever sent it. */
export class SignatureFault extends Error {
  override readonly name = 'SignatureFault'
}

const PARAMETER = /([A-Za-z]+)="([^"]*)"(,|$)/y

/** More than anybody signs; each is looked up. */
const MOST_HEADERS = 32

/**
 * Reads the header as strictly as the reference does: no blank behind a comma, the scheme in exactly this case.
 *
 * Source: joyent/node-http-signature 0.10, lib/parser.js, whose messages these are; run with sdc-imgapi 4.13.1 (the
 * vectors, httpSignature).
 *
 * @throws SignatureFault
 */
export function parseSignatureHeader(text: string): SignatureHeader {
  const blank = text.indexOf(' ')
  const scheme = blank === -1 ? text : text.slice(0, blank)
  const parameters = blank === -1 ? new Map<string, string>() : parseParameters(text.slice(blank + 1))
  if (scheme !== 'Signature') throw new SignatureFault('scheme was not "Signature"')
  const need = (name: string) => {
    const value = parameters.get(name)
    if (value) return value
    throw new SignatureFault(`${name} was not specified`)
  }
  const [keyId, algorithm, signature] = [need('keyId'), need('algorithm'), need('signature')]
  const headers = parameters.get('headers')?.toLowerCase().split(' ')
  if (headers && headers.length > MOST_HEADERS) throw new SignatureFault('bad param format')
  return {
    keyId,
    algorithm: algorithm.toLowerCase(),
    signature: Buffer.from(signature, 'base64'),
    headers: headers?.join('') === '' ? undefined : headers,
  }
}

function parseParameters(text: string): Map<string, string> {
  const parameters = new Map<string, string>()
  PARAMETER.lastIndex = 0
  while (PARAMETER.lastIndex < text.length) {
    const [, name, value] = PARAMETER.exec(text) ?? []
    if (name === undefined || value === undefined) throw new SignatureFault('bad param format')
    parameters.set(name, value)
  }
  return parameters
}
