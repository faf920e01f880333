import { randomBytes, randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { download, type Outcome } from '../support/download.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startTrap } from '../support/upstreams/serve.js'
import { FAULTS } from './faults.js'
import { startZooServer } from './zoo-server.js'

/** More than the held-back tail, so that readers have something in hand before the end is known. */
const FILE_BYTES = 300_000
const MANY = 8

/** A client that is gone as soon as it has asked. */
async function askAndLeave(url: string, uuid: string): Promise<void> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  await new Promise<void>((resolve) =>
    socket.write(`GET /images/${uuid}/file HTTP/1.1\r\nHost: mirror\r\n\r\n`, () => resolve()),
  )
  socket.destroy()
}

describe.each(['alone', 'beside a good upstream'])('%s, an upstream that', (company) => {
  const hasFriend = company !== 'alone'

  it.each(FAULTS)('$name harms nobody', async (fault) => {
    const [left, single, shared] = [randomUUID(), randomUUID(), randomUUID()]
    const files = Object.fromEntries([left, single, shared].map((uuid) => [uuid, randomBytes(FILE_BYTES)]))
    const trap = await startTrap()
    const bad = await startZooServer({ images: files, fault, forbidden: trap.url })
    const good = await startZooServer({ images: files })
    onTestFinished(async () => void (await Promise.all([trap.close(), bad.close(), good.close()])))
    const timeouts = { connect: '1s', headers: '250ms', stall: '250ms' }
    const settings = {
      holdback: '64KiB',
      upstreams: [
        { name: 'bad', url: bad.url, timeouts },
        ...(hasFriend ? [{ name: 'good', url: good.url, timeouts }] : []),
      ],
    }
    const mirror = await startMirror(settings)
    await mirror.settled()

    await askAndLeave(mirror.url, left)
    const first = await Promise.all([
      download(mirror.url, single),
      ...Array.from({ length: MANY }, () => download(mirror.url, shared)),
    ])
    await until(async () => (await mirror.status()).flights.length === 0)
    const second = await Promise.all([left, single, shared].map((uuid) => download(mirror.url, uuid)))
    await until(async () => (await mirror.status()).flights.length === 0)

    // Nobody ever holds a complete answer that is not the file.
    const expected = [files[single]!, ...Array.from({ length: MANY }, () => files[shared]!)]
    for (const [index, outcome] of first.entries()) expectRight(outcome, expected[index]!)
    for (const [index, uuid] of [left, single, shared].entries()) expectRight(second[index]!, files[uuid]!)
    // What can be served is served: at the latest when it is asked for again.
    if (fault.isSurvivable) for (const outcome of first) expect(outcome.kind).toBe('complete')
    if (fault.isSurvivable || hasFriend) for (const outcome of second) expect(outcome.kind).toBe('complete')
    // What cannot be is refused or cut, and nothing of it is kept.
    else {
      for (const outcome of [...first, ...second]) {
        expect(outcome.kind).not.toBe('complete')
        if (outcome.kind === 'refused') expect(outcome.status).toBe(503)
      }
      expect(await keptIn(mirror.dataDirectory)).toEqual([])
    }
    expect(trap.connectionCount).toBe(0)
    const surprises = mirror.log.lines.filter(
      ({ level, message }) => level === 'error' && !/not what was promised/.test(message),
    )
    expect(surprises).toEqual([])

    // What was left of all these tries never spoils a later one, by an upstream that has come to its senses.
    bad.behave()
    await mirror.close()
    const again = await startMirror({ ...settings, data: mirror.dataDirectory })
    for (const uuid of [left, single, shared]) {
      let outcome = await download(again.url, uuid)
      if (outcome.kind === 'cut') outcome = await download(again.url, uuid)
      expect(outcome.kind).toBe('complete')
      expectRight(outcome, files[uuid]!)
    }
    await until(async () => (await readdir(join(again.dataDirectory, 'partial'))).length === 0)
  })
})

function expectRight(outcome: Outcome, file: Buffer): void {
  if (outcome.kind === 'complete') expect(outcome.bytes.equals(file), 'a complete answer is the file').toBe(true)
}

async function keptIn(dataDirectory: string): Promise<string[]> {
  const entries = await readdir(join(dataDirectory, 'blobs'), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
}
