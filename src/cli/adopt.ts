import { resolve } from 'node:path'
import type { Command } from '@commander-js/extra-typings'
import type { JobSummary } from '../mirror/jobs.js'
import type { AdoptionResult } from '../mirror/operations/adoption.js'
import { formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { CommandFailure, type CommandSurroundings, FAILED } from './command.js'
import { countOf } from './facts.js'
import { addMirrorOptions } from './mirror-options.js'
import { addJobOptions, runJob } from './run-job.js'

const EXAMPLES = `
Takes in what a dsapid, an image server or another mirror has kept, or any directory with manifests and files. Every file is proved by its
digests before it counts; what is not taken is named, with the reason. The directory stays as it is.

Examples:
  imgapi-mirror adopt /data/dsapid/files

Exits with 1 when anything was not taken, or nothing found.`

export function registerAdopt(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('adopt')
    .description('take in images that lie in a directory of this machine, verified')
    .argument('<directory>', 'of a dsapid, an image server, another mirror, or with manifests and files')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addJobOptions(command)).action(async (directory, options) => {
    const mirror = await ApiClient.open(options, surroundings)
    const job = await mirror.post<JobSummary>('/api/adopt', { path: resolve(directory) })
    const ended = await runJob(mirror, job, options, surroundings)
    if (!ended) return
    const { adopted, adoptedBytes, alreadyHeld, found, refused } = ended.result as AdoptionResult
    if (refused > 0 || found === 0) surroundings.exitWith(FAILED)
    if (options.json) return
    if (found + refused === 0) {
      throw new CommandFailure(
        `${directory} has no image that is known by a manifest: what is looked for are files named manifest, *.json, *.imgmanifest, ` +
          '*.dsmanifest or *.manifest, and beside them, under any name, the image files that they promise',
      )
    }
    surroundings.write(
      `${countOf(adopted, 'image')} taken in (${formatSize(adoptedBytes)}), ${alreadyHeld} held already, ${refused} not taken\n`,
    )
  })
}
