import type { Command } from '@commander-js/extra-typings'
import type { PlanAnswer, PlannedImageAnswer } from '../mirror/operations/prewarm-answers.js'
import { formatMinute, formatSize } from './amounts.js'
import { ApiClient } from './api-client.js'
import { type CommandSurroundings, FAILED } from './command.js'
import { countOf, fitText } from './facts.js'
import { addMirrorOptions } from './mirror-options.js'
import { printable } from './printable.js'
import { readCount, readFilters } from './read-arguments.js'
import { addTableOptions, type Column, printTable } from './table.js'

const EXAMPLES = `
Without any choice, of all prewarm policies of the configuration. Nothing moves. Exits with 1 when something would not be here in
time, not fit, or not be to be had.

Examples:
  imgapi-mirror plan                                        what will come, and by when
  imgapi-mirror plan --policy nightly                       only for that policy
  imgapi-mirror plan --match name=~base-64 --latest 2       if the newest two of each such name were wanted
  imgapi-mirror plan --docker library/alpine:newest:3       if these images of a Docker registry were
  imgapi-mirror plan --rate 10Mbit/s                        if the line were no faster
  imgapi-mirror plan -H -o uuid,outcome -s outcome          for scripts`

const COLUMNS: readonly Column<PlannedImageAnswer>[] = [
  { name: 'uuid', value: ({ uuid }) => uuid, isMinor: true },
  { name: 'name', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'version', value: ({ version }) => version, shrinksTo: 7 },
  { name: 'policy', value: ({ policy }) => policy, isMinor: true },
  { name: 'chain', value: ({ chain }) => chain, isRight: true, isExtra: true },
  {
    name: 'fetch',
    value: ({ fetchBytes }) => fetchBytes,
    text: ({ fetchBytes }) => (fetchBytes === 0 ? undefined : formatSize(fetchBytes)),
    isRight: true,
  },
  { name: 'begins', value: ({ startMs }) => startMs, text: ({ startMs }) => formatMinute(startMs), isExtra: true },
  { name: 'here', value: ({ doneMs }) => doneMs, text: ({ doneMs }) => formatMinute(doneMs) },
  { name: 'outcome', value: ({ outcome }) => outcome },
  { name: 'why', value: ({ why }) => why, isExtra: true },
]

export function registerPlan(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('plan')
    .description('what prewarming would fetch, how much, and by when; nothing moves')
    .option('--policy <names...>', 'of these prewarm policies only')
    .option('--match <filters...>', 'instead: of images that match any of these filters')
    .option('--docker <images...>', 'instead, or besides: of these images of Docker registries')
    .option('--exclude <filters...>', 'but none that match any of these')
    .option('--latest <count>', 'of each name only so many, the newest')
    .option('--by <what>', 'what newest means: version or date')
    .option('--rate <rate>', 'as if no line were faster, such as 20Mbit/s')
    .option('--all', 'show also what is held already')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addTableOptions(command, COLUMNS)).action(async (options) => {
    const { by, docker, exclude, latest, match, policy: policies, rate } = options
    const mirror = await ApiClient.open(options, surroundings)
    const answer = await mirror.post<PlanAnswer>('/api/plan', {
      ...{ policies, docker, by, rate },
      match: match && readFilters(match),
      exclude: exclude && readFilters(exclude),
      latest: latest === undefined ? undefined : readCount(latest),
    })
    if (options.json) surroundings.write(`${JSON.stringify(answer, null, 2)}\n`)
    else {
      const shown = answer.images.filter(({ outcome }) => options.all || outcome !== 'held')
      if (shown.length > 0) printTable(shown, COLUMNS, options, surroundings)
      if (!options.H) surroundings.write(describe(answer))
    }
    const columns = surroundings.terminal?.columns()
    for (const warning of answer.warnings)
      surroundings.complain(`${fitText(`imgapi-mirror: ${printable(warning)}`, columns)}\n`)
    if (answer.policies.some(({ isKept }) => !isKept)) surroundings.exitWith(FAILED)
  })
}

function describe({ doneMs, evicted, evictedBytes, fetchBytes, images, isTimed }: PlanAnswer): string {
  const coming = images.filter(({ outcome }) => outcome === 'comes' || outcome === 'late' || outcome === 'never').length
  const held = images.filter(({ outcome }) => outcome === 'held').length
  const by =
    doneMs === null ? ', not all of them within a year' : isTimed ? `, the last by ${formatMinute(doneMs)}` : ''
  const lines = [
    coming === 0 ? 'Nothing is to come.' : `${countOf(coming, 'image')} to come: ${formatSize(fetchBytes)}${by}.`,
    ...(held === 0 ? [] : [`${countOf(held, 'image')} here already.`]),
    ...(evicted.length === 0 ? [] : [`${formatSize(evictedBytes)} would leave to make room:`]),
    ...evicted.map(({ freedBytes, name, uuid, version }) =>
      printable(`  ${[formatSize(freedBytes), uuid, name, version].filter(Boolean).join('  ')}`),
    ),
  ]
  return `${lines.join('\n')}\n`
}
