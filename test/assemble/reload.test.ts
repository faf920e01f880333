import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { freePort } from '../../scripts/free-port.mjs'
import { PausedFile } from '../mirror/paused-upstream.js'
import { download } from '../support/download.js'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { makeCertificates } from '../support/upstreams/certificates.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'

const listed = async ({ url }: RunningMirror) =>
  ((await (await fetch(`${url}/images`)).json()) as { name: string }[]).map(({ name }) => name).toSorted()

/** One that delivers a file up to its middle, and the rest when it is told to. */
async function startPaused(name: string) {
  const bytes = randomBytes(2_000_000)
  const image = makeImage({ name }, bytes)
  const file = new PausedFile(uuidOf(image), bytes, bytes.length / 2)
  return { image, bytes, file, upstream: await startUpstream({ images: [image], intercept: file.intercept }) }
}

async function underWay(mirror: RunningMirror, receivedBytes: number): Promise<void> {
  await until(async () => (await mirror.status()).flights[0]?.receivedBytes === receivedBytes)
}

describe('while a file is on its way, a reload', () => {
  it('cuts nothing, whatever it changes', async () => {
    const { bytes, file, image, upstream } = await startPaused('on-its-way')
    const settings = { upstreams: [{ name: 'one', url: upstream.url }] }
    const mirror = await startMirror(settings)
    await mirror.settled()
    const coming = download(mirror.url, uuidOf(image))
    await underWay(mirror, bytes.length / 2)

    const { changed } = await mirror.reconfigure({
      upstreams: [{ name: 'one', url: upstream.url, exclude: ['name=nothing'], rate: '100MB/s' }],
      ...{ refresh: '1h', holdback: '1KiB', quota: '1GiB', scrub: { every: 'never' }, verifyOnRead: 'always' },
      ...{ rate: '200MB/s', conflicts: 'first-seen', pins: ['name=x'], listen: ['127.0.0.1:0', '127.0.0.1:0'] },
    })
    expect(changed).toEqual(
      expect.arrayContaining([
        'upstreams.one',
        'refresh',
        'holdback',
        'quota',
        'scrub.every',
        'verifyOnRead',
        'listen',
      ]),
    )
    file.resume()
    const { bytes: came, kind } = await coming
    expect(kind).toBe('complete')
    expect(came.equals(bytes)).toBe(true)
    expect(file.requestCount).toBe(1)
  })

  it('leaves its upstream when the file is here, though it was removed before', async () => {
    const { bytes, file, image, upstream } = await startPaused('of-the-removed')
    const mirror = await startMirror({ upstreams: [{ name: 'one', url: upstream.url }] })
    await mirror.settled()
    const coming = download(mirror.url, uuidOf(image))
    await underWay(mirror, bytes.length / 2)

    expect((await mirror.reconfigure({ upstreams: [] })).changed).toEqual(['upstreams.one'])
    expect(await listed(mirror)).toEqual([])
    expect((await mirror.status()).upstreams).toEqual([])
    expect(mirror.log.lines.some(({ message }) => message.includes('is left'))).toBe(false)
    file.resume()
    const { bytes: came, kind } = await coming
    expect(kind).toBe('complete')
    expect(came.equals(bytes)).toBe(true)
    await mirror.log.line(({ message }) => message === 'the upstream that was one is left')
    await until(() => upstream.openConnectionCount === 0)
    // It is held, whoever had it.
    expect(await listed(mirror)).toEqual(['of-the-removed'])
  })

  it('lets those who came in by a door that is closed have their answer', async () => {
    const { bytes, file, image, upstream } = await startPaused('by-the-old-door')
    const upstreams = [{ name: 'one', url: upstream.url }]
    const mirror = await startMirror({ upstreams })
    await mirror.settled()
    const oldUrl = mirror.url
    const coming = download(oldUrl, uuidOf(image))
    await underWay(mirror, bytes.length / 2)

    await mirror.reconfigure({ upstreams, listen: '[::1]:0' })
    expect(mirror.url).toMatch(/^http:\/\/\[::1\]:/)
    expect(await listed(mirror)).toEqual(['by-the-old-door'])
    await expect(fetch(`${oldUrl}/ping`)).rejects.toThrow()
    file.resume()
    const { bytes: came, kind } = await coming
    expect(kind).toBe('complete')
    expect(came.equals(bytes)).toBe(true)
  })
})

