import type { Command } from '@commander-js/extra-typings'
import type { Explanation } from '../mirror/operations/explanation.js'
import { ApiClient } from './api-client.js'
import { CommandFailure, type CommandSurroundings, FAILED, MISUSED } from './command.js'
import { fitText } from './facts.js'
import { addMirrorOptions } from './mirror-options.js'
import { printable } from './printable.js'

const EXAMPLES = `
Examples:
  imgapi-mirror explain fd2cc906-8938-11e3-beab-4359c665ac99   who has it, who disagrees, why it is not to be had
  imgapi-mirror explain base-64-lts                            the newest of that name
  imgapi-mirror explain base-64-lts@24.4.0
  imgapi-mirror explain busybox:latest                         the top layer of a Docker image
  imgapi-mirror explain -j fd2cc906-8938-11e3-beab-4359c665ac99 | jq .image.reasons

Exits with 0 when clients get the image, 1 when they do not.`

export function registerExplain(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('explain')
    .description('why an image is as it is here: who has it, whether it is to be had, held, pinned, and why')
    .argument('<image>', 'a uuid, a name, name@version, or repository:tag')
    .option('-j, --json', 'print JSON, for programs')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(command).action(async (what, options) => {
    if (what.trim() === '') throw new CommandFailure('which image? imgapi-mirror avail lists them', MISUSED)
    const mirror = await ApiClient.open(options, surroundings)
    const explanation = await mirror.get<Explanation>(`/api/explain/${encodeURIComponent(what)}`)
    const { image, words } = explanation
    const text = fitText(words.map(printable).join('\n'), surroundings.terminal?.columns())
    surroundings.write(`${options.json ? JSON.stringify(explanation, null, 2) : text}\n`)
    const isLost = image?.reasons.some(({ code }) => code === 'file lost')
    if (!image?.isServed || isLost) surroundings.exitWith(FAILED)
  })
}
