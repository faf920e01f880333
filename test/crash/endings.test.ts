import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { download } from '../support/download.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startZooServer } from '../zoo/zoo-server.js'
import { drips } from './campaign.js'

const MIB = 1024 * 1024

async function slowly(file: Buffer) {
  const uuid = randomUUID()
  const server = await startZooServer({ images: { [uuid]: file }, fault: drips(2) })
  onTestFinished(() => server.close())
  const directory = await temporaryDirectory()
  const mirror = await MirrorProcess.start(directory, { upstreams: [{ name: 'slow', url: server.url }] })
  return { uuid, server, directory, mirror }
}

it('lets a reader finish when it is told to stop, takes nobody new, and ends with 0', async () => {
  const file = randomBytes(12 * MIB)
  const { uuid, mirror } = await slowly(file)
  const going = download(mirror.url, uuid)
  await until(async () => (await mirror.receivedBytes()) > MIB)
  const stopped = mirror.stop()
  await until(() => mirror.lines.some((line) => line.includes('SIGTERM: closing')))
  await wait(50)
  expect((await download(mirror.url, uuid)).kind).toBe('cut')
  const outcome = await going
  expect(outcome.kind === 'complete' && outcome.bytes.equals(file)).toBe(true)
  expect(await stopped).toBe(0)
})

it('keeps what nobody was reading, and goes on with it after the next start', async () => {
  const file = randomBytes(24 * MIB)
  const { uuid, server, directory, mirror } = await slowly(file)
  const leaving = new AbortController()
  fetch(`${mirror.url}/images/${uuid}/file`, { signal: leaving.signal }).catch(() => {})
  await until(async () => (await mirror.receivedBytes()) > 2 * MIB)
  leaving.abort()
  const had = await mirror.receivedBytes()
  expect(await mirror.stop()).toBe(0)

  server.behave()
  const again = await MirrorProcess.start(directory, { upstreams: [{ name: 'slow', url: server.url }] })
  const outcome = await download(again.url, uuid)
  expect(outcome.kind === 'complete' && outcome.bytes.equals(file)).toBe(true)
  expect(server.ranges(uuid).at(-1)!.start).toBeGreaterThanOrEqual(had)
  expect(await again.stop()).toBe(0)
})