describe('a reload', () => {
  it('refuses what is wrong with all that is wrong, and leaves everything as it was', async () => {
    const upstream = await startUpstream({ images: [makeImage({ name: 'kept' })] })
    const settings = { upstreams: [{ name: 'one', url: upstream.url }] }
    const mirror = await startMirror(settings)
    await mirror.settled()
    const before = mirror.url
    const refused = mirror.reconfigure({ upstreams: [], refesh: '1m', listen: 'nowhere', quota: 'much' })
    await expect(refused).rejects.toMatchObject({ code: 'CONFIG_REFUSED' })
    await expect(refused).rejects.toThrow(/listen: .*\n.*refesh: .*did you mean refresh\?\n.*quota: /s)
    expect(await listed(mirror)).toEqual(['kept'])
    expect(mirror.url).toBe(before)

    const answer = await fetch(`${mirror.operatorUrl}/api/reload`, { method: 'POST' })
    expect(answer.status).toBe(422)
    expect(await answer.json()).toMatchObject({ code: 'ConfigurationRefused', message: expect.stringMatching(/quota/) })
    expect(mirror.log.lines.filter(({ level }) => level === 'error')).toHaveLength(2)
  })

  it('takes nothing on when a door cannot be opened', async () => {
    const upstream = await startUpstream({ images: [makeImage({ name: 'kept' })] })
    const mirror = await startMirror({ upstreams: [{ name: 'one', url: upstream.url }] })
    await mirror.settled()
    const taken = new URL(upstream.url).host
    const refused = mirror.reconfigure({ upstreams: [], listen: ['127.0.0.1:0', '[::1]:0', taken] })
    await expect(refused).rejects.toThrow(`cannot listen on ${taken}: the address is in use`)
    expect((await mirror.status()).upstreams).toHaveLength(1)
    expect(await listed(mirror)).toEqual(['kept'])

    // What was opened before is shut again.
    const free = await freePort()
    const operator = ['127.0.0.1:0', `127.0.0.1:${free}`]
    await expect(mirror.reconfigure({ operator, listen: taken })).rejects.toThrow('the address is in use')
    await expect(fetch(`http://127.0.0.1:${free}/healthz`)).rejects.toThrow()
  })

  it('asks new upstreams at once, by the new order and filters, and remembers what old ones said', async () => {
    const shared = makeImage({ name: 'shared' })
    const first = await startUpstream({ images: [shared, makeImage({ name: 'alpha' }), makeImage({ name: 'beta' })] })
    const renamed = { ...shared, manifest: { ...shared.manifest, description: 'by the second' } }
    const second = await startUpstream({ images: [renamed, makeImage({ name: 'gamma' })] })
    const one = { name: 'one', url: first.url }
    const two = { name: 'two', url: second.url }
    const mirror = await startMirror({ upstreams: [one] })
    await mirror.settled()
    expect(await listed(mirror)).toEqual(['alpha', 'beta', 'shared'])
    const described = async () =>
      ((await (await fetch(`${mirror.url}/images/${uuidOf(shared)}`)).json()) as { description?: string }).description

    expect((await mirror.reconfigure({ upstreams: [two, one] })).changed).toEqual(['upstreams.two'])
    await mirror.settled()
    expect(await listed(mirror)).toEqual(['alpha', 'beta', 'gamma', 'shared'])
    expect(await described()).toBe('by the second')
    expect((await mirror.reconfigure({ upstreams: [one, two] })).changed).toEqual(['upstreams'])
    expect(await described()).toBeUndefined()

    await mirror.reconfigure({ upstreams: [{ ...one, exclude: ['name=beta'] }, two] })
    expect(await listed(mirror)).toEqual(['alpha', 'gamma', 'shared'])
    await mirror.reconfigure({ upstreams: [two] })
    expect(await listed(mirror)).toEqual(['gamma', 'shared'])
    await first.close()
    await mirror.reconfigure({ upstreams: [one, two] })
    // Nobody answers there any more: this is what it said before.
    expect(await listed(mirror)).toEqual(['alpha', 'beta', 'gamma', 'shared'])
  })

  it('changes channels, policies, rates and who may', async () => {
    const image = makeImage({ name: 'disputed' })
    const other = makeImage({ uuid: uuidOf(image), name: 'disputed' })
    const [first, second] = [await startUpstream({ images: [image] }), await startUpstream({ images: [other] })]
    const upstreams = [
      { name: 'one', url: first.url },
      { name: 'two', url: second.url },
    ]
    const mirror = await startMirror({ upstreams })
    await mirror.settled()
    expect(await listed(mirror)).toEqual(['disputed'])
    await mirror.reconfigure({ upstreams, conflicts: 'withhold' })
    expect(await listed(mirror)).toEqual([])
    await mirror.reconfigure({ upstreams, channels: [{ name: 'dev' }, { name: 'release', default: true }] })
    expect(await listed(mirror)).toEqual(['disputed'])
    expect(await (await fetch(`${mirror.url}/images?channel=dev`)).json()).toEqual([])
    expect(await (await fetch(`${mirror.url}/channels`)).json()).toHaveLength(2)

    const secret = await temporaryDirectory()
    await writeFile(join(secret, 'token'), 'correct-horse-battery-staple')
    const users = [{ name: 'reader', readOnly: true, tokenFile: join(secret, 'token') }]
    await mirror.reconfigure({ upstreams, read: 'users', publish: { users }, rate: '1MB/s' })
    expect((await fetch(`${mirror.url}/images`)).status).toBe(401)
    const authorization = 'Bearer correct-horse-battery-staple'
    expect((await fetch(`${mirror.url}/images`, { headers: { authorization } })).status).toBe(200)
    const { operatorUrl } = mirror
    await mirror.reconfigure({ upstreams, operatorAccess: { local: 'restricted', tokenFile: join(secret, 'token') } })
    expect(await listed(mirror)).toEqual(['disputed'])
    const refresh = (headers = {}) => fetch(`${operatorUrl}/api/refresh`, { method: 'POST', headers })
    expect((await refresh()).status).toBe(401)
    expect((await refresh({ authorization })).status).toBe(200)
  })

  it('shows a renewed certificate, and says what only a restart can do', async () => {
    const directory = await temporaryDirectory()
    const write = async () => {
      const { ca, server } = await makeCertificates()
      await writeFile(join(directory, 'cert.pem'), server.cert)
      await writeFile(join(directory, 'key.pem'), server.key)
      return ca
    }
    const oldCa = await write()
    const secure = { address: '127.0.0.1:0', cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') }
    const mirror = await startMirror({ listen: secure })
    const { port } = new URL(mirror.url)
    const isBelieved = (ca: string) =>
      new Promise<boolean>((resolve) => {
        const socket = connectTls({ port: Number(port), host: '127.0.0.1', ca })
        socket.once('secureConnect', () => resolve(true))
        socket.once('error', () => resolve(false))
        socket.once('secureConnect', () => socket.destroy())
      })
    expect(await isBelieved(oldCa)).toBe(true)
    const newCa = await write()
    await mirror.reconfigure({ listen: secure })
    expect(await isBelieved(newCa)).toBe(true)
    expect(await isBelieved(oldCa)).toBe(false)

    await writeFile(join(directory, 'key.pem'), 'nonsense')
    await expect(mirror.reconfigure({ listen: secure })).rejects.toThrow('with this cert and key')
    expect(await isBelieved(newCa)).toBe(true)
    const answer = await mirror.reconfigure({
      listen: '127.0.0.1:0',
      data: directory,
      offline: true,
      log: { format: 'pretty' },
    })
    expect(answer).toEqual({
      changed: ['listen'],
      needsRestart: ['data', 'offline', 'log.format', 'TLS on 127.0.0.1:0'],
    })
  })

  it('leaks nothing, however often it comes', async () => {
    const image = makeImage({ name: 'asked-for' })
    const upstream = await startUpstream({ images: [image] })
    const settings = (round: number) => ({
      listen: round % 2 === 0 ? '127.0.0.1:0' : ['127.0.0.1:0', '[::1]:0'],
      upstreams: [{ name: `u${round % 3}`, url: upstream.url, connections: 1 + (round % 5) }],
      scrub: { every: round % 2 === 0 ? 'never' : '30d' },
      refresh: `${10 + round}m`,
    })
    const mirror = await startMirror(settings(0))
    for (let round = 1; round <= 40; round++) await mirror.reconfigure(settings(round))
    await mirror.settled()
    expect((await download(mirror.url, uuidOf(image))).kind).toBe('complete')
    const left = () => mirror.log.lines.filter(({ message }) => message.endsWith('is left')).length
    await until(() => left() === 40)
    await until(() => upstream.openConnectionCount <= 3)
    const metrics = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
    expect(metrics.match(/^imgapi_mirror_upstream_up\{.*\}/gm)).toEqual(['imgapi_mirror_upstream_up{upstream="u1"}'])
    const socket = connect(Number(new URL(mirror.url).port), '127.0.0.1')
    await new Promise((resolve) => socket.once('connect', resolve))
    socket.destroy()
  })
})
