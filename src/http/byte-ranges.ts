/** A part of a file: from `startBytes` up to, not including, `endBytes`. Never empty. */
export interface ByteRange {
  readonly startBytes: number
  readonly endBytes: number
}

/** More parts than this, after overlapping and adjacent ones were joined, are answered with the whole file. */
export const MAX_PARTS = 16
/** More ranges than this in one header are not even looked at: the whole file again. */
const MAX_SPECS = 256

/**
 * Reads a `Range` header against a file of `sizeBytes`: the parts to send, in the order they were asked for; `whole`
 * when the header is to be ignored (another unit, not well formed, or more parts than is decent: RFC 9110, 14.2 lets a
 * server ignore any Range); `unsatisfiable` when it is well formed and no part of it lies within the file, a 416.
 *
 * Ours instead of `range-parser`, which takes a suffix longer than the file (`bytes=-999999`) for unsatisfiable, where
 * RFC 9110, 14.1.2 says the whole file; and does not bound their number.
 */
export function parseByteRanges(header: string, sizeBytes: number): readonly ByteRange[] | 'whole' | 'unsatisfiable' {
  const unit = /^bytes=/i.exec(header)
  if (!unit) return 'whole'
  const specs = header.slice(unit[0].length).split(',', MAX_SPECS + 1)
  if (specs.length > MAX_SPECS) return 'whole'

  const ranges: ByteRange[] = []
  for (const spec of specs) {
    const text = spec.trim()
    if (text === '') continue // empty list elements are to be skipped: RFC 9110, 5.6.1
    const range = parseSpec(text, sizeBytes)
    if (range === 'malformed') return 'whole'
    if (range !== 'outside') ranges.push(range)
  }
  if (specs.every((spec) => spec.trim() === '')) return 'whole'
  if (ranges.length === 0) return 'unsatisfiable'
  const parts = joined(ranges)
  return parts.length > MAX_PARTS ? 'whole' : parts
}

function parseSpec(text: string, sizeBytes: number): ByteRange | 'malformed' | 'outside' {
  const match = /^(\d*)-(\d*)$/.exec(text)
  if (!match || text === '-') return 'malformed'
  const [, first = '', last = ''] = match
  if (first === '') {
    const suffixBytes = Math.min(Number(last), sizeBytes)
    return suffixBytes === 0 ? 'outside' : { startBytes: sizeBytes - suffixBytes, endBytes: sizeBytes }
  }
  const startBytes = Number(first)
  if (last !== '' && Number(last) < startBytes) return 'malformed'
  if (startBytes >= sizeBytes) return 'outside'
  return { startBytes, endBytes: last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) }
}

/** Joins what overlaps or touches, so that no byte is sent twice; the rest keeps the order it was asked in. */
function joined(ranges: readonly ByteRange[]): readonly ByteRange[] {
  const byStart = ranges.map((range, place) => ({ ...range, place })).sort((a, b) => a.startBytes - b.startBytes)
  const parts: { startBytes: number; endBytes: number; place: number }[] = []
  for (const range of byStart) {
    const before = parts.at(-1)
    if (before === undefined || range.startBytes > before.endBytes) {
      parts.push(range)
      continue
    }
    before.endBytes = Math.max(before.endBytes, range.endBytes)
    before.place = Math.min(before.place, range.place)
  }
  parts.sort((a, b) => a.place - b.place)
  return parts.map(({ startBytes, endBytes }) => ({ startBytes, endBytes }))
}
