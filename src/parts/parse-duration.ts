const MS: Record<string, number> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 }
const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+$/
const PART = /(\d+(?:\.\d+)?)(ms|d|h|m|s)/g

/** For messages: what `parseDuration` takes. */
export const DURATION_FORM = 'a duration with its unit, such as 500ms, 30s, 10m, 1h30m or 2d (units: ms, s, m, h, d)'

/**
 * Milliseconds of `10m`, `1h30m`, `1.5s`. The whole text must be a duration, each unit at most once and the largest
 * first; anything else, a bare number too, is `undefined`.
 */
export function parseDuration(text: string): number | undefined {
  if (!DURATION.test(text)) return undefined
  let totalMs = 0
  let previousUnitMs = Number.POSITIVE_INFINITY
  for (const [, count, unit] of text.matchAll(PART)) {
    const unitMs = MS[unit!]!
    if (unitMs >= previousUnitMs) return undefined
    totalMs += Number(count) * unitMs
    previousUnitMs = unitMs
  }
  const roundedMs = Math.round(totalMs)
  return Number.isSafeInteger(roundedMs) ? roundedMs : undefined
}
