import type { Command } from '@commander-js/extra-typings'
import type { JobSummary } from '../mirror/jobs.js'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { readUuid } from './read-arguments.js'
import { addJobOptions, runJob } from './run-job.js'

const EXAMPLES = `
What it builds on comes with it, and nothing that is held already is fetched again. Ctrl-C ends the looking on; the
mirror goes on fetching.

Examples:
  imgapi-mirror import 04179d8e-188f-11e7-af8a-93349dd33f20
  imgapi-mirror import --no-wait $(imgapi-mirror avail -H -o uuid name=base-64)`

export function registerImport(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('import')
    .description('fetch images now, with all that they build on')
    .argument('<uuids...>', 'of the images')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addJobOptions(command)).action(async (texts, options) => {
    const uuids = [...new Set(texts.map(readUuid))]
    const mirror = await ApiClient.open(options, surroundings)
    const job = await mirror.post<JobSummary>('/api/import', { uuids })
    await runJob(mirror, job, options, surroundings)
  })
}
