import type { Command } from '@commander-js/extra-typings'
import type { BundlesStatus } from '../bundle/bundles.js'
import type { RestingStatus } from '../mirror/operations/resting-images.js'
import { formatAgo, formatSize } from './amounts.js'
import { addDirectoryOptions, askOrRead } from './ask-or-read.js'
import type { CommandSurroundings } from './command.js'
import { countOf, formatFacts } from './facts.js'
import { getStatus, type OperatorStatus } from './operator-status.js'

const EXAMPLES = `
Examples:
  imgapi-mirror status                                  how is the mirror?
  imgapi-mirror status --url http://127.0.0.1:8081 -j   everything, for programs`

export function registerStatus(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('status')
    .description('what the mirror holds, what is under way, and what is wrong')
    .option('-j, --json', 'print JSON, whole, for programs')
    .addHelpText('after', EXAMPLES)
  addDirectoryOptions(command).action(async (options) => {
    const columns = surroundings.terminal?.columns()
    const { status, words } = await askOrRead<{ status: object; words: string }>(options, surroundings, {
      ask: async (mirror) => {
        const status = await getStatus(mirror)
        return { status, words: describe(status, mirror.url, columns) }
      },
      read: async (data) => {
        const status = data.status()
        return { status, words: describeResting(status, columns) }
      },
    })
    surroundings.write(options.json ? `${JSON.stringify(status, null, 2)}\n` : words)
  })
}

/** Of a data directory that no mirror was asked about. */
function describeResting(status: RestingStatus, columns: number | undefined): string {
  const { arePinsDamaged, conflicts, damagedRecords, lost, upstreams } = status
  const heard = upstreams.map(
    ({ lastHeardMs, name }) => `${name}, ${lastHeardMs === null ? 'never heard' : `heard ${formatAgo(lastHeardMs)}`}`,
  )
  return formatFacts(
    [
      ['mirror', 'not asked'],
      ['directory', status.dataDirectory],
      ['images', `${status.imagesHeld} held of ${status.imagesKnown} known, ${status.imagesPinned} of them pinned`],
      ['kept', `${formatSize(status.bytesKept)} in ${countOf(status.blobsKept, 'file')}`],
      ['upstreams', heard.length === 0 ? 'none' : heard],
      ['conflicts', conflicts === 0 ? 'none' : `${conflicts}, where upstreams disagree`],
      ['lost', lost.length === 0 ? 'nothing' : describeLost(lost)],
      ...(damagedRecords.length > 0 || arePinsDamaged
        ? [['damaged', [...damagedRecords.map(({ path }) => path), ...(arePinsDamaged ? ['the pins'] : [])]] as const]
        : []),
    ],
    columns,
  )
}

function describe(status: OperatorStatus, url: string, columns: number | undefined): string {
  const { keeping, upstreams, flights, conflicts } = status
  const { room, scrub, lost, damagedRecords = [] } = keeping
  const reachable = upstreams.filter(({ state }) => state === 'reachable').length
  const failing = upstreams.filter(({ state }) => state === 'failing').map(({ name }) => name)
  const facts: [string, string | readonly string[]][] = [
    ['mirror', `${url}${status.isOffline ? ', offline' : ''}`],
    ['images', `${status.imagesHeld} held of ${status.imagesListed} listed`],
    ['kept', `${formatSize(status.bytesKept)} in ${countOf(status.blobsKept, 'file')}`],
    ['room', describeRoom(room)],
    [
      'upstreams',
      upstreams.length === 0
        ? 'none'
        : `${reachable} of ${upstreams.length} reachable${failing.length > 0 ? `; failing: ${failing.join(', ')}` : ''}`,
    ],
    ['under way', flights.length === 0 ? 'nothing' : countOf(flights.length, 'file')],
    ['conflicts', conflicts.length === 0 ? 'none' : `${conflicts.length}, where upstreams disagree`],
    ['scrub', scrub === null ? 'off' : describeScrub(scrub)],
    ['lost', lost.length === 0 ? 'nothing' : `${describeLost(lost)}, damaged and not to be had again so far`],
  ]
  if (status.prewarming?.length) facts.push(['prewarming', status.prewarming.map(describePrewarming)])
  const { bundles } = status
  if (bundles && bundles.awaited + bundles.neverCame > 0) facts.push(['bundles', describeBundles(bundles)])
  const { ledgerDamaged = 0 } = status
  if (ledgerDamaged > 0) {
    const entries = ledgerDamaged === 1 ? '1 entry was' : `${ledgerDamaged} entries were`
    facts.push(['ledger', `${entries} damaged at start; imgapi-mirror audit verify names what is wrong`])
  }
  const [first, ...others] = damagedRecords
  if (first) {
    const more = others.length === 0 ? '' : `, and ${others.length} more`
    facts.push(['damaged', `${first.path}${more}: damaged at start, so that the image counts as not held`])
  }
  return formatFacts(facts, columns)
}

