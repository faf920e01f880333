import type { Command } from '@commander-js/extra-typings'
import type { ClaimFacts, HeldFileFacts, ImageDetails, PinFacts } from '../mirror/operations/image-answers.js'
import { formatAgo, formatSize, formatTime } from './amounts.js'
import { addDirectoryOptions, askOrRead } from './ask-or-read.js'
import type { CommandSurroundings } from './command.js'
import { formatFacts } from './facts.js'
import { readUuid } from './read-arguments.js'

const EXAMPLES = `
Examples:
  imgapi-mirror show 04179d8e-188f-11e7-af8a-93349dd33f20      who has it, what we hold of it, its digests
  imgapi-mirror show -m 04179d8e-188f-11e7-af8a-93349dd33f20   its manifest, as imgadm show prints it
  imgapi-mirror show -j 04179d8e-188f-11e7-af8a-93349dd33f20   everything, for programs`

export function registerShow(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('show')
    .description('what is known of an image: its manifest, who has it, what we hold of it')
    .argument('<uuid>', 'of the image')
    .option('-m, --manifest', 'print its manifest, as clients get it')
    .option('-j, --json', 'print JSON, whole, for programs')
    .addHelpText('after', EXAMPLES)
  addDirectoryOptions(command).action(async (text, options) => {
    const uuid = readUuid(text)
    const { image, knowsReads } = await askOrRead<Shown>(options, surroundings, {
      ask: async (mirror) => ({ image: await mirror.get(`/api/images/${uuid}`), knowsReads: true }),
      read: async ({ images }) => ({ image: await images.show(uuid, surroundings.stop), knowsReads: false }),
    })
    if (options.manifest) surroundings.write(`${JSON.stringify(image.manifest, null, 2)}\n`)
    else if (options.json) surroundings.write(`${JSON.stringify(image, null, 2)}\n`)
    else surroundings.write(describe({ image, knowsReads }, surroundings.terminal?.columns()))
  })
}

interface Shown {
  readonly image: ImageDetails
  /** A data directory does not say when anybody read a file last. */
  readonly knowsReads: boolean
}

function describe({ image, knowsReads }: Shown, columns: number | undefined): string {
  const { manifest } = image
  const facts: (readonly [string, string | readonly string[]])[] = [
    ['uuid', image.uuid],
    ['name', `${image.name} ${image.version}`],
    ...(typeof manifest.description === 'string' ? [['description', manifest.description] as const] : []),
    ['kind', `${image.type}, ${image.os}, ${image.state}${image.isPublic ? '' : ', not public'}`],
    ['published', formatTime(image.publishedMs) ?? '-'],
    ['origin', image.origin ?? 'none'],
    ['size', formatSize(image.sizeBytes)],
    ['held', image.heldSinceMs === null ? 'no' : `since ${formatTime(image.heldSinceMs)}, as ${image.upstream} has it`],
    ...(image.cameBy ? [['came by', describeBundle(image.cameBy)] as const] : []),
    ...(image.isHeld && knowsReads
      ? [['read', image.lastReadMs === null ? 'never' : formatAgo(image.lastReadMs)] as const]
      : []),
    ['pinned', image.pins.length === 0 ? 'no' : image.pins.map(describePin)],
    ...image.files.flatMap(factsOfFile),
    ['upstreams', image.claims.length === 0 ? 'none' : image.claims.map(describeClaim)],
    [
      'conflicts',
      image.conflicts.length === 0
        ? 'none'
        : image.conflicts.map(
            ({ differences, loser, winner }) => `${loser} says otherwise than ${winner}: ${differences.join(', ')}`,
          ),
    ],
  ]
  return formatFacts(facts, columns)
}

function describeBundle({ atMs, bundle, signedBy, site }: NonNullable<ImageDetails['cameBy']>): string {
  const who = signedBy ? `signed by the key ${signedBy.key}` : 'signed by nobody'
  const trust = signedBy?.isTrusted ? '' : ', and taken though nobody trusts that'
  return `bundle ${bundle.slice(0, 12)} from ${site}, ${formatTime(atMs)}, ${who}${trust}`
}

function describePin({ by, reason, sinceMs }: PinFacts): string {
  const since = sinceMs === null ? '' : `, since ${formatTime(sinceMs)}`
  return `by ${by}${since}${reason === null ? '' : `: ${reason}`}`
}

function factsOfFile({ checkedMs, extents, index, keptMs, md5, sha1, sha256, sizeBytes }: HeldFileFacts) {
  const from = extents.map(
    ({ endBytes, startBytes, upstream }) =>
      `${upstream}${extents.length > 1 ? ` (bytes ${startBytes} to ${endBytes})` : ''}`,
  )
  return [
    [
      `file ${index}`,
      `${sizeBytes} bytes, from ${from.length === 0 ? 'another image that has the same' : from.join(', ')}`,
    ],
    ['sha256', sha256],
    ['sha1', sha1],
    ['md5', md5],
    [
      'checked',
      `kept ${formatTime(keptMs)}, ${checkedMs === null ? 'not read again since' : `last found right ${formatAgo(checkedMs)}`}`,
    ],
  ] as const
}

function describeClaim({ isListed, lastHeardMs, sha1, sizeBytes, upstream, withdrawnMs }: ClaimFacts): string {
  const file = sha1 === null ? '' : `, sha1 ${sha1}${sizeBytes === null ? '' : `, ${sizeBytes} bytes`}`
  const state =
    withdrawnMs === null
      ? isListed
        ? 'lists it'
        : 'has it, but does not list it'
      : `withdrew it ${formatAgo(withdrawnMs)}`
  return `${upstream}: ${state}${file}, heard ${formatAgo(lastHeardMs)}`
}
