import { crc32 } from 'node:zlib'

/** `,"crc32":"0a1b2c3d"}`, at the very end. */
const SEAL_BYTES = sealOf(0).length

/**
 * The text of a JSON object with a CRC over itself as its last member, so that damage at rest is found when it is read
 * back. It stays plain JSON, for `jq` and for those who come after us.
 *
 * @param json an object with at least one member, as `JSON.stringify` writes it.
 */
export function sealJson(json: string): string {
  const body = json.slice(0, -1)
  return `${body}${sealOf(crc32(body))}`
}

/** Whether `text` is as `sealJson` wrote it. Costs far less than parsing it. */
export function isSealed(text: Buffer): boolean {
  const bodyBytes = text.length - SEAL_BYTES
  if (bodyBytes < 1) return false
  return text.toString('latin1', bodyBytes) === sealOf(crc32(text.subarray(0, bodyBytes)))
}

/** What `sealJson` was given, parsed (with its `crc32`), or `undefined` when the text is not as we wrote it. */
export function openSealedJson(text: Buffer): unknown {
  if (!isSealed(text)) return undefined
  try {
    return JSON.parse(text.toString('utf8'))
  } catch {
    return undefined
  }
}

function sealOf(crc: number): string {
  return `,"crc32":"${crc.toString(16).padStart(8, '0')}"}`
}
