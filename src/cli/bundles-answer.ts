import type { Lacking, SeriesGap } from '../bundle/bundles.js'
import { formatSize } from './amounts.js'
import { countOf } from './facts.js'
import { printable } from './printable.js'

/** What the operator API says of bundles. */
export interface BundlesAnswer {
  readonly isDiode: boolean
  readonly awaited: readonly Lacking[]
  readonly gaps: readonly SeriesGap[]
}

/** As much of an id as people use: what volumes are named by. */
export function shortId(bundle: string): string {
  return bundle.slice(0, 12)
}

/** Of images beyond these, how many they are. */
const MOST_NAMED = 20

/** What is lacking of a bundle, in lines. */
export function describeLacking({
  bundle,
  from,
  images,
  objectsMissing,
  series,
  volumes,
  volumesMissing,
}: Lacking): string[] {
  const ofSeries = series ? `, ${series.name} ${series.number}` : ''
  const more = images.length - MOST_NAMED
  return [
    `bundle ${shortId(bundle)} from ${from.site || 'nobody who says so'}${ofSeries} lacks`,
    ...(volumesMissing.length > 0 ? [`  volume ${formatNumbers(volumesMissing)} of ${volumes}`] : []),
    ...(objectsMissing > 0 ? [`  ${countOf(objectsMissing, 'file')} of Docker images`] : []),
    ...images.slice(0, MOST_NAMED).map(({ missingBytes, missingOrigins, name, uuid, version }) => {
      const bytes = missingBytes > 0 ? [formatSize(missingBytes)] : []
      const origins = missingOrigins.length > 0 ? [`image ${missingOrigins.join(', ')}, which it builds on`] : []
      const what = [...bytes, ...origins].join(', and ') || 'what it builds on, which comes with it'
      return `  ${uuid} ${name} ${version}: ${what}`
    }),
    ...(more > 0 ? [`  and ${countOf(more, 'image')} more`] : []),
  ].map(printable)
}

/** Short enough to be read over a telephone. */
export function describeGaps({ awaited, gaps }: BundlesAnswer): string[] {
  const series = gaps.flatMap(({ from, lastNumber, missing, series: name, unfollowed }) => [
    ...(missing.length > 0
      ? [`series ${name} from ${from.site}: ${formatRanges(missing)} never came; the last is ${lastNumber}`]
      : []),
    ...unfollowed.map(
      ({ number, previous }) =>
        `series ${name} from ${from.site}: ${number} follows bundle ${shortId(previous)}, which never came`,
    ),
  ])
  const volumes = awaited
    .filter(({ volumesMissing }) => volumesMissing.length > 0)
    .map(
      ({ bundle, volumes: all, volumesMissing }) =>
        `bundle ${shortId(bundle)}: volume ${formatNumbers(volumesMissing)} of ${all}`,
    )
  return [...series, ...volumes].map(printable)
}

/** `1, 3 to 5` */
function formatNumbers(numbers: readonly number[]): string {
  const ranges: [number, number][] = []
  for (const number of numbers) {
    const last = ranges.at(-1)
    if (last && last[1] === number - 1) last[1] = number
    else ranges.push([number, number])
  }
  return formatRanges(ranges)
}

function formatRanges(ranges: readonly (readonly [number, number])[]): string {
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first} to ${last}`)).join(', ')
}
