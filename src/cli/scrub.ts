import type { Command } from '@commander-js/extra-typings'
import type { JobSummary } from '../mirror/jobs.js'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { addJobOptions, runJob } from './run-job.js'
import { tellVerification } from './tell-verification.js'

const EXAMPLES = `
The mirror reads everything it keeps again by itself, slowly (scrub in the configuration). This has it done now.

Examples:
  imgapi-mirror scrub
  imgapi-mirror scrub --no-wait`

export function registerScrub(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('scrub')
    .description('read again now all that is kept: files, manifests, claims and the index')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addJobOptions(command)).action(async (options) => {
    const mirror = await ApiClient.open(options, surroundings)
    const job = await mirror.post<JobSummary>('/api/scrub')
    const ended = await runJob(mirror, job, options, surroundings)
    if (ended) tellVerification(ended, options, surroundings)
  })
}
