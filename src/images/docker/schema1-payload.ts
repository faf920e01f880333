import { MirrorError } from '../../errors.js'
import { brief, isJsonObject, type JsonObject } from '../../parts/json-object.js'

/** Registries sign once. */
const MAX_SIGNATURES = 16
/** What closes the object that the signatures were put into; two characters in practice. */
const MAX_TAIL_BYTES = 1024

/**
 * The bytes of a schema 1 manifest that its digest is made of, and its signatures: the body up to where the signatures
 * were put in, and what stood there before, which every signature says. Without signatures, the whole body.
 *
 * Read the manifest from these bytes, never from the body: a registry that lies could sign one and show another. The
 * signatures themselves are not checked: their key comes with them, so they prove no more than the digest does.
 *
 * Source: docker/libtrust, jsonsign.go, `ParsePrettySignature`; joyent/node-docker-registry-client, lib/common.js.
 *
 * @param body the parsed body.
 * @throws MirrorError MANIFEST_INVALID
 */
export function schema1Payload(bytes: Buffer, body: JsonObject): Buffer {
  const { signatures = [] } = body
  if (!Array.isArray(signatures)) throw refusal(`they are not an array: ${brief(signatures)}`)
  if (signatures.length > MAX_SIGNATURES) throw refusal(`there are ${signatures.length}, more than ${MAX_SIGNATURES}`)
  const payloads = signatures.map((signature) => payloadOf(bytes, signature))
  const [first = bytes, ...others] = payloads
  if (others.some((other) => !other.equals(first))) throw refusal('they are of different texts')
  return first
}

function payloadOf(bytes: Buffer, signature: unknown): Buffer {
  const text = isJsonObject(signature) ? signature.protected : undefined
  if (typeof text !== 'string') throw refusal(`one says nothing of what it is of: ${brief(text)}`)
  const { formatLength, formatTail } = parseProtected(text)
  const isLength = Number.isSafeInteger(formatLength) && Number(formatLength) >= 0
  if (!isLength || Number(formatLength) > bytes.length) {
    throw refusal(`one is of ${brief(formatLength)} bytes, of a body of ${bytes.length}`)
  }
  const tail = typeof formatTail === 'string' ? decode(formatTail) : undefined
  if (!tail || tail.length > MAX_TAIL_BYTES) throw refusal(`one has a tail that is none: ${brief(formatTail)}`)
  return Buffer.concat([bytes.subarray(0, Number(formatLength)), tail])
}

function parseProtected(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(decode(text)?.toString('utf8') ?? '')
    if (isJsonObject(value)) return value
  } catch {
    // Told below.
  }
  throw refusal('what one protects is not JSON')
}

/** base64url, with or without the padding; `undefined` for anything else. */
function decode(text: string): Buffer | undefined {
  return /^[A-Za-z0-9_-]*={0,2}$/.test(text) ? Buffer.from(text, 'base64url') : undefined
}

function refusal(message: string): MirrorError {
  return new MirrorError('MANIFEST_INVALID', `the signatures of the manifest cannot be used: ${message}`)
}
