import type { Command } from '@commander-js/extra-typings'
import type { JobDetails, JobSummary } from '../mirror/jobs.js'
import { formatAgo, formatDuration, formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { CommandFailure, type CommandSurroundings, MISUSED } from './command.js'
import { formatFacts } from './facts.js'
import { followJob } from './follow-job.js'
import { listAll } from './list-all.js'
import { addMirrorOptions } from './mirror-options.js'
import { addTableOptions, type Column, printTable } from './table.js'

const EXAMPLES = `
Jobs go on when whoever began them has left. The last that ended are remembered until the mirror is started again.

Examples:
  imgapi-mirror jobs                    what is under way, and what was
  imgapi-mirror jobs a1b2               one of them; as much of its uuid as is needed
  imgapi-mirror jobs a1b2 --follow      watch it to its end
  imgapi-mirror jobs a1b2 --cancel      have it stopped`

const COLUMNS: readonly Column<JobSummary>[] = [
  { name: 'id', value: ({ id }) => id },
  { name: 'state', value: ({ state }) => state },
  { name: 'done', value: (job) => shareOf(job), text: (job) => shareText(job), isRight: true },
  { name: 'title', value: ({ title }) => title, shrinksTo: 12 },
  { name: 'size', value: ({ totalBytes }) => totalBytes, text: (job) => sizeText(job), isRight: true, isMinor: true },
  { name: 'begun', value: ({ startedMs }) => startedMs, text: ({ startedMs }) => formatAgo(startedMs), isMinor: true },
  { name: 'by', value: ({ by }) => by, shrinksTo: 6, isMinor: true },
  { name: 'kind', value: ({ kind }) => kind, isExtra: true },
  { name: 'error', value: ({ error }) => error?.message, shrinksTo: 12, isExtra: true },
]

export function registerJobs(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('jobs')
    .description('long work: what is under way and what has ended')
    .argument('[id]', 'of one job, or how it begins')
    .option('-f, --follow', 'watch it to its end')
    .option('--cancel', 'have it stopped')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addTableOptions(command, COLUMNS)).action(async (beginning, options) => {
    if (beginning === '' || (beginning === undefined && (options.follow || options.cancel))) {
      throw new CommandFailure('which job? imgapi-mirror jobs lists them', MISUSED)
    }
    const mirror = await ApiClient.open(options, surroundings)
    const jobs = await listAll<JobSummary>(mirror, '/api/jobs', {})
    if (beginning === undefined) {
      printTable(jobs, COLUMNS, options, surroundings)
      return
    }
    const { id } = findJob(jobs, beginning)
    if (options.cancel) await mirror.delete(`/api/jobs/${id}`)
    const job = await mirror.get<JobDetails>(`/api/jobs/${id}`)
    if (options.follow) await followJob(mirror, job, options, surroundings)
    else if (options.json) surroundings.write(`${JSON.stringify(job, null, 2)}\n`)
    else if (options.cancel) surroundings.write(`${job.title}: is being stopped\n`)
    else surroundings.write(describe(job, surroundings.terminal?.columns()))
  })
}

function findJob(jobs: readonly JobSummary[], beginning: string): JobSummary {
  const [job, ...others] = jobs.filter(({ id }) => id.startsWith(beginning.toLowerCase()))
  if (!job) throw new CommandFailure(`there is no job ${beginning}; ones that ended long ago are forgotten`)
  if (others.length > 0) throw new CommandFailure(`${others.length + 1} jobs begin with ${beginning}; write more of it`)
  return job
}

function describe(job: JobDetails, columns: number | undefined): string {
  const tookMs = (job.endedMs ?? Date.now()) - job.startedMs
  const facts: (readonly [string, string])[] = [
    ['job', job.id],
    ['title', job.title],
    ['state', `${job.state}${job.error === null ? '' : `: ${job.error.message}`}`],
    ['by', job.by],
    ['begun', `${formatAgo(job.startedMs)}, ${job.endedMs === null ? 'so far' : 'took'} ${formatDuration(tookMs)}`],
    [
      'done',
      `${formatSize(job.doneBytes)}${job.totalBytes === null ? '' : ` of ${formatSize(job.totalBytes)}`}, ${job.itemsEnded} of ${job.itemCount}`,
    ],
    ...job.items.map(
      ({ doneBytes, name, note, sizeBytes, state }) =>
        [
          state,
          `${name}, ${formatSize(doneBytes)}${sizeBytes === null ? '' : ` of ${formatSize(sizeBytes)}`}${note === null ? '' : `: ${note}`}`,
        ] as const,
    ),
  ]
  return formatFacts(facts, columns)
}

function shareOf({ doneBytes, state, totalBytes }: JobSummary): number | undefined {
  if (state === 'done') return 1
  return totalBytes ? Math.min(1, doneBytes / totalBytes) : undefined
}

function shareText(job: JobSummary): string | undefined {
  const share = shareOf(job)
  return share === undefined ? undefined : `${Math.floor(100 * share)}%`
}

function sizeText({ totalBytes }: JobSummary): string | undefined {
  return totalBytes === null ? undefined : formatSize(totalBytes)
}
