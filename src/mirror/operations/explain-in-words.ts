import type { Uuid } from '../../images/uuid.js'
import type {
  AwaitedView,
  CameByView,
  EvictionView,
  Explanation,
  HeldFileView,
  ImageExplanation,
  ImageName,
  LedgerView,
  PinView,
  UpstreamView,
  WantedByView,
} from './explanation.js'

type NameOf = (uuid: Uuid) => ImageName | undefined

/** The facts in plain words for a tired person: what is so first, why next, details behind. */
export function explainInWords(
  { asked, image, otherCount, others }: Omit<Explanation, 'words'>,
  nameOf: NameOf,
): string[] {
  if (!image) {
    return [
      `Nothing here is called "${asked}".`,
      'Upstreams are asked by uuid only: explain a uuid to hear what they say of an image that none of them lists.',
    ]
  }
  const lines = [
    title(image),
    ...standing(image),
    ...image.reasons.map(({ text }) => `  ${text}`),
    ...upstreamLines(image),
    ...policyLines(image),
    ...ancestryLines(image),
    ...heldLines(image),
    ...cameByLines(image.cameBy),
    ...image.awaited.flatMap(awaitedLines),
    ...pinLines(image.pins),
    ...image.wantedBy.map(wantedLine),
    ...evictionLines(image.eviction, nameOf),
    ...ledgerLines(image),
  ]
  if (otherCount > 0) {
    lines.push(`There ${otherCount === 1 ? 'is 1 other image' : `are ${otherCount} other images`} of that name:`)
    lines.push(...others.map((other) => `  ${labelOf(other)}`))
    if (otherCount > others.length) lines.push(`  and ${otherCount - others.length} more`)
  }
  return lines
}

function title({ name, os, publishedMs, state, type, uuid, version }: ImageExplanation): string {
  if (name === null) return `Image ${uuid}`
  if (type === null) return `Image ${uuid}: ${name} ${version}`
  const published = publishedMs === null ? '' : `, published ${timeOf(publishedMs)}`
  return `Image ${uuid}: ${name} ${version}, ${type} for ${os}, ${state}${published}`
}

function standing({ channels, isListed, isPublic, isServed, reasons, stands }: ImageExplanation): string[] {
  const lists = isListed ? 'It is in our list' : 'It is not in our list'
  const isWhole = isServed && reasons.every(({ code }) => code !== 'file lost')
  const gets = isWhole ? 'gets it' : isServed ? 'gets its manifest and no file' : 'is refused'
  const lines = [`${lists}, ${isListed === isWhole ? 'and' : 'but'} who asks for it ${gets}.`]
  if (stands !== null) lines.push(`  What stands is ${stands.startsWith('the ') ? stands : `what ${stands} claims`}.`)
  if (channels !== null && channels.length > 0) lines.push(`  It is in the channels ${channels.join(', ')}.`)
  if (isPublic === false) lines.push('  It is not public.')
  return lines
}

const SAYS: Record<UpstreamView['says'], string> = {
  'has it': 'lists it',
  'has it unlisted': 'has it, but not in its list',
  'withdrew it': 'had it, and has withdrawn it',
  'left out': 'has it, but our filters leave it out',
  'set aside': 'lists it, in a form that cannot be used',
  'has none': 'has none',
  unknown: 'could not be asked',
  'not asked': 'is not asked, as this mirror is offline',
}

function upstreamLines({ upstreams }: ImageExplanation): string[] {
  if (upstreams.length === 0) return ['There are no upstreams.']
  return [
    'Upstreams:',
    ...upstreams.flatMap(({ differences, error, firstHeardMs, lastHeardMs, name, says, why, withdrawnMs }) => {
      const times = [
        firstHeardMs !== null && `heard first ${timeOf(firstHeardMs)}`,
        lastHeardMs !== null && `last ${timeOf(lastHeardMs)}`,
        withdrawnMs !== null && `withdrawn ${timeOf(withdrawnMs)}`,
      ].filter((each) => each !== false)
      return [
        `  ${name} ${SAYS[says]}${why === null ? '' : ` (${why})`}${times.length > 0 ? `; ${times.join(', ')}` : ''}`,
        ...differences.map(
          (difference) => `    disagrees: ${difference.replace(/ or (?!.* or )/, ' or, as it says, ')}`,
        ),
        ...(error === null ? [] : [`    its catalogue could not be had lately: ${error}`]),
      ]
    }),
  ]
}

