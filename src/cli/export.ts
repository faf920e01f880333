import { resolve } from 'node:path'
import type { Command } from '@commander-js/extra-typings'
import type { ExportPlan, ExportResult } from '../bundle/bundles.js'
import { parseUuid } from '../images/uuid.js'
import type { JobSummary } from '../mirror/jobs.js'
import { formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { CommandFailure, type CommandSurroundings, FAILED, MISUSED } from './command.js'
import { countOf, fitText } from './facts.js'
import { addMirrorOptions } from './mirror-options.js'
import { printable } from './printable.js'
import { readCount, readFilter, readSize } from './read-arguments.js'
import { readTextFile } from './read-text-file.js'
import { addJobOptions, runJob } from './run-job.js'
import { type Column, printTable } from './table.js'

const EXAMPLES = `
With --for, what the site of the inventory lacks: of files, only the parts that are not there. Without --select, what the inventory wants; or,
if it wants nothing in particular, all that is held. Images that are not public go along only if they are named by uuid, or selected by
public=false. Whatever they build on comes along, or is there. What is not held is pulled first.

What was broken off goes on when the same is asked again; the same bundle is always the same bytes.

Examples:
  imgapi-mirror export --for site.inv --select name=~base-64 --latest 2 -o /media/usb --dry-run
  imgapi-mirror export --for site.inv --volume-size 4GB --volumes 1,2 -o /media/usb
  imgapi-mirror export --series weekly --since 2026-01-01 -o /media/usb      for somebody who cannot answer

Exits with 1 when anything that was selected was left out.`

type Planned = ExportPlan['images'][number]

const COLUMNS: readonly Column<Planned>[] = [
  { name: 'uuid', value: ({ uuid }) => uuid },
  { name: 'name', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'version', value: ({ version }) => version, shrinksTo: 7 },
  { name: 'why', value: ({ why }) => why, isMinor: true },
  {
    name: 'size',
    value: ({ sizeBytes }) => sizeBytes,
    text: ({ sizeBytes }) => formatSize(sizeBytes),
    isRight: true,
    isMinor: true,
  },
  {
    name: 'packed',
    value: ({ bundledBytes }) => bundledBytes,
    text: ({ bundledBytes }) => formatSize(bundledBytes),
    isRight: true,
  },
  {
    name: 'pulled',
    value: ({ pulledBytes }) => pulledBytes,
    text: ({ pulledBytes }) => (pulledBytes === 0 ? undefined : formatSize(pulledBytes)),
    isRight: true,
    isMinor: true,
  },
]

export function registerExport(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('export')
    .description('pack images into a bundle, to be carried to where there is no network')
    .option('-o, --out <directory>', 'where it goes: a directory on the machine of the mirror, such as a mounted stick')
    .option('--for <inventory>', 'a file with the inventory of the mirror that it is for')
    .option('--select <filter...>', 'which images: filters as list takes them, which must all match; or uuids')
    .option('--latest <count>', 'of these, the newest so many of each name')
    .option('--by <what>', 'what newest means: version or date (default: version)')
    .option(
      '--since <time or bundle>',
      'only what came to be held since, as in 2026-01-31; or what a bundle did not have',
    )
    .option('--series <name>', 'count it in a series, so that who cannot answer can tell whether one is missing')
    .option('--volume-size <size>', 'split it into volumes, such as 4GB, one for each medium')
    .option('--volumes <numbers>', 'write only these, such as 2,3')
    .option('--parity <percent>', 'so much is added to heal bad sectors by, 0% to 50% (default: 10%)')
    .option('--allow-untrusted', 'take an inventory that nobody we trust has signed')
    .option('-n, --dry-run', 'only say what would be written')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addJobOptions(command)).action(async (options) => {
    if (options.out === undefined && !options.dryRun) {
      throw new CommandFailure('-o says where it goes, such as -o /media/usb; --dry-run needs no place', MISUSED)
    }
    const request = {
      select: readSelection(options.select ?? []),
      latest: options.latest === undefined ? undefined : readCount(options.latest),
      by: readBy(options.by),
      inventory: options.for === undefined ? undefined : await readTextFile(options.for, surroundings),
      ...readSince(options.since),
      out: options.out === undefined ? undefined : resolve(options.out),
      volumeBytes: options.volumeSize === undefined ? undefined : readSize(options.volumeSize),
      volumes: options.volumes?.split(',').map((text) => readCount(text.trim())),
      parityPercent: options.parity === undefined ? undefined : readPercent(options.parity),
      series: options.series,
      isUntrustedAllowed: options.allowUntrusted,
    }
    const mirror = await ApiClient.open(options, surroundings)
    if (options.dryRun) {
      const plan = await mirror.post<ExportPlan>('/api/bundles/plan', request)
      if (options.json) surroundings.write(`${JSON.stringify(plan, null, 2)}\n`)
      else tellPlan(plan, request.out, surroundings)
      if (plan.warnings.length > 0) surroundings.exitWith(FAILED)
      return
    }
    const job = await mirror.post<JobSummary>('/api/bundles/export', request)
    const ended = await runJob(mirror, job, options, surroundings)
    if (!ended) return
    const result = ended.result as ExportResult
    if (result.warnings.length > 0) surroundings.exitWith(FAILED)
    if (!options.json) tellResult(result, surroundings)
  })
}

