import type { Command } from '@commander-js/extra-typings'
import type { JobSummary } from '../mirror/jobs.js'
import { ApiClient } from './api-client.js'
import { asNotHeld } from './as-not-held.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { readUuid } from './read-arguments.js'
import { addJobOptions, runJob } from './run-job.js'
import { tellVerification } from './tell-verification.js'

const EXAMPLES = `
Every byte is read and hashed again. What is damaged is set aside, and fetched anew where that can be.

Examples:
  imgapi-mirror verify                                        everything that is held
  imgapi-mirror verify 04179d8e-188f-11e7-af8a-93349dd33f20   one image

Exits with 1 when anything is damaged and could not be mended, 3 when an image is not held.`

export function registerVerify(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('verify')
    .description('read held images again, and compare them with their digests')
    .argument('[uuids...]', 'of the images; all that are held, without it')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addJobOptions(command)).action(async (texts, options) => {
    const uuids = texts.map(readUuid)
    const mirror = await ApiClient.open(options, surroundings)
    const question = mirror.post<JobSummary>('/api/verify', uuids.length > 0 ? { uuids } : {})
    const job = await question.catch(asNotHeld)
    const ended = await runJob(mirror, job, options, surroundings)
    if (ended) tellVerification(ended, options, surroundings)
  })
}
