import type { Command } from '@commander-js/extra-typings'
import type { UpstreamCheck } from '../mirror/operations/image-answers.js'
import { formatAgo } from './amounts.js'
import { ApiClient } from './api-client.js'
import { type CommandSurroundings, FAILED } from './command.js'
import { addMirrorOptions } from './mirror-options.js'
import { getStatus, type UpstreamRow } from './operator-status.js'
import { addTableOptions, type Column, printTable } from './table.js'

const EXAMPLES = `
Examples:
  imgapi-mirror upstreams                         what we pull from, and how it is
  imgapi-mirror upstreams -o name,state,error     only that
  imgapi-mirror upstreams -c                      ask them now; exits with 1 when one does not answer
  imgapi-mirror sources -j                        everything, for programs`

const COLUMNS: readonly Column<UpstreamRow>[] = [
  { name: 'name', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'state', value: ({ state }) => state },
  { name: 'images', value: ({ images }) => images, isRight: true },
  { name: 'setaside', value: ({ setAside }) => setAside.length, isRight: true, isExtra: true },
  {
    name: 'heard',
    value: ({ lastHeardAt }) => lastHeardAt,
    text: ({ lastHeardAt }) => (lastHeardAt === null ? undefined : formatAgo(Date.parse(lastHeardAt))),
  },
  { name: 'breaker', value: ({ health }) => health?.breaker, isMinor: true },
  { name: 'failures', value: ({ health }) => health?.failures, isRight: true, isExtra: true },
  { name: 'url', value: ({ url }) => url, shrinksTo: 12, isMinor: true },
  {
    name: 'error',
    value: ({ incomplete, lastError }) => lastError ?? incomplete,
    text: ({ incomplete, lastError, name }) => reasonOf(lastError ?? incomplete, name),
    shrinksTo: 30,
  },
]

const CHECK_COLUMNS: readonly Column<UpstreamCheck>[] = [
  { name: 'name', value: ({ name }) => name, shrinksTo: 8 },
  { name: 'answers', value: ({ ok }) => (ok ? 'yes' : 'no') },
  { name: 'speaks', value: ({ protocol }) => protocol, shrinksTo: 8 },
  { name: 'took', value: ({ tookMs }) => tookMs, text: ({ tookMs }) => `${Math.round(tookMs)}ms`, isRight: true },
  { name: 'url', value: ({ url }) => url, shrinksTo: 12, isMinor: true },
  { name: 'error', value: ({ error }) => error, text: ({ error, name }) => reasonOf(error, name), shrinksTo: 30 },
]

/** What an error says beyond the name and the address of its upstream, which stand beside it. */
function reasonOf(error: string | null, name: string): string | undefined {
  return error?.replace(`${name}: `, '').replace(/^https?:\/\/\S+: /, '')
}

export function registerUpstreams(program: Command, surroundings: CommandSurroundings): void {
  const command = program
    .command('upstreams')
    .alias('sources')
    .option('-c, --check', 'ask each of them a cheap question now')
    .description('the servers we pull from: their state, their images, when we last heard of them')
    .addHelpText('after', EXAMPLES)
  addMirrorOptions(addTableOptions(command, COLUMNS)).action(async (options) => {
    const mirror = await ApiClient.open(options, surroundings)
    if (options.check) {
      const checks = await mirror.post<UpstreamCheck[]>('/api/upstreams/check')
      printTable(checks, CHECK_COLUMNS, options, surroundings)
      if (checks.some(({ ok }) => !ok)) surroundings.exitWith(FAILED)
      return
    }
    const { upstreams } = await getStatus(mirror)
    printTable(upstreams, COLUMNS, options, surroundings)
  })
}
