import type { Command } from '@commander-js/extra-typings'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { readCount, readFilter } from './read-arguments.js'

const EXAMPLES = `
It says which images and files are held here, in part, too, and is signed with the mirror's key: whoever exports for it then packs only what
is missing. A thousand images are a few kilobytes, in lines that can be printed, typed and scanned: each has a number, and characters
that check it.

Examples:
  imgapi-mirror inventory > site.inv
  imgapi-mirror inventory --select name=~base-64 --latest 2 > site.inv    and says what is wanted`

export function registerInventory(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('inventory')
    .description('print what is held, signed, for whoever packs a bundle for this mirror')
    .option('--select <filter...>', 'what is wanted of them, held or not: filters as list takes them')
    .option('--latest <count>', 'of what is wanted, the newest so many of each name')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(command).action(async ({ select = [], latest: said, ...options }) => {
    const latest = said === undefined ? undefined : readCount(said)
    const mirror = await ApiClient.open(options, surroundings)
    const { text } = await mirror.get<{ text: string }>('/api/inventory', { select: readFilter(select), latest })
    surroundings.write(text)
  })
}