function policyLines({ policy, upstreams, uuid }: ImageExplanation): string[] {
  if (!policy) return []
  const isDisputed = upstreams.some(({ differences }) => differences.length > 0)
  if (!policy.isWithheld && !isDisputed) return []
  const lines = [
    `Upstreams ${isDisputed ? 'disagree' : 'are too few'}; the policy is ${policy.policy} (${policy.from}).`,
  ]
  if (policy.isWithheld) {
    lines.push(`  To have one of them believed: conflictOverrides: {${uuid}: NAME}, with the name of that upstream.`)
  }
  return lines
}

function ancestryLines({ ancestry, brokenAncestry, offlineLacks, stands }: ImageExplanation): string[] {
  const lines: string[] = []
  const [, ...origins] = ancestry
  if (origins.length > 0) lines.push('It builds on:', ...origins.map((each) => `  ${labelOf(each)}: ${each.is}`))
  else if (ancestry.length > 0) lines.push('It builds on no other image.')
  if (brokenAncestry !== null) lines.push(`  ${brokenAncestry}`)
  if (stands === null) return lines
  if (offlineLacks.length === 0) lines.push('Without a network it could be installed from here.')
  else {
    const labels = offlineLacks.map((uuid) => labelOf(ancestry.find((each) => each.uuid === uuid) ?? { uuid }))
    lines.push(
      'Without a network it could not be installed from here, for want of:',
      ...labels.map((each) => `  ${each}`),
    )
  }
  return lines
}

function heldLines({ flights, held }: ImageExplanation): string[] {
  const lines: string[] = []
  if (!held) lines.push('It is not held here.')
  else if (held.publishedBy !== null)
    lines.push(`It was published here by ${held.publishedBy}, ${timeOf(held.sinceMs)}.`)
  else lines.push(`It is held here since ${timeOf(held.sinceMs)}.`)
  for (const { fileIndex, receivedBytes, sizeBytes } of flights) {
    lines.push(`  File ${fileIndex} is being fetched: ${receivedBytes} of ${sizeBytes} bytes.`)
  }
  return [...lines, ...(held?.files ?? []).flatMap(fileLines)]
}

function fileLines({
  checkedMs,
  corrections,
  index,
  keptMs,
  lastReadMs,
  sha1,
  sha256,
  sizeBytes,
  sources,
}: HeldFileView) {
  if (sha1 === null)
    return [`  File ${index} is lost: it was damaged, and could not be fetched again so far.`, `    sha256 ${sha256}`]
  const from = sources.map(({ bytes, upstream }) =>
    bytes === sizeBytes ? `all of it from ${upstream}` : `${bytes} from ${upstream}`,
  )
  return [
    `  File ${index}: ${sizeBytes} bytes, ${from.length > 0 ? from.join(', ') : 'here already for another image, or sent to us'}`,
    `    sha1 ${sha1}`,
    `    sha256 ${sha256}`,
    ...corrections.map(
      ({ atMs, endBytes, rightFrom, startBytes, wrongFrom }) =>
        `    bytes ${startBytes} to ${endBytes} came wrong from ${wrongFrom.join(', ')}, and right from ${rightFrom} ${timeOf(atMs)}`,
    ),
    `    verified when it came, ${timeOf(keptMs!)}; ${checkedMs === null ? 'not checked again since' : `checked again ${timeOf(checkedMs)}`}`,
    ...(lastReadMs === null ? [] : [`    last used ${timeOf(lastReadMs)}`]),
  ]
}

