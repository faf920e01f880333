import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { freePort } from '../../scripts/free-port.mjs'
import { download } from '../support/download.js'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { whyNoPrograms } from '../support/programs.js'
import { until } from '../support/running-mirror.js'
import { takesConnections } from '../support/takes-connections.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'

const run = promisify(execFile)
const shipped = join(import.meta.dirname, '..', '..', 'deploy', 'haproxy', 'haproxy.cfg')
const environment = { PATH: `${process.env.PATH}:/usr/sbin` }

/** The shipped file before these two mirrors, with nothing changed in it but addresses. */
async function startHaproxy(mirrors: readonly [MirrorProcess, MirrorProcess]): Promise<string> {
  const port = await freePort()
  const [first, second] = mirrors.map(({ url, operatorUrl }) => {
    return `${new URL(url).host} check port ${new URL(operatorUrl).port}`
  })
  const text = (await readFile(shipped, 'utf8'))
    .replace('bind :8080', `bind 127.0.0.1:${port}`)
    .replaceAll('server a 10.0.0.11:8080', `server a ${first}`)
    .replaceAll(' check port 8081 inter 2s\n', '\n')
    .replaceAll('server b 10.0.0.12:8080', `server b ${second}`)
  expect(text).not.toMatch(/^[^#]*10\.0\.0\./m)
  const file = join(await temporaryDirectory(), 'haproxy.cfg')
  await writeFile(file, text)
  const child: ChildProcess = spawn('haproxy', ['-db', '-f', file], { env: environment, stdio: 'ignore' })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  const url = `http://127.0.0.1:${port}`
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`haproxy ended with ${child.exitCode}`)
    return await takesConnections(url)
  })
  return url
}

/** How often a mirror was asked for a file. */
async function asked(mirror: MirrorProcess): Promise<number> {
  const text = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
  const counts = text.matchAll(/^imgapi_mirror_files_asked_total\{[^}]*\} (\d+)/gm)
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
}

const reason = whyNoPrograms('haproxy')

describe.skipIf(reason !== undefined)(`HAProxy before two mirrors, as shipped${reason ? ` (${reason})` : ''}`, () => {
  it('is a configuration that HAProxy takes without a warning', async () => {
    const { stderr } = await run('haproxy', ['-c', '-q', '-f', shipped], { env: environment })
    expect(stderr).toBe('')
  })

  it('gives each file to one mirror, and goes on with the other when one is killed', async () => {
    const images = Array.from({ length: 24 }, () => makeImage({}, randomBytes(50_000)))
    const upstream = await startUpstream({ images })
    const directory = await temporaryDirectory()
    const start = async (name: string) => {
      await mkdir(join(directory, name))
      const settings = {
        upstreams: [{ name: 'central', url: upstream.url }],
        trustedProxies: ['127.0.0.1'],
        accelRedirect: '/held/',
      }
      const mirror = await MirrorProcess.start(join(directory, name), settings)
      onTestFinished(() => mirror.kill())
      return mirror
    }
    const mirrors = await Promise.all([start('a'), start('b')])
    const [first, second] = mirrors
    const url = await startHaproxy(mirrors)

    /** A client that comes back once when it is cut, as all do. Answers how often it was. */
    const fetchOne = async (image: (typeof images)[number]) => {
      for (const cuts of [0, 1]) {
        const { kind, bytes } = await download(url, uuidOf(image), { 'X-Sendfile-Type': 'X-Accel-Redirect' })
        if (kind === 'complete' && bytes.equals(image.files[0]!)) return cuts
      }
      throw new Error(`${uuidOf(image)} could not be had`)
    }
    const fetchAll = async () => (await Promise.all(images.map(fetchOne))).reduce((sum, cuts) => sum + cuts, 0)

    for (let round = 0; round < 3; round++) expect(await fetchAll()).toBe(0)
    const fetched = upstream.requests.filter((request) => request.url.includes('/file'))
    expect(fetched, 'each file is fetched by one of them, once').toHaveLength(images.length)
    expect(await asked(first)).toBeGreaterThan(0)
    expect(await asked(second)).toBeGreaterThan(0)
    expect((await asked(first)) + (await asked(second))).toBe(3 * images.length)

    const meanwhile = [fetchAll(), second.kill(), fetchAll()] as const
    const [before, , after] = await Promise.all(meanwhile)
    expect(before + after, 'only those who were being answered at that moment are cut').toBeLessThan(images.length)
    for (let round = 0; round < 3; round++) expect(await fetchAll()).toBe(0)
  })
})
