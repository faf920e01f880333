/** Exactly what IMGAPI's `published_at` may look like (node-imgmanifest, lib/imgmanifest.js). */
export const PUBLISHED_AT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z$/

/** Date and time, seconds, a fraction of up to 9 digits (Go's), and a zone. */
const TIMESTAMP = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|z|[+-]\d{2}:?\d{2})?$/

/**
 * A date as servers write it, in the form IMGAPI demands: seconds are filled in, a fraction is padded or cut to three
 * digits, a missing zone is UTC, another zone is converted. What is already right stays as it is (`...00Z` stays
 * `...00Z`). `undefined` for anything else, days that no calendar has included.
 */
export function normalisePublishedAt(value: unknown): string | undefined {
  const [, day, minute, second = '00', fraction, zone = 'Z'] =
    (typeof value === 'string' && TIMESTAMP.exec(value)) || []
  if (day === undefined) return undefined
  const local = `${day}T${minute}:${second}`
  // Date.parse takes the 30th of February for the 2nd of March.
  const atMs = Date.parse(`${local}Z`)
  if (Number.isNaN(atMs) || new Date(atMs).toISOString().slice(0, 19) !== local) return undefined
  const milliseconds = fraction === undefined ? '' : `.${fraction.slice(0, 3).padEnd(3, '0')}`
  if (/^z$/i.test(zone)) return `${local}${milliseconds}Z`
  const inUtcMs = Date.parse(`${local}${zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone}`)
  if (Number.isNaN(inUtcMs)) return undefined
  const inUtc = `${new Date(inUtcMs).toISOString().slice(0, -5)}${milliseconds}Z`
  // Next to year 0 and 9999 another zone leads to years of more than four digits.
  return PUBLISHED_AT.test(inUtc) ? inUtc : undefined
}
