export interface ContentRange {
  readonly startBytes: number
  /** Exclusive, unlike on the wire. */
  readonly endBytes: number
  readonly totalBytes: number
}

/** Reads `bytes 2-5/10`; `undefined` for anything else, also for an unknown total (`*`) and an unsatisfied range. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i.exec(value ?? '')
  if (!match) return undefined
  const [startBytes, last, totalBytes] = match.slice(1).map(Number) as [number, number, number]
  return startBytes <= last && last < totalBytes ? { startBytes, endBytes: last + 1, totalBytes } : undefined
}
