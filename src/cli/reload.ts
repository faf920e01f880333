import type { Command } from '@commander-js/extra-typings'
import type { ReloadAnswer } from '../mirror/operations/reload-answer.js'
import { ApiClient } from './api-client.js'
import type { CommandSurroundings } from './command.js'
import { addMirrorOptions } from './mirror-options.js'

const EXAMPLES = `
The mirror reads its config file again, and the files that it names. Nothing that is under way is cut. A file in which
anything is wrong is refused with all that is wrong, and what was in effect stays. SIGHUP does the same; then the log
tells what came of it. data, offline and log.format need a restart.

Examples:
  imgapi-mirror config check && imgapi-mirror reload
  imgapi-mirror reload -j`

export function registerReload(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('reload')
    .description('have the mirror read its configuration again, without cutting a transfer')
    .option('-j, --json', 'print what the mirror answers')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(command).action(async (options) => {
    const { write } = surroundings
    const mirror = await ApiClient.open(options, surroundings)
    const answer = await mirror.post<ReloadAnswer>('/api/reload')
    if (options.json) return write(`${JSON.stringify(answer, null, 2)}\n`)
    for (const key of answer.changed) write(`in effect now: ${key}\n`)
    for (const key of answer.needsRestart) write(`needs a restart: ${key}\n`)
    if (answer.changed.length + answer.needsRestart.length === 0) write('nothing has changed\n')
  })
}
