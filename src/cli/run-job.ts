import type { Command, OptionValues } from '@commander-js/extra-typings'
import type { JobDetails, JobSummary } from '../mirror/jobs.js'
import type { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { followJob } from './follow-job.js'

/** What the options of `addJobOptions` come to. */
export interface JobOptions {
  /** False for `--no-wait`. */
  readonly wait: boolean
  readonly json?: true | undefined
}

/** Gives a command that starts long work `--no-wait` and `-j`. */
export function addJobOptions<Args extends unknown[], Options extends OptionValues>(command: Command<Args, Options>) {
  return command
    .option('--no-wait', 'only have it begun, and print the uuid of the job')
    .option('-j, --json', 'print JSON, whole, for programs')
}

/**
 * Follows a job to its end, and answers it; with `--no-wait`, prints its uuid instead.
 * @throws CommandFailure as followJob.
 */
export async function runJob(
  mirror: ApiClient,
  job: JobSummary,
  options: JobOptions,
  surroundings: CommandSurroundings,
): Promise<JobDetails | undefined> {
  const { write } = surroundings
  if (!options.wait) {
    write(options.json ? `${JSON.stringify(job, null, 2)}\n` : `${job.id}\n`)
    return undefined
  }
  const ended = await followJob(mirror, job, options, surroundings)
  if (options.json) write(`${JSON.stringify(ended, null, 2)}\n`)
  return ended
}