function cameByLines(cameBy: CameByView | null): string[] {
  if (!cameBy) return []
  const { atMs, bundle, signedBy, site } = cameBy
  const who = signedBy ? `signed by the key ${signedBy.key}` : 'signed by nobody'
  const trust = signedBy?.isTrusted ? '' : '; that is nobody we trust, and it was taken all the same'
  return [`It came by bundle ${shortId(bundle)} from ${site}, ${timeOf(atMs)}, ${who}${trust}.`]
}

function awaitedLines({ bundle, missingBytes, missingOrigins, site, volumes, volumesMissing }: AwaitedView): string[] {
  const from = volumesMissing.length > 1 ? 'volumes' : 'volume'
  const lacking =
    volumesMissing.length > 0 ? `; the bundle lacks ${from} ${volumesMissing.join(', ')} of ${volumes}` : ''
  return [
    `Bundle ${shortId(bundle)} from ${site} is to bring it, and has not come whole.`,
    ...(missingBytes > 0 ? [`  ${missingBytes} bytes of it are lacking${lacking}.`] : []),
    ...missingOrigins.map((uuid) => `  It builds on ${uuid}, which is neither here nor in that bundle.`),
  ]
}

/** As volumes are named by it. */
function shortId(bundle: string): string {
  return bundle.slice(0, 12)
}

function pinLines(pins: readonly PinView[]): string[] {
  return pins.map(({ by, pin, through }) => {
    const what = through ? `${labelOf(through)}, which builds on it, is pinned` : 'It is pinned'
    return `${what}: "${pin}" (${by}).`
  })
}

function wantedLine({ doneMs, nextOpeningMs, outcome, policy, through }: WantedByView): string {
  const what = through ? `for ${labelOf(through)}, which builds on it` : 'for itself'
  const opens =
    nextOpeningMs === null ? 'which does not open within two weeks' : `which opens next ${timeOf(nextOpeningMs)}`
  const comes = doneMs === null ? '' : `, by ${timeOf(doneMs)}`
  const becomes = {
    held: 'all of that is here',
    comes: `it comes${comes}`,
    late: `it comes${comes}, after the deadline`,
    never: 'it would not come within a year',
    'no room': 'it does not fit beside what is worth more',
    'not to be had': 'it cannot be had',
  }[outcome]
  return `The prewarm policy ${policy} wants it here ${what}: ${becomes}${outcome === 'held' ? '' : ` (${opens})`}.`
}

function evictionLines(eviction: EvictionView | null, nameOf: NameOf): string[] {
  if (!eviction) return []
  const { before, mayLeave, quotaBytes, usedBytes, why } = eviction
  const quota =
    quotaBytes === null ? 'there is no quota, so the disk is the limit' : `${usedBytes} of ${quotaBytes} bytes are used`
  if (!mayLeave || !before) return [`It never leaves to make room: ${why} (${quota}).`]
  if (before.count === 0) return [`It would be the first to leave if room were needed: ${why} (${quota}).`]
  const last = before.last === null ? '' : `, the last of them ${labelOf(nameOf(before.last) ?? { uuid: before.last })}`
  return [
    `If room were needed it would leave after ${before.count} ${before.count === 1 ? 'other' : 'others'} with ${before.bytes} bytes${last}: ${why} (${quota}).`,
  ]
}

/** What it says besides is for `audit`; who it was is told here, where it is one. */
function ledgerLines({ ledger }: ImageExplanation): string[] {
  if (ledger.length === 0) return []
  const who = ({ facts }: LedgerView) => (typeof facts.upstream === 'string' ? ` (${facts.upstream})` : '')
  return ['What the ledger says last:', ...ledger.map((each) => `  ${timeOf(each.atMs)} ${each.kind}${who(each)}`)]
}

function labelOf({ name, uuid, version }: { uuid: Uuid; name?: string | null; version?: string | null }): string {
  return name ? `${uuid} (${name} ${version})` : uuid
}

/** To the second: this is for eyes. */
function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}
