import type { JobDetails, JobSummary } from '../mirror/jobs.js'
import { formatDuration, formatSize } from './amounts.js'
import type { ApiClient } from './api-client.js'
import { CommandFailure } from './command.js'
import { fitText } from './facts.js'
import { printable } from './printable.js'
import { Progress } from './progress.js'
import type { Surroundings } from './surroundings.js'

/** From the first of `lines` drawn lines, erases to the end of the screen. */
const erase = (lines: number) => (lines === 0 ? '' : `\r\u001b[${lines}A\u001b[J`)

interface Showing {
  /** Nothing is shown then: the result is for the command to print. */
  readonly json?: true | undefined
}

/**
 * Shows how far a job of the mirror is until it ends. Ctrl-C ends the showing; the work goes on in the mirror. Answers how it ended.
 *
 * @throws CommandFailure when the job failed or was cancelled, when we were told to stop, or when the mirror went away.
 */
export async function followJob(
  mirror: ApiClient,
  job: JobSummary,
  showing: Showing,
  surroundings: Pick<Surroundings, 'stop' | 'terminal' | 'write'>,
): Promise<JobDetails> {
  const { stop } = surroundings
  const events = mirror.events<JobDetails>(`/api/jobs/${encodeURIComponent(job.id)}/events`, stop)
  const ended = await watchJob(events, showing, surroundings)
  if (ended) return ended
  if (stop.aborted) {
    throw new CommandFailure(`the mirror goes on; to look again: imgapi-mirror jobs ${job.id.slice(0, 8)} --follow`)
  }
  throw new CommandFailure(`the mirror went away, and what has become of job ${job.id} with it`)
}

/**
 * Shows what is told of a job: drawn in place on a terminal, plain lines otherwise. Answers how it ended; `undefined` when nothing more
 * is told, and it has not.
 *
 * @throws CommandFailure when the job failed or was cancelled.
 */
export async function watchJob(
  events: AsyncIterable<JobDetails>,
  { json }: Showing,
  { stop, terminal, write }: Pick<Surroundings, 'stop' | 'terminal' | 'write'>,
): Promise<JobDetails | undefined> {
  const progress = new Progress()
  let drawn = 0
  let last: JobDetails | undefined
  const show = (lines: readonly string[], standing: readonly string[]) => {
    const text = [...lines, ...standing].map((line) => `${line}\n`).join('')
    if (text !== '' || drawn > 0) write(`${erase(drawn)}${text}`)
    drawn = standing.length
  }
  for await (const event of events) {
    last = event
    if (json) continue
    const nowMs = performance.now()
    const lines = progress.take(event, nowMs)
    if (terminal)
      show(
        lines.map((line) => cut(line, terminal.columns())),
        event.state === 'running' ? progress.draw(terminal.columns()) : [],
      )
    else show([...lines, ...asList(progress.sayNowAndThen(nowMs))], [])
  }
  if (last && last.state !== 'running') return endOf(last, json, (text) => write(fitText(text, terminal?.columns())))
  // Behind the ^C that a terminal shows.
  if (stop.aborted && terminal && !json) write('\n')
  return undefined
}

function endOf(job: JobDetails, json: true | undefined, write: (text: string) => void): JobDetails {
  if (job.state !== 'done') throw new CommandFailure(`${printable(job.error?.message ?? job.title)} (job ${job.id})`)
  if (!json) write(`${printable(job.title)}: ${describeEnd(job)}\n`)
  return job
}

function describeEnd({ doneBytes, endedMs, startedMs, itemCount }: JobSummary): string {
  const tookMs = (endedMs ?? startedMs) - startedMs
  const rate = tookMs >= 1000 && doneBytes > 0 ? `, ${formatSize((doneBytes * 1000) / tookMs)}/s` : ''
  const bytes =
    doneBytes > 0 ? `, ${formatSize(doneBytes)}${tookMs >= 1000 ? ` in ${formatDuration(tookMs)}${rate}` : ''}` : ''
  return `done${itemCount > 0 ? `, ${itemCount} of ${itemCount}` : ''}${bytes}`
}

/** A line that wrapped would be two, of which the next drawing knows nothing. */
function cut(line: string, columns: number): string {
  const characters = [...line]
  return characters.length < columns ? line : `${characters.slice(0, columns - 2).join('')}…`
}

function asList<Value>(value: Value | undefined): Value[] {
  return value === undefined ? [] : [value]
}