function tellPlan(plan: ExportPlan, out: string | undefined, surroundings: CommandSurroundings): void {
  const { freeBytes, id, images, pulledBytes, sizeBytes, volumes } = plan
  if (images.length > 0) printTable(images, COLUMNS, {}, surroundings)
  const lines: string[] = []
  if (volumes.length > 1) {
    for (const { directory, isWritten, sizeBytes: volumeBytes, volume } of volumes) {
      // What it is called is known when all is here.
      const name = id === null ? `volume ${volume}` : directory
      lines.push(`${name}: ${formatSize(volumeBytes)}${isWritten ? '' : ', not written now'}`)
    }
  }
  lines.push(...describeRest(plan))
  if (volumes.length > 0) {
    const name = id === null ? 'A bundle of' : `Bundle ${id.slice(0, 12)}:`
    const size = `${id === null ? 'about ' : ''}${formatSize(sizeBytes)} in ${countOf(volumes.length, 'volume')}`
    const free = freeBytes === null ? '' : `; ${out} has ${formatSize(freeBytes)} free`
    lines.push(`${name} ${countOf(images.length, 'image')}, ${size}${free}.`)
  }
  if (pulledBytes > 0) lines.push(`${formatSize(pulledBytes)} would be pulled first.`)
  tell(lines, surroundings)
  warn(plan, surroundings)
}

function tellResult(result: ExportResult, surroundings: CommandSurroundings): void {
  const { id, images, volumes, writtenBytes } = result
  const lines = describeRest(result)
  if (id !== null) {
    const written = volumes.filter(({ isWritten }) => isWritten)
    const places = written.map(({ directory }) => directory).join(', ')
    const count = countOf(images.length, 'image')
    lines.push(`Bundle ${id.slice(0, 12)}: ${count}, ${formatSize(writtenBytes)} in ${places}`)
    const rest = volumes.length - written.length
    if (rest > 0) lines.push(`${countOf(rest, 'volume')} of it ${rest === 1 ? 'is' : 'are'} not on this medium.`)
  }
  tell(lines, surroundings)
  warn(result, surroundings)
}

function describeRest({ alreadyThere, volumes }: ExportPlan): string[] {
  const there = alreadyThere > 0 ? [`The receiver has ${countOf(alreadyThere, 'image')} of these.`] : []
  return volumes.length === 0 ? [...there, 'Nothing is to be packed.'] : there
}

function tell(lines: readonly string[], { terminal, write }: CommandSurroundings): void {
  for (const line of lines) write(`${fitText(line, terminal?.columns())}\n`)
}

function warn({ warnings }: ExportPlan, { complain, terminal }: CommandSurroundings): void {
  for (const warning of warnings) complain(`${fitText(`imgapi-mirror: ${printable(warning)}`, terminal?.columns())}\n`)
}

/** Filters are checked here, uuids stand for themselves. */
function readSelection(texts: readonly string[]): string[] {
  const [uuids, filters] = [texts.filter((text) => parseUuid(text)), texts.filter((text) => !parseUuid(text))]
  const filter = readFilter(filters)
  return filter === undefined ? uuids : [filter, ...uuids]
}

function readBy(text: string | undefined): 'version' | 'date' | undefined {
  if (text === undefined || text === 'version' || text === 'date') return text
  throw new CommandFailure(`--by: "${text}" is neither version nor date`, MISUSED)
}

function readSince(text: string | undefined): { sinceMs?: number; sinceBundle?: string } {
  if (text === undefined) return {}
  const id = /^(?:imgapi-)?([0-9a-f]{8,64})$/.exec(text)?.[1]
  if (id !== undefined) return { sinceBundle: id }
  const ms = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z)?$/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(ms)) return { sinceMs: ms }
  throw new CommandFailure(`--since: "${text}" is no time, such as 2026-01-31, and no id of a bundle`, MISUSED)
}

function readPercent(text: string): number {
  const percent = /^(\d{1,2})%?$/.exec(text)?.[1]
  if (percent !== undefined && Number(percent) <= 50) return Number(percent)
  throw new CommandFailure(`--parity: "${text}" is no share from 0% to 50%`, MISUSED)
}
