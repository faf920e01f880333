import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { download, type Outcome } from '../support/download.js'
import { sha1 } from '../support/made-up-images.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FAULTS, type Fault, type FileAsked, serveHonestly } from '../zoo/faults.js'
import { startZooServer, type ZooServer } from '../zoo/zoo-server.js'

const MIB = 1024 * 1024

async function zoo(file: Buffer, uuid: string, fault?: Fault): Promise<ZooServer> {
  const server = await startZooServer({ images: { [uuid]: file }, ...(fault && { fault }) })
  onTestFinished(() => server.close())
  return server
}

async function mirrorOf(
  servers: readonly ZooServer[],
  more: Record<string, unknown> = {},
  upstream: Record<string, unknown> = {},
): Promise<RunningMirror> {
  const timeouts = { connect: '1s', headers: '300ms', stall: '300ms' }
  const upstreams = servers.map(({ url }, index) => ({ name: `u${index}`, url, timeouts, ...upstream }))
  const mirror = await startMirror({ upstreams, ...more })
  await mirror.settled()
  return mirror
}

function faultNamed(name: string): Fault {
  return FAULTS.find((fault) => fault.name === name)!
}

/** Gives bytes of which one is wrong, by ranges too. Of the whole file it holds the end back, until readers have the lie. */
function flipsByteAt(place: number): Fault {
  return {
    name: `flips byte ${place}`,
    isSurvivable: false,
    serve(asked) {
      const file = Buffer.from(asked.file)
      file[place]! ^= 0x40
      if (asked.start > 0 || asked.end < file.length) {
        serveHonestly({ ...asked, file })
        return
      }
      const firstBytes = Math.min(file.length - 1, place + 400_000)
      asked.response.writeHead(200, { 'content-length': file.length })
      asked.response.write(file.subarray(0, firstBytes))
      setTimeout(() => asked.response.end(file.subarray(firstBytes)), 200)
    },
  }
}

/** By `equals`: comparing megabytes element by element takes minutes. */
function expectFile(outcome: Outcome, file: Buffer): void {
  expect(outcome.kind).toBe('complete')
  if (outcome.kind === 'complete') expect(outcome.bytes.equals(file)).toBe(true)
}

/** Not spawnSync: the mirror that is asked runs in this very process. */
async function runAsync(command: string, args: readonly string[], cwd: string): Promise<number | null> {
  const [code] = await once(spawn(command, args, { cwd, stdio: 'ignore' }), 'exit')
  return code
}

async function landed(mirror: RunningMirror): Promise<void> {
  await until(async () => (await mirror.status()).flights.length === 0)
}

async function heldRecord(mirror: RunningMirror, uuid: string) {
  const path = join(mirror.dataDirectory, 'images', `${uuid}.json`)
  await until(() =>
    readFile(path).then(
      () => true,
      () => false,
    ),
  )
  const text = await readFile(path, 'utf8')
  return JSON.parse(text) as {
    files: [
      {
        extents: { upstream: string; startBytes: number; endBytes: number }[]
        corrections: { startBytes: number; rightFrom: string; wrongFrom: { upstream: string }[] }[]
      },
    ]
  }
}

