import type { Command } from '@commander-js/extra-typings'
import type { RefreshAnswer } from '../mirror/operations/image-answers.js'
import { formatDuration } from './amounts.js'
import { ApiClient } from './api-client.js'
import { type CommandSurroundings, FAILED } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { addTableOptions, type Column, printTable } from './table.js'

const EXAMPLES = `
Examples:
  imgapi-mirror refresh           ask every upstream for its list now, and say what has changed
  imgapi-mirror refresh smartos   only that one

Exits with 1 when one of them failed.`

type Refreshed = RefreshAnswer['upstreams'][number]

const COLUMNS: readonly Column<Refreshed>[] = [
  { name: 'name', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'result', value: ({ ok }) => (ok ? 'heard' : 'failed') },
  { name: 'images', value: ({ images }) => images, isRight: true },
  { name: 'new', value: ({ added }) => added, isRight: true },
  { name: 'changed', value: ({ changed }) => changed, isRight: true },
  { name: 'withdrawn', value: ({ withdrawn }) => withdrawn, isRight: true },
  { name: 'took', value: ({ tookMs }) => tookMs, text: ({ tookMs }) => tookText(tookMs), isRight: true, isMinor: true },
  { name: 'error', value: ({ error }) => error, shrinksTo: 12 },
]

export function registerRefresh(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('refresh')
    .description('ask upstreams for their lists now')
    .argument('[names...]', 'of the upstreams; all of them, without it')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addTableOptions(command, COLUMNS)).action(async (names, options) => {
    const mirror = await ApiClient.open(options, surroundings)
    const { upstreams } = await mirror.post<RefreshAnswer>('/api/refresh', names.length > 0 ? { upstreams: names } : {})
    printTable(upstreams, COLUMNS, options, surroundings)
    if (upstreams.some(({ ok }) => !ok)) surroundings.exitWith(FAILED)
  })
}

function tookText(tookMs: number): string {
  return tookMs < 1000 ? `${Math.round(tookMs)}ms` : formatDuration(tookMs)
}
