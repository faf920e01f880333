import type { Arrival, ExcusedSeries } from '../store/arrival-store.js'
import type { SeriesGap } from './bundles.js'

type Member = Arrival & { readonly series: NonNullable<Arrival['series']> }

/**
 * What never came of the series of which something came: from 1 on, or what was excused, to the highest number there is. Two senders may call
 * their series the same: whoever signed them tells them apart.
 */
export function findSeriesGaps(arrivals: readonly Arrival[], excused: readonly ExcusedSeries[]): readonly SeriesGap[] {
  const groups = new Map<string, Member[]>()
  const ids = new Set<string>()
  for (const arrival of arrivals) {
    ids.add(arrival.id)
    if (!isMember(arrival)) continue
    const key = JSON.stringify([arrival.signedBy?.key ?? null, arrival.series.name])
    const group = groups.get(key)
    if (group) group.push(arrival)
    else groups.set(key, [arrival])
  }
  return [...groups.values()].flatMap((members) => {
    const { name } = members[0]!.series
    const upTo = excused.find((each) => each.name === name)?.upTo ?? 0
    return gapsOf(members, upTo, ids)
  })
}

function gapsOf(members: readonly Member[], upTo: number, ids: ReadonlySet<string>): SeriesGap[] {
  const sorted = members.toSorted((a, b) => a.series.number - b.series.number)
  const missing: (readonly [number, number])[] = []
  const unfollowed: { number: number; previous: string }[] = []
  let next = upTo + 1
  for (const { series } of sorted) {
    const { number, previous } = series
    if (number <= upTo) continue
    if (number > next) missing.push([next, number - 1])
    // Where the number before is missing too, that says it.
    else if (number > upTo + 1 && previous !== null && !ids.has(previous)) unfollowed.push({ number, previous })
    next = Math.max(next, number + 1)
  }
  if (missing.length === 0 && unfollowed.length === 0) return []
  const last = sorted.at(-1)!
  return [{ from: last.from, series: last.series.name, missing, unfollowed, lastNumber: last.series.number }]
}

function isMember(arrival: Arrival): arrival is Member {
  return arrival.series !== null
}
