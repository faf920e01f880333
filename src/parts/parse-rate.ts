const BYTES_PER_SECOND: Record<string, number> = {
  'bit/s': 1 / 8,
  'kbit/s': 1e3 / 8,
  'Mbit/s': 1e6 / 8,
  'Gbit/s': 1e9 / 8,
  'B/s': 1,
  'kB/s': 1e3,
  'MB/s': 1e6,
  'GB/s': 1e9,
  'KiB/s': 2 ** 10,
  'MiB/s': 2 ** 20,
  'GiB/s': 2 ** 30,
}
const RATE = /^(\d+(?:\.\d+)?) ?([A-Za-z]+\/s)$/

/** Slower than an old modem, a rate is a slip of the unit: no image would ever arrive. */
const LEAST_BYTES_PER_SECOND = 1000
const MOST_BYTES_PER_SECOND = 1e12

/** For messages: what `parseRate` takes. */
export const RATE_FORM =
  'unlimited, or a rate of at least 8kbit/s with its unit, such as 20Mbit/s or 5MB/s (units: kbit/s, Mbit/s, Gbit/s; kB/s, MB/s, GB/s by 1000; KiB/s, MiB/s, GiB/s by 1024)'

/** In bytes per second. */
export type Rate = number | 'unlimited'

/**
 * Bytes per second of `20Mbit/s`, `5 MB/s`, or `unlimited`. The whole text must be a rate; anything else, a bare number
 * too, is `undefined`.
 */
export function parseRate(text: string): Rate | undefined {
  if (text === 'unlimited') return text
  const [, count, unit] = RATE.exec(text) ?? []
  if (unit === undefined || !Object.hasOwn(BYTES_PER_SECOND, unit)) return undefined
  const rate = Number(count) * BYTES_PER_SECOND[unit]!
  return rate >= LEAST_BYTES_PER_SECOND && rate <= MOST_BYTES_PER_SECOND ? rate : undefined
}
