const DIGITS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const VALUES = new Map([...DIGITS].map((digit, value) => [digit, value]))

/**
 * Bytes as people can read them out and type them: capitals and digits without I, L, O and U, five bits each, filled up with zeros.
 * Source: https://www.crockford.com/base32.html
 */
export function formatBase32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += DIGITS[(held >>> bits) & 31]
    }
    held &= 31
  }
  return bits === 0 ? text : text + DIGITS[(held << (5 - bits)) & 31]
}

/** `undefined` for what is none. Takes what `asTyped` gives. */
export function parseBase32(text: string): Buffer | undefined {
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8))
  let bits = 0
  let held = 0
  let at = 0
  for (const digit of text) {
    const value = VALUES.get(digit)
    if (value === undefined) return undefined
    held = (held << 5) | value
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes[at++] = held >>> bits
    held &= 31
  }
  return bytes
}

/** What somebody meant who typed it: small letters, and the ones that look like digits. */
export function asTyped(text: string): string {
  return text.toUpperCase().replaceAll('O', '0').replace(/[IL]/g, '1')
}
