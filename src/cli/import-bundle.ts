import { resolve } from 'node:path'
import type { Command } from '@commander-js/extra-typings'
import type { ImportResult } from '../bundle/bundles.js'
import type { JobSummary } from '../mirror/jobs.js'
import { formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { type BundlesAnswer, describeLacking } from './bundles-answer.js'
import { CommandFailure, type CommandSurroundings, FAILED, MISUSED, NOT_HELD } from './command.js'
import { countOf, fitText } from './facts.js'
import { addMirrorOptions } from './mirror-options.js'
import { printable } from './printable.js'
import { addJobOptions, runJob } from './run-job.js'

const EXAMPLES = `
Volumes may come in any order, and any number of times. Every byte is proved before it counts, what is here already is not written again, and an
image appears when all of it is here, with all it builds on. If the medium is pulled out, or the mirror ends, the same command goes on.

Examples:
  imgapi-mirror import-bundle /media/usb
  imgapi-mirror import-bundle /media/usb --request /media/usb/request.inv   and write down what is lacking, for export --for

Exits with 0 when nothing is lacking, with 3 when something is still, with 1 when something was refused.`

export function registerImportBundle(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('import-bundle')
    .description('take in images that somebody has carried here, verified')
    .argument('<directory>', 'of this machine: a volume of a bundle, or with volumes in it')
    .option('--request <file>', 'write there what is held and what is lacking, to be carried back')
    .option('--allow-untrusted', 'take bundles that nobody we trust has signed; the ledger tells')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addJobOptions(command)).action(async (directory, options) => {
    if (options.request !== undefined && !options.wait) {
      throw new CommandFailure('--request is known when the import has ended: without --no-wait', MISUSED)
    }
    const mirror = await ApiClient.open(options, surroundings)
    if (options.request !== undefined) await refuseBehindDiode(mirror)
    const job = await mirror.post<JobSummary>('/api/bundles/import', {
      path: resolve(directory),
      ...(options.allowUntrusted && { isUntrustedAllowed: true }),
    })
    const { request } = options
    const ended = await runJob(mirror, job, options, surroundings).catch(async (error: unknown) => {
      // What came of it is held, and the rest lacking: for want of room, say.
      if (request !== undefined && (await hasFailed(mirror, job))) await writeRequest(mirror, request, surroundings)
      throw error
    })
    if (!ended) return
    const result = ended.result as ImportResult
    const isRefused = result.imagesRefused.length > 0 || result.volumes.some(({ outcome }) => outcome === 'refused')
    if (isRefused) surroundings.exitWith(FAILED)
    else if (result.lacking.length > 0) surroundings.exitWith(NOT_HELD)
    if (!options.json) {
      surroundings.write(`${fitText(describe(result).join('\n'), surroundings.terminal?.columns())}\n`)
    }
    if (request !== undefined) await writeRequest(mirror, request, surroundings)
  })
}

/** And is not merely out of sight. */
async function hasFailed(mirror: ApiClient, { id }: JobSummary): Promise<boolean> {
  const job = await mirror.get<JobSummary>(`/api/jobs/${id}`).catch(() => undefined)
  return job?.state === 'failed'
}

/** Before anything is begun: whoever asks for a request means to carry it. */
async function refuseBehindDiode(mirror: ApiClient): Promise<void> {
  const { isDiode } = await mirror.get<BundlesAnswer>('/api/bundles')
  if (!isDiode) return
  const instead = 'without --request it takes in what came, and imgapi-mirror bundles --gaps says what did not'
  throw new CommandFailure(`--request: no way leads back from this mirror (bundles.diode); ${instead}`, MISUSED)
}

async function writeRequest(
  mirror: ApiClient,
  path: string,
  { writeFile, complain }: CommandSurroundings,
): Promise<void> {
  const { text } = await mirror.get<{ text: string }>('/api/bundles/request')
  await writeFile?.(resolve(path), text)
  complain(printable(`the request is in ${path}: carry it to where bundles are made, for export --for`))
  complain('\n')
}

function describe({ imagesHeld, imagesRefused, lacking, takenBytes, volumes }: ImportResult): string[] {
  const damaged = volumes.filter(({ outcome }) => outcome === 'damaged')
  const refused = volumes.filter(({ outcome }) => outcome === 'refused')
  return [
    `${countOf(imagesHeld, 'image')} came, ${formatSize(takenBytes)} taken from ${countOf(volumes.length, 'volume')}`,
    ...[...damaged, ...refused].map(({ directory, note, outcome }) => `${directory} is ${outcome}: ${note ?? ''}`),
    ...imagesRefused.map(
      ({ name, uuid, version, why }) => `image ${uuid} (${name} ${version}) is not taken: it ${why}`,
    ),
    ...lacking.flatMap(describeLacking),
    ...(lacking.length === 0 && refused.length === 0 ? ['nothing is lacking'] : []),
  ].map(printable)
}