function describeRoom(room: OperatorStatus['keeping']['room']): string[] {
  const { evictableBytes, freeBytes, pinnedBytes, quotaBytes, turnedAway, usedBytes } = room
  const limit = quotaBytes === null ? '' : ` of ${formatSize(quotaBytes)}`
  // Older mirrors do not say what is free.
  const free = typeof freeBytes === 'number' ? `, ${formatSize(freeBytes)} free on the disk` : ''
  const lines = [
    `${formatSize(usedBytes)} used${limit}${free}`,
    `${formatSize(pinnedBytes)} pinned, ${formatSize(evictableBytes)} could go`,
  ]
  if (turnedAway) {
    const { at, freeBytes: wasFree, neededBytes } = turnedAway
    const what = neededBytes === 0 ? 'a file of unknown size' : `a file of ${formatSize(neededBytes)}`
    lines.push(`no room: ${what} was not kept, ${formatAgo(Date.parse(at))}, as only ${formatSize(wasFree)} were free`)
  }
  return lines
}

/** Images of which a file is lost are not among those held. */
function describeLost(lost: readonly { readonly uuid: string }[]): string {
  const images = new Set(lost.map(({ uuid }) => uuid)).size
  return `${countOf(lost.length, 'file')} of ${countOf(images, 'image')}, not held any more`
}

function describePrewarming(policy: NonNullable<OperatorStatus['prewarming']>[number]): string {
  const { images, isBehind, missingBytes, name, nextOpeningAt, state } = policy
  const missing = missingBytes === 0 ? '' : `, ${formatSize(missingBytes)} missing`
  const opens = state === 'waiting' && nextOpeningAt !== null ? `, opens ${formatAgo(Date.parse(nextOpeningAt))}` : ''
  const left = [
    images.noRoom > 0 && `no room for ${images.noRoom}`,
    images.notToBeHad > 0 && `${images.notToBeHad} not to be had`,
  ].filter((each) => each !== false)
  const short = left.map((each) => `; ${each}`).join('')
  const behind = isBehind ? '; behind its deadline' : ''
  return `${name}: ${state}, ${images.held} of ${countOf(images.wanted, 'image')} held${missing}${opens}${short}${behind}`
}

function describeBundles({ awaited, imagesMissing, missingBytes, neverCame, volumesMissing }: BundlesStatus): string {
  const never = neverCame > 0 ? [`${countOf(neverCame, 'bundle')} of series never came`] : []
  const lacking =
    awaited > 0
      ? [
          `${countOf(awaited, 'bundle')} awaited, which lack ${formatSize(missingBytes)} of ${countOf(imagesMissing, 'image')}, on ${countOf(volumesMissing, 'volume')}`,
        ]
      : []
  return [...lacking, ...never].join('; ')
}

function describeScrub(scrub: NonNullable<OperatorStatus['keeping']['scrub']>): string {
  const oldest =
    scrub.oldestCheckAt === null ? '' : `; the oldest check is of ${formatAgo(Date.parse(scrub.oldestCheckAt))}`
  const slow = scrub.isTooSlow ? '; too slow to read everything in time' : ''
  return `${countOf(scrub.blobsRead, 'file')} read again, ${scrub.damageFound} found damaged${oldest}${slow}`
}
