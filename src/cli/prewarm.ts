import type { Command } from '@commander-js/extra-typings'
import type { JobSummary } from '../mirror/jobs.js'
import type { PrewarmAnswer, PrewarmPolicyStatus } from '../mirror/operations/prewarm-answers.js'
import { formatAgo, formatMinute, formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { addJobOptions, runJob } from './run-job.js'
import { addTableOptions, type Column, printTable } from './table.js'

const EXAMPLES = `
Examples:
  imgapi-mirror prewarm                    how it stands with each policy
  imgapi-mirror prewarm run                fetch now, whether windows are open or not; budgets hold
  imgapi-mirror prewarm run nightly        only for that policy
  imgapi-mirror jobs --cancel UUID         no more until the next window`

const RUN_EXAMPLES = `
Windows of the policies do not hold then, but their budgets do, and so does a line that is closed. Ctrl-C ends the looking on;
the mirror goes on fetching.

Examples:
  imgapi-mirror prewarm run
  imgapi-mirror prewarm run nightly --no-wait`

const COLUMNS: readonly Column<PrewarmPolicyStatus>[] = [
  { name: 'policy', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'state', value: ({ state }) => state },
  {
    name: 'held',
    value: ({ images }) => images.held,
    text: ({ images }) => `${images.held}/${images.wanted}`,
    isRight: true,
  },
  {
    name: 'missing',
    value: ({ missingBytes }) => missingBytes,
    text: ({ missingBytes }) => formatSize(missingBytes),
    isRight: true,
  },
  {
    name: 'opens',
    value: ({ nextOpeningMs }) => nextOpeningMs,
    text: ({ nextOpeningMs }) => (nextOpeningMs === null ? undefined : formatAgo(Math.max(nextOpeningMs, Date.now()))),
  },
  { name: 'done', value: ({ doneMs }) => doneMs, text: ({ doneMs }) => formatMinute(doneMs) },
  {
    name: 'deadline',
    value: ({ deadlineMs }) => deadlineMs,
    text: ({ deadlineMs, isBehind }) => (isBehind ? `${formatMinute(deadlineMs)} behind` : formatMinute(deadlineMs)),
    isMinor: true,
  },
  {
    name: 'budget',
    value: ({ budget }) => budget && budget.bytes - budget.spentBytes,
    text: ({ budget }) => (budget ? `${formatSize(budget.spentBytes)} of ${formatSize(budget.bytes)}` : undefined),
    isMinor: true,
  },
  {
    name: 'ran',
    value: ({ lastRun }) => lastRun?.endedMs,
    text: ({ lastRun }) => (lastRun === null ? undefined : formatAgo(lastRun.endedMs)),
    isMinor: true,
  },
  { name: 'late', value: ({ images }) => images.late + images.never, isRight: true, isExtra: true },
  { name: 'noroom', value: ({ images }) => images.noRoom, isRight: true, isExtra: true },
]

export function registerPrewarm(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('prewarm')
    .description('how it stands with what is fetched before anyone asks; run fetches it now')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addTableOptions(command, COLUMNS)).action(async (options) => {
    const mirror = await ApiClient.open(options, surroundings)
    const answer = await mirror.get<PrewarmAnswer>('/api/prewarm')
    if (options.json) surroundings.write(`${JSON.stringify(answer, null, 2)}\n`)
    else if (answer.policies.length === 0) surroundings.write('The configuration has no prewarm policy.\n')
    else printTable(answer.policies, COLUMNS, options, surroundings)
  })
  const run = command
    .command('run')
    .description('fetch now what policies want')
    .argument('[policies...]', 'by name; all, without any')
    .addHelpText('after', RUN_EXAMPLES)
  addMirrorOptions(addJobOptions(run)).action(async (names, options) => {
    const policies = names.length === 0 ? undefined : names
    const mirror = await ApiClient.open(options, surroundings)
    const job = await mirror.post<JobSummary>('/api/prewarm', { policies })
    await runJob(mirror, job, options, surroundings)
  })
}
