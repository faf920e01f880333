import type { Bench } from './question.js'

/** Measurements of one thing, at least one. */
export type Samples = readonly number[]

export function median(samples: Samples): number {
  const sorted = [...samples].sort((left, right) => left - right)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** `1.23 (1.20 to 1.31)`: the median, the least and the most. */
export function spread(samples: Samples, format: (value: number) => string = rounded): string {
  if (samples.length === 1) return format(samples[0]!)
  return `${format(median(samples))} (${format(Math.min(...samples))} to ${format(Math.max(...samples))})`
}

/** Round by round, since both had the same machine only within one. */
export function ratios(ours: Samples, theirs: Samples): Samples {
  return ours.map((value, round) => value / theirs[round]!)
}

/** Three digits that mean something. */
export function rounded(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value)
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toFixed(Math.min(decimals, 6))
}

/**
 * Measures everybody once per round, in turns: A B C, C B A, A B C... What else the machine does hits all of them alike,
 * and nobody is always first.
 */
export async function inTurns<Name extends string, Measured>(
  { rounds, say }: Pick<Bench, 'rounds' | 'say'>,
  contestants: Readonly<Record<Name, (round: number) => Promise<Measured>>>,
): Promise<Record<Name, Measured[]>> {
  const names = Object.keys(contestants) as Name[]
  const measured = Object.fromEntries(names.map((name) => [name, [] as Measured[]])) as Record<Name, Measured[]>
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse()) {
      say(`round ${round + 1} of ${rounds}: ${name}`)
      measured[name].push(await contestants[name](round))
    }
  }
  return measured
}
