import type { Command } from '@commander-js/extra-typings'
import type { Uuid } from '../images/uuid.js'
import type { JobSummary } from '../mirror/jobs.js'
import type { RestingImages, RestingVerification } from '../mirror/operations/resting-images.js'
import { asNotHeld } from './as-not-held.js'
import { addDirectoryOptions, askOrRead } from './ask-or-read.js'
import { CommandFailure, type CommandSurroundings, FAILED, MISUSED, NOT_HELD } from './command.js'
import { countOf } from './facts.js'
import { watchJob } from './follow-job.js'
import { readUuid } from './read-arguments.js'
import { addJobOptions, type JobOptions, runJob } from './run-job.js'
import { tellVerification } from './tell-verification.js'

const EXAMPLES = `
Every byte is read and hashed again. What is damaged is set aside, and fetched anew where that can be. When no mirror
runs, or with --data, the data directory is read here, every digest is compared, and nothing is changed.

Examples:
  imgapi-mirror verify                                        everything that is held
  imgapi-mirror verify 04179d8e-188f-11e7-af8a-93349dd33f20   one image
  imgapi-mirror verify --data /mnt/imgapi-mirror              a copy, or a directory that no mirror here uses

Exits with 1 when anything is damaged and was not mended, 3 when an image is not held.`

export function registerVerify(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('verify')
    .description('read held images again, and compare them with their digests')
    .argument('[uuids...]', 'of the images; all that are held, without it')
    .addHelpText('after', EXAMPLES)
  addDirectoryOptions(addJobOptions(command)).action(async (texts, options) => {
    const uuids = texts.map(readUuid)
    await askOrRead(options, surroundings, {
      ask: async (mirror) => {
        const question = mirror.post<JobSummary>('/api/verify', uuids.length > 0 ? { uuids } : {})
        const ended = await runJob(mirror, await question.catch(asNotHeld), options, surroundings)
        if (ended) tellVerification(ended, options, surroundings)
      },
      read: (data) => readAll(data, uuids, options, surroundings),
    })
  })
}

/** @throws CommandFailure when an image is not held, or we were told to stop. */
async function readAll(
  data: RestingImages,
  uuids: readonly Uuid[],
  { json, wait }: JobOptions,
  surroundings: CommandSurroundings,
): Promise<void> {
  const { exitWith, stop, write } = surroundings
  if (!wait) throw new CommandFailure('--no-wait has a mirror begin, and no mirror runs here', MISUSED)
  const absent = uuids.find((uuid) => !data.isHeld(uuid))
  if (absent) throw new CommandFailure(`image ${absent} is not held in ${data.path}`, NOT_HELD)
  const job = data.verify(uuids.length > 0 ? uuids : undefined)
  const ended = await watchJob(job.follow(stop), { json }, surroundings)
  if (!ended) {
    const { itemCount, itemsEnded } = job.summary()
    throw new CommandFailure(`stopped after ${itemsEnded} of ${itemCount}; nothing was changed`)
  }
  const { damaged, damagedRecords, good } = ended.result as RestingVerification
  if (damaged + damagedRecords > 0) exitWith(FAILED)
  const records = damagedRecords > 0 ? `, ${countOf(damagedRecords, 'record')} of images damaged` : ''
  const words = `${countOf(good, 'file')} good, ${damaged} damaged${records}`
  write(`${json ? JSON.stringify(ended, null, 2) : words}\n`)
}
