import { createHash } from 'node:crypto'
import { isDeeperThan } from '../parts/json-object.js'
import { Refusal } from './answers.js'
import type { Context } from './every-request.js'

/** A manifest has a few KiB; the longest that passes validation, with its 100 KiB of tags, about 150. */
const JSON_LIMIT_BYTES = 1024 * 1024
/** Deeper JSON is nobody's manifest, and would end the stack of whoever walks it. */
const JSON_DEPTH = 32

/**
 * The body of a request as JSON, whatever its Content-Type says: curl calls JSON a form. `undefined` when there is none.
 *
 * @throws Refusal 413, 415, BadDigest when it is not what Content-MD5 says, InvalidContent when it is no JSON; 408 when
 *   it stalls; an Error when the client leaves.
 */
export async function readJsonBody(context: Context): Promise<unknown> {
  const { headers } = context.req
  const encoding = headers['content-encoding'] ?? 'identity'
  if (encoding !== 'identity') {
    throw new Refusal(415, 'UnsupportedMediaTypeError', `a body with content-encoding ${encoding} is not understood`)
  }
  const bytes = await readBody(context, JSON_LIMIT_BYTES, (limitBytes) => {
    const message = `the request's body is larger than ${limitBytes} bytes`
    return new Refusal(413, 'RequestEntityTooLargeError', message)
  })
  const promised = headers['content-md5']
  const md5 = createHash('md5').update(bytes).digest('base64')
  if (typeof promised === 'string' && promised !== md5) {
    throw new Refusal(400, 'BadDigest', `Content-MD5 '${promised}' didn't match '${md5}'`)
  }
  if (bytes.length === 0) return undefined
  const value = parseJson(bytes)
  if (isDeeperThan(value, JSON_DEPTH)) throw invalidContent(`nested deeper than ${JSON_DEPTH} levels`)
  return value
}

/**
 * A small body, whole. Its declared length is looked at before a byte of it is asked for.
 *
 * @param tooLarge makes what is thrown for a longer one.
 */
export async function readBody(
  context: Context,
  limitBytes: number,
  tooLarge: (limitBytes: number, declaredBytes: number | undefined) => Error,
): Promise<Buffer> {
  const { body } = context.state
  if (body.isEmpty) return Buffer.alloc(0)
  if ((body.sizeBytes ?? 0) > limitBytes) throw tooLarge(limitBytes, body.sizeBytes)
  const chunks: Buffer[] = []
  let receivedBytes = 0
  for await (const chunk of body.take() as AsyncIterable<Buffer>) {
    receivedBytes += chunk.length
    if (receivedBytes > limitBytes) throw tooLarge(limitBytes, undefined)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw invalidContent(error instanceof SyntaxError ? error.message : 'not UTF-8')
  }
}

function invalidContent(reason: string): Refusal {
  return new Refusal(400, 'InvalidContent', `Invalid JSON: ${reason}`)
}