describe('a file that breaks off', () => {
  it('is gone on with from the same byte at another upstream, and no client notices', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(2 * MIB)]
    const first = await zoo(file, uuid, faultNamed('resets in the middle, and begins anew each time'))
    const second = await zoo(file, uuid)
    const mirror = await mirrorOf([first, second])
    const outcomes = await Promise.all([1, 2, 3].map(() => download(mirror.url, uuid)))
    for (const outcome of outcomes) expectFile(outcome, file)
    await landed(mirror)
    expect(second.ranges(uuid)[0]!.start).toBeGreaterThan(0)
    const [{ extents }] = (await heldRecord(mirror, uuid)).files
    expect(extents.map(({ upstream }) => upstream)).toEqual(['u0', 'u1'])
    expect(extents[0]!.endBytes).toBe(extents[1]!.startBytes)
    expect(extents[1]!.endBytes).toBe(file.length)
  })

  it('is gone on with when the first upstream falls silent', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(MIB)]
    const mirror = await mirrorOf([
      await zoo(file, uuid, faultNamed('falls silent in the middle')),
      await zoo(file, uuid),
    ])
    expectFile(await download(mirror.url, uuid), file)
  })

  it('arrives from a line that drops again and again, each try a little further', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(3 * MIB)]
    const server = await zoo(file, uuid, faultNamed('gives a tenth more with every try'))
    const mirror = await mirrorOf([server])
    expectFile(await download(mirror.url, uuid), file)
    expect(server.attempts(uuid)).toBeGreaterThan(5)
  })

  it('arrives, though the only upstream goes away for a while in the middle', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(MIB)]
    let awayUntilMs = 0
    const goesAway: Fault = {
      name: 'is away for a while',
      isSurvivable: true,
      serve(asked) {
        if (asked.attempt === 1) {
          awayUntilMs = performance.now() + 1500
          asked.response.writeHead(200, { 'content-length': file.length })
          asked.response.write(file.subarray(0, MIB / 2), () => setTimeout(() => asked.socket.destroy(), 50))
        } else if (performance.now() < awayUntilMs) asked.socket.destroy()
        else serveHonestly(asked)
      },
    }
    const server = await zoo(file, uuid, goesAway)
    const mirror = await mirrorOf([server], {}, { timeouts: { connect: '1s', headers: '1s', stall: '10s' } })
    expectFile(await download(mirror.url, uuid), file)
    expect(server.attempts(uuid)).toBeGreaterThan(3)
  })

  it('costs what is missing, and no more, after a restart', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(4 * MIB)]
    const most = 3 * MIB
    const stopsShort: Fault = {
      name: 'stops after three quarters',
      isSurvivable: false,
      serve: ({ response, socket, start, file }) => {
        response.writeHead(start > 0 ? 503 : 200, { 'content-length': start > 0 ? 0 : file.length })
        if (start > 0) response.end()
        else response.write(file.subarray(0, most), () => setTimeout(() => socket.resetAndDestroy(), 50))
      },
    }
    const server = await zoo(file, uuid, stopsShort)
    const before = await mirrorOf([server])
    expect((await download(before.url, uuid)).kind).toBe('cut')
    await landed(before)
    const had = await metricOf(before, /^imgapi_mirror_upstream_received_bytes_total\{upstream="u0"\} (\d+)/m)
    expect(had).toBeGreaterThan(0)
    await before.close()

    server.behave()
    const asked = server.ranges(uuid).length
    const after = await mirrorOf([server], { data: before.dataDirectory })
    expectFile(await download(after.url, uuid), file)
    const ranges = server.ranges(uuid).slice(asked)
    expect(ranges).toEqual([{ uuid, start: had, end: file.length }])
  })

  it('is compared and skipped, never shortened, where the upstream knows no ranges', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(2 * MIB)]
    const server = await zoo(file, uuid, faultNamed('resets in the middle, then ignores the range'))
    const mirror = await mirrorOf([server])
    expectFile(await download(mirror.url, uuid), file)
    expect(server.attempts(uuid)).toBe(2)
  })
})

