import { isUtf8 } from 'node:buffer'

/** What a JSON document may be. Bytes alone say little: 64 MiB of `[[[[...` or of `{},{},...` are gigabytes once parsed. */
export interface JsonLimits {
  readonly sizeBytes: number
  /** Of objects and arrays within each other. */
  readonly depth: number
  /** Objects and arrays. */
  readonly containers: number
  /** Objects, arrays, and whatever stands in them. */
  readonly values: number
}

/** The bytes are no JSON document within its limits. The message says why, as in "it is ...". */
export class BoundedJsonError extends Error {
  override readonly name = 'BoundedJsonError'
}

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/**
 * Parses a JSON document that somebody else wrote. What it would become is counted before anything of it is made; `JSON.parse`
 * alone decides what JSON is.
 * @throws BoundedJsonError
 */
export function parseBoundedJson(bytes: Buffer, limits: JsonLimits): unknown {
  if (bytes.length > limits.sizeBytes) throw new BoundedJsonError(`longer than ${limits.sizeBytes} bytes`)
  if (!isUtf8(bytes)) throw new BoundedJsonError('not UTF-8')
  count(bytes, limits)
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new BoundedJsonError('not JSON', { cause })
  }
}

/** On bytes, since no byte of a multi-byte UTF-8 character looks like one that counts here. */
function count(bytes: Buffer, limits: JsonLimits): void {
  let depth = 0
  let containers = 0
  let commas = 0
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === QUOTE) at = endOfText(bytes, at)
    else if (byte === COMMA) commas++
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      containers++
      if (++depth > limits.depth) throw new BoundedJsonError(`nested deeper than ${limits.depth} levels`)
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--
  }
  if (containers > limits.containers) {
    throw new BoundedJsonError(`of more than ${limits.containers} objects and lists`)
  }
  if (containers + commas > limits.values) throw new BoundedJsonError(`of more than ${limits.values} values`)
}

/** Where the text that begins at `start` ends, or the document if it does not. */
function endOfText(bytes: Buffer, start: number): number {
  let at = start + 1
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
  return at
}
