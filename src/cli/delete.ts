import type { Command } from '@commander-js/extra-typings'
import type { RemovalAnswer } from '../mirror/operations/image-answers.js'
import { formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { asNotHeld } from './as-not-held.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { readUuid } from './read-arguments.js'

const EXAMPLES = `
It stays in the lists, and is fetched again when somebody asks for it. Pinned images, and those that others which are held
build on, are not let go.

Examples:
  imgapi-mirror delete 04179d8e-188f-11e7-af8a-93349dd33f20

Exits with 3 when it is not held.`

export function registerDelete(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('delete')
    .description('let go of images that are held')
    .argument('<uuids...>', 'of the images')
    .option('-j, --json', 'print JSON, for programs')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(command).action(async (texts, options) => {
    const uuids = texts.map(readUuid)
    const mirror = await ApiClient.open(options, surroundings)
    const removals: RemovalAnswer[] = []
    for (const uuid of uuids) {
      const removal = await mirror.delete<RemovalAnswer>(`/api/images/${uuid}`).catch(asNotHeld)
      removals.push(removal)
      if (!options.json) surroundings.write(`${uuid} is let go of; ${formatSize(removal.freedBytes)} are free again\n`)
    }
    if (options.json) surroundings.write(`${JSON.stringify(removals, null, 2)}\n`)
  })
}
