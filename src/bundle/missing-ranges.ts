import { PIECE_ALIGNMENT_BYTES } from '../images/bundle/bundle-names.js'
import type { ByteRange } from './inventory.js'

/** Which bytes of a file are missing where `parts` of it are: in whole MiB, so a little of what is there may be among them. */
export function missingRanges(sizeBytes: number, parts: readonly ByteRange[]): readonly ByteRange[] {
  const missing: ByteRange[] = []
  let startBytes = 0
  const add = (endBytes: number) => {
    if (endBytes > startBytes) missing.push({ startBytes, endBytes })
  }
  for (const part of parts) {
    // Only whole MiB of it spare anything, or what leads up to the end.
    const there = alignUp(part.startBytes)
    const end = part.endBytes >= sizeBytes ? sizeBytes : alignDown(part.endBytes)
    if (end <= there || end <= startBytes) continue
    add(Math.max(there, startBytes))
    startBytes = end
  }
  add(sizeBytes)
  return missing
}

function alignDown(positionBytes: number): number {
  return positionBytes - (positionBytes % PIECE_ALIGNMENT_BYTES)
}

function alignUp(positionBytes: number): number {
  return alignDown(positionBytes + PIECE_ALIGNMENT_BYTES - 1)
}
