import type { Command } from '@commander-js/extra-typings'
import { addDirectoryOptions } from './ask-or-read.js'
import type { CommandSurroundings } from './command.js'
import { BY_DATE, HELD_COLUMNS } from './image-table.js'
import { listImages } from './list-images.js'
import { readFilter } from './read-arguments.js'
import { addTableOptions, printTable } from './table.js'

const EXAMPLES = `
Examples:
  imgapi-mirror list                                 what is held here, whole and verified
  imgapi-mirror list -s -size -o uuid,name,size,read largest first, and when each was last read
  imgapi-mirror list name=base-64 -j                 everything about those, for programs
  imgapi-mirror list --data /mnt/imgapi-mirror       of a directory that no mirror here uses`

export function registerList(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('list')
    .description('the images that are held here, whole and verified')
    .argument('[filters...]', 'such as name=~base os!=linux')
    .addHelpText('after', EXAMPLES)
  addDirectoryOptions(addTableOptions(command, HELD_COLUMNS)).action(async (filters, options) => {
    const filter = readFilter(filters)
    const images = await listImages({ filter, isHeld: true }, options, surroundings)
    printTable(images, HELD_COLUMNS, options, surroundings, BY_DATE)
  })
}
