import type { Command } from '@commander-js/extra-typings'
import type { ImageRow } from '../mirror/operations/image-answers.js'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { BY_DATE, HELD_COLUMNS } from './image-table.js'
import { listAll } from './list-all.js'
import { addMirrorOptions } from './mirror-options.js'
import { readFilter } from './read-arguments.js'
import { addTableOptions, printTable } from './table.js'

const EXAMPLES = `
Examples:
  imgapi-mirror list                                 what is held here, whole and verified
  imgapi-mirror list -s -size -o uuid,name,size,read largest first, and when each was last read
  imgapi-mirror list name=base-64 -j                 everything about those, for programs`

export function registerList(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('list')
    .description('the images that are held here, whole and verified')
    .argument('[filters...]', 'such as name=~base os!=linux')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addTableOptions(command, HELD_COLUMNS)).action(async (filters, options) => {
    const filter = readFilter(filters)
    const mirror = await ApiClient.open(options, surroundings)
    const images = await listAll<ImageRow>(mirror, '/api/images', { filter, held: true })
    printTable(images, HELD_COLUMNS, options, surroundings, BY_DATE)
  })
}
