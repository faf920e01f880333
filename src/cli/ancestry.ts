import type { Command } from '@commander-js/extra-typings'
import type { AncestryAnswer } from '../mirror/operations/image-answers.js'
import { formatSize } from './amounts.js'
import { addDirectoryOptions, askOrRead } from './ask-or-read.js'
import { CommandFailure, type CommandSurroundings } from './command.js'
import { ANCESTRY_COLUMNS } from './image-table.js'
import { readUuid } from './read-arguments.js'
import { addTableOptions, printTable } from './table.js'

const EXAMPLES = `
Examples:
  imgapi-mirror ancestry 04179d8e-188f-11e7-af8a-93349dd33f20               what it builds on, down to the base
  imgapi-mirror ancestry -H -o uuid 04179d8e-188f-11e7-af8a-93349dd33f20    for a script

Exits with 1 when a part of it is missing.`

export function registerAncestry(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('ancestry')
    .description('an image and what it builds on: itself first, the base last')
    .argument('<uuid>', 'of the image')
    .addHelpText('after', EXAMPLES)
  addDirectoryOptions(addTableOptions(command, ANCESTRY_COLUMNS)).action(async (text, options) => {
    const uuid = readUuid(text)
    const ancestry = await askOrRead<AncestryAnswer>(options, surroundings, {
      ask: (mirror) => mirror.get(`/api/images/${uuid}/ancestry`),
      read: ({ images }) => images.ancestry(uuid, surroundings.stop),
    })
    if (options.json) surroundings.write(`${JSON.stringify(ancestry, null, 2)}\n`)
    else printTable(ancestry.images, ANCESTRY_COLUMNS, options, surroundings)
    const { broken, bytesToPull, missing } = ancestry
    if (missing !== null) throw new CommandFailure(`its origin ${missing} is nowhere to be had`)
    if (broken !== null) throw new CommandFailure(broken)
    const isForPeople = !options.json && !options.H && surroundings.terminal
    if (isForPeople && bytesToPull > 0) surroundings.write(`${formatSize(bytesToPull)} are still to be fetched.\n`)
  })
}
