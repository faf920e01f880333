/** Bytes without any pattern, and the same ones for the same seed. */
export function madeUpBytes(sizeBytes: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4))
  // xorshift32, which stays at zero if it begins there.
  let state = Math.imul(seed + 1, 0x9e37_79b1) | 1
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[at] = state
  }
  return Buffer.from(words.buffer, 0, sizeBytes)
}