describe('a file that came wrong', () => {
  it('is mended from a second upstream; who had the wrong byte is cut, who had not reads on', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(4 * MIB)]
    const wrongAt = 100_000
    const mirror = await mirrorOf([await zoo(file, uuid, flipsByteAt(wrongAt)), await zoo(file, uuid)])
    const [whole, behind] = await Promise.all([
      download(mirror.url, uuid),
      download(mirror.url, uuid, { Range: `bytes=${wrongAt + 1}-` }),
    ])
    expect(whole.kind).toBe('cut')
    expectFile(behind, file.subarray(wrongAt + 1))
    expectFile(await download(mirror.url, uuid), file)
    const [{ corrections }] = (await heldRecord(mirror, uuid)).files
    expect(corrections).toMatchObject([
      { startBytes: wrongAt, endBytes: wrongAt + 1, rightFrom: 'u1', wrongFrom: [{ upstream: 'u0' }] },
    ])
  })

  it('cannot be completed by who was cut and goes on where it was: wget does so by itself, curl -C - when told', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(4 * MIB)]
    const mirror = await mirrorOf([await zoo(file, uuid, flipsByteAt(100_000)), await zoo(file, uuid)])
    const directory = await temporaryDirectory()
    const url = `${mirror.url}/images/${uuid}/file`
    expect(await runAsync('curl', ['-fsS', '-o', 'got', url], directory)).not.toBe(0)
    await landed(mirror)
    expect(await runAsync('curl', ['-fsS', '-C', '-', '-o', 'got', url], directory)).not.toBe(0)
    expect((await download(mirror.url, uuid, { Range: `bytes=${3 * MIB}-` })).kind).toBe('refused')
    expect((await download(mirror.url, uuid, { Range: 'bytes=0-' })).kind).toBe('complete')
    expect(await runAsync('curl', ['-fsS', '-o', 'anew', url], directory)).toBe(0)
    expect((await readFile(join(directory, 'anew'))).equals(file)).toBe(true)
    // One who says what the first part was of is answered.
    const withTag = await download(mirror.url, uuid, { Range: `bytes=${3 * MIB}-`, 'If-Range': `"${sha1(file)}"` })
    expectFile(withTag, file.subarray(3 * MIB))
  })

  it('is mended although the second copy is wrong as well, in another place', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(2 * MIB)]
    const mirror = await mirrorOf([
      await zoo(file, uuid, flipsByteAt(1_500_000)),
      await zoo(file, uuid, flipsByteAt(50_000)),
    ])
    expect((await download(mirror.url, uuid)).kind).toBe('cut')
    expectFile(await download(mirror.url, uuid), file)
  })

  it('is mended by a second try of the only upstream', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(MIB)]
    const wrongOnce: Fault = {
      name: 'is wrong once',
      isSurvivable: false,
      serve: (asked: FileAsked) => (asked.attempt === 1 ? flipsByteAt(5).serve(asked) : serveHonestly(asked)),
    }
    const mirror = await mirrorOf([await zoo(file, uuid, wrongOnce)])
    expect((await download(mirror.url, uuid)).kind).toBe('cut')
    expectFile(await download(mirror.url, uuid), file)
  })

  it('costs one chunk when a mirror of ours has it right', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(8 * MIB)]
    const good = await zoo(file, uuid)
    const friend = await mirrorOf([good])
    expect((await download(friend.url, uuid)).kind).toBe('complete')
    await landed(friend)
    const sent = await bytesSentBy(friend)
    const bad = await zoo(file, uuid, flipsByteAt(5 * MIB + 7))
    const mirror = await mirrorOf([bad, { ...good, url: friend.url }])
    expect((await download(mirror.url, uuid)).kind).toBe('cut')
    expectFile(await download(mirror.url, uuid), file)
    expect((await bytesSentBy(friend)) - sent).toBe(MIB)
  })

  it('is not gone on with for ever when nobody has it right: nothing of it stays', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(MIB)]
    const server = await zoo(file, uuid, faultNamed('sends zeros'))
    const mirror = await mirrorOf([server])
    expect((await download(mirror.url, uuid)).kind).not.toBe('complete')
    await landed(mirror)
    expect(await readdir(join(mirror.dataDirectory, 'partial'))).toEqual([])
    server.behave()
    expectFile(await download(mirror.url, uuid), file)
  })
})

describe('a file over several connections', () => {
  it('comes by ranges at the same time, and leaves in order', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(48 * MIB + 5)]
    let [underWay, most] = [0, 0]
    const counts: Fault = {
      name: 'counts',
      isSurvivable: true,
      serve(asked) {
        underWay++
        most = Math.max(most, underWay)
        asked.response.on('close', () => underWay--)
        // A moment, so that requests can meet.
        setTimeout(() => serveHonestly(asked), 30)
      },
    }
    const server = await zoo(file, uuid, counts)
    const mirror = await mirrorOf([server], {}, { connections: 4 })
    expectFile(await download(mirror.url, uuid), file)
    expect(most).toBe(4)
    const asked = server.ranges(uuid).reduce((sum, { start, end }) => sum + end - start, 0)
    expect(asked).toBe(file.length)
  })

  it('falls back to one when the upstream knows no ranges', async () => {
    const [uuid, file] = [randomUUID(), randomBytes(20 * MIB)]
    const rangeless: Fault = {
      name: 'knows no ranges',
      isSurvivable: true,
      serve: (asked) => serveHonestly({ ...asked, start: 0, end: asked.file.length }),
    }
    const server = await zoo(file, uuid, rangeless)
    const mirror = await mirrorOf([server], {}, { connections: 4 })
    expectFile(await download(mirror.url, uuid), file)
    expect(server.attempts(uuid)).toBe(1)
  })
})

function bytesSentBy(mirror: RunningMirror): Promise<number> {
  return metricOf(mirror, /^imgapi_mirror_http_sent_bytes_total\{route="\/images\/:uuid\/file"\} (\d+)/m)
}

async function metricOf(mirror: RunningMirror, line: RegExp): Promise<number> {
  const text = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
  return Number(line.exec(text)?.[1] ?? 0)
}
