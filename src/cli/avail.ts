import type { Command } from '@commander-js/extra-typings'
import { addDirectoryOptions } from './ask-or-read.js'
import type { CommandSurroundings } from './command.js'
import { AVAILABLE_COLUMNS, BY_DATE } from './image-table.js'
import { listImages } from './list-images.js'
import { readFilter } from './read-arguments.js'
import { addTableOptions, printTable } from './table.js'

const EXAMPLES = `
A filter is a field of the manifest, one of = != =~ !~ >= <=, and a value; all of them must hold.

Examples:
  imgapi-mirror avail                                   every image that can be had here
  imgapi-mirror avail name=~base os!=linux              those whose name has "base" in it, and not for linux
  imgapi-mirror avail 'published_at>=2024-01-01' -s -size -o uuid,name,size
  imgapi-mirror avail -H -o uuid type=lx-dataset        for a script`

export function registerAvail(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('avail')
    .description('the images that can be had from this mirror')
    .argument('[filters...]', 'such as name=~base os!=linux')
    .addHelpText('after', EXAMPLES)
  addDirectoryOptions(addTableOptions(command, AVAILABLE_COLUMNS)).action(async (filters, options) => {
    const filter = readFilter(filters)
    const images = await listImages({ filter }, options, surroundings)
    printTable(images, AVAILABLE_COLUMNS, options, surroundings, BY_DATE)
  })
}
