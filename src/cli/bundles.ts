import type { Command } from '@commander-js/extra-typings'
import { formatAgo, formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { type BundlesAnswer, describeGaps, describeLacking } from './bundles-answer.js'
import { CommandFailure, type CommandSurroundings, MISUSED } from './command.js'
import { countOf, fitText } from './facts.js'
import { addMirrorOptions } from './mirror-options.js'
import { printable } from './printable.js'

const EXAMPLES = `
What comes by bundles comes in pieces, in any order: what is here stays, and what is lacking is waited for until it comes, or until it is
forgotten. imgapi-mirror import-bundle takes it in.

Examples:
  imgapi-mirror bundles                        what is lacking still
  imgapi-mirror bundles --gaps                 a short list, to be read over a telephone
  imgapi-mirror bundles --forget a1b2c3d4e5f6  nobody waits for the rest of this bundle any more
  imgapi-mirror bundles --forget weekly:7      nor for number 7 of this series, and what came before`

export function registerBundles(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('bundles')
    .description('bundles that have not come whole, and what is lacking of them')
    .option('--gaps', 'only which volumes, and which bundles of a series, never came')
    .option(
      '--forget <id>',
      'wait no more for the rest of a bundle, or for NAME:NUMBER of a series and what came before',
    )
    .option('-j, --json', 'print JSON, whole, for programs')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(command).action(async (options) => {
    if (options.gaps && options.forget !== undefined) {
      throw new CommandFailure('either --gaps or --forget', MISUSED)
    }
    const mirror = await ApiClient.open(options, surroundings)
    if (options.forget !== undefined) {
      await mirror.delete(`/api/bundles/${encodeURIComponent(options.forget)}`)
      surroundings.write(printable(`nobody waits for ${options.forget} any more`))
      surroundings.write('\n')
      return
    }
    const answer = await mirror.get<BundlesAnswer>('/api/bundles')
    if (options.json) surroundings.write(`${JSON.stringify(answer, null, 2)}\n`)
    else {
      const lines = options.gaps ? linesOfGaps(answer) : linesOf(answer)
      surroundings.write(`${fitText(lines.join('\n'), surroundings.terminal?.columns())}\n`)
    }
  })
}

function linesOfGaps(answer: BundlesAnswer): string[] {
  const lines = describeGaps(answer)
  return lines.length > 0 ? lines : ['no gaps: every volume came, and every bundle of every series']
}

function linesOf({ awaited, gaps, isDiode }: BundlesAnswer): string[] {
  const missingBytes = awaited.flatMap(({ images }) => images).reduce((sum, image) => sum + image.missingBytes, 0)
  if (awaited.length === 0 && gaps.length === 0) return ['nothing is lacking of any bundle']
  return [
    ...awaited.flatMap((bundle) => [...describeLacking(bundle), `  begun ${formatAgo(bundle.firstComeMs)}`]),
    ...describeGaps({ awaited: [], gaps, isDiode }),
    ...(awaited.length > 0
      ? [`${countOf(awaited.length, 'bundle')} awaited, ${formatSize(missingBytes)} missing`]
      : []),
  ]
}
