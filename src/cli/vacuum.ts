import type { Command } from '@commander-js/extra-typings'
import type { VacuumAnswer } from '../mirror/operations/image-answers.js'
import { formatAgo, formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { countOf } from './facts.js'
import { addMirrorOptions } from './mirror-options.js'
import { printable } from './printable.js'
import { readSize } from './read-arguments.js'
import { addTableOptions, type Column, printTable } from './table.js'

const EXAMPLES = `
Goes by the rules by which images leave when room is needed: what nobody has read for the longest time first, never what is
pinned, published here, being read, or built on by something that stays.

Examples:
  imgapi-mirror vacuum -n              what would have to go to come below the quota
  imgapi-mirror vacuum -n --free 10GiB what would go to make as much room
  imgapi-mirror vacuum --free 10GiB    let it go`

type Evicted = VacuumAnswer['images'][number]

const COLUMNS: readonly Column<Evicted>[] = [
  { name: 'uuid', value: ({ uuid }) => uuid },
  { name: 'name', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'version', value: ({ version }) => version, shrinksTo: 7 },
  {
    name: 'frees',
    value: ({ freedBytes }) => freedBytes,
    text: ({ freedBytes }) => formatSize(freedBytes),
    isRight: true,
  },
  {
    name: 'read',
    value: ({ lastReadMs }) => lastReadMs,
    text: ({ lastReadMs }) => (lastReadMs === null ? 'never' : formatAgo(lastReadMs)),
    isMinor: true,
  },
]

export function registerVacuum(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('vacuum')
    .description('let go of images that nobody has read for long')
    .option('-n, --dry-run', 'only say what would go')
    .option('--free <size>', 'how much room to make, such as 10GiB; without it, as much as the quota demands')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addTableOptions(command, COLUMNS)).action(async (options) => {
    const bytes = options.free === undefined ? undefined : readSize(options.free)
    const mirror = await ApiClient.open(options, surroundings)
    const answer = await mirror.post<VacuumAnswer>('/api/vacuum', { bytes, dryRun: options.dryRun === true })
    const { dryRun, freedBytes, images, wantedBytes } = answer
    if (options.json) {
      surroundings.write(`${JSON.stringify(answer, null, 2)}\n`)
    } else {
      if (images.length > 0) printTable(images, COLUMNS, options, surroundings)
      if (!options.H) surroundings.write(describe(answer))
    }
    if (freedBytes < wantedBytes) {
      surroundings.complain(
        `imgapi-mirror: ${formatSize(wantedBytes)} ${dryRun ? 'are' : 'were'} wanted; everything else is pinned, in use, or needed\n`,
      )
      surroundings.exitWith(1)
    }
  })
}

function describe({ dryRun, freedBytes, images, others }: VacuumAnswer): string {
  const lines = others.map(({ freedBytes, what }) => `${printable(what)}: ${formatSize(freedBytes)}`)
  if (images.length + others.length === 0) return 'Nothing has to go.\n'
  const count = countOf(images.length, 'image')
  lines.push(
    dryRun
      ? `${count} would go, which frees ${formatSize(freedBytes)}.`
      : `${count} went, which freed ${formatSize(freedBytes)}.`,
  )
  return `${lines.join('\n')}\n`
}
