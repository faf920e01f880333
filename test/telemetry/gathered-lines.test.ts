import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { GatheredLines } from '../../src/telemetry/gathered-lines.js'
import { makeLog } from '../../src/telemetry/log.js'

function gathering() {
  const written: string[] = []
  const lines = new GatheredLines((text) => written.push(text))
  const log = makeLog({ level: 'debug', format: 'json', isTerminal: false, write: (line) => lines.add(line) })
  const messages = () =>
    written.map((text) =>
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).msg),
    )
  return { lines, log, messages, written }
}

it('writes the ordinary lines of a turn together, in their order, when the turn is over', async () => {
  const { log, messages } = gathering()
  log.info({}, 'one')
  log.info({}, 'two')
  expect(messages()).toEqual([])
  await nextTurn()
  expect(messages()).toEqual([['one', 'two']])
  log.info({}, 'three')
  await nextTurn()
  expect(messages()).toEqual([['one', 'two'], ['three']])
})

it.each(['debug', 'warn', 'error'] as const)(
  'writes a line of level %s before the call returns, behind what waits',
  (level) => {
    const { log, messages } = gathering()
    log.info({}, 'before')
    log[level]({}, 'at once')
    expect(messages()).toEqual([['before', 'at once']])
  },
)

it('lets no more wait than it says, and nothing when it is told that this is the end', () => {
  const { lines, log, written } = gathering()
  log.info({ text: 'x'.repeat(70_000) }, 'large')
  expect(written).toHaveLength(1)
  log.info({}, 'last')
  lines.flush()
  expect(written).toHaveLength(2)
  lines.flush()
  expect(written).toHaveLength(2)
})
