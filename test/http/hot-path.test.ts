import { describe, expect, it, onTestFinished } from 'vitest'
import { type ClientAppOptions, makeClientApp, makeClientHandler } from '../../src/http/client-app.js'
import { listen } from '../../src/http/listener.js'
import { IMGADM_HEADERS } from '../support/imgadm-headers.js'
import { MemoryMirror, wireOf } from '../support/memory-mirror.js'
import { RawClient, splitResponse } from '../support/raw-client.js'
import { RecordingLog } from '../support/recording-log.js'
import { ALICE, authenticatorOf } from '../support/users.js'

const uuidOf = (place: number) => `aaaaaaaa-0000-4000-8000-${String(place).padStart(12, '0')}`
const ONE = `/images/${uuidOf(1)}`
const HIDDEN = `/images/${uuidOf(2)}`
const UNKNOWN = `/images/${uuidOf(99)}`

/** The same mirror twice: as clients have it, and the app alone. */
async function serveBoth(more: Partial<ClientAppOptions> = {}) {
  const mirror = new MemoryMirror()
  for (let place = 0; place < 20; place += 1) {
    mirror.add(
      wireOf(uuidOf(place), Buffer.from('x'), { description: 'Ein Abbild — für SmartOS ☃', public: place !== 2 }),
    )
  }
  const served = { mirror, authenticator: await authenticatorOf(), version: '1.2.3', serverName: 'testhost', ...more }
  const open = async (isWhole: boolean) => {
    const log = new RecordingLog()
    const counted: unknown[][] = []
    const onRequest = (...facts: unknown[]) => void counted.push(facts)
    const options = { ...served, log, onRequest }
    const handler = isWhole ? makeClientHandler(options) : makeClientApp(options).callback()
    const listener = await listen('127.0.0.1:0', handler)
    onTestFinished(() => listener.close(0))
    return { url: listener.url, log, counted }
  }
  return { mirror, whole: await open(true), app: await open(false) }
}

async function ask({ url }: { readonly url: string }, request: string, headers: Readonly<Record<string, string>> = {}) {
  const client = await RawClient.to(url)
  const lines = Object.entries({ Host: 'x', ...headers, Connection: 'close' }).map(
    ([name, value]) => `${name}: ${value}`,
  )
  client.send(`${request} HTTP/1.1`, ...lines, '', '')
  const { head, body } = splitResponse(await client.closed())
  return { head: withoutWhatVaries(head), body }
}

/** Sorted: where a header stands means nothing. */
function withoutWhatVaries(head: string): string[] {
  const [status = '', ...headers] = head.split('\r\n')
  return [status, ...headers.filter((line) => !/^(date|x-request-id|x-response-time):/i.test(line)).sort()]
}

const REQUESTS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  [`GET ${ONE}`, {}],
  [`GET ${ONE}`, IMGADM_HEADERS],
  ['GET /images', {}],
  ['GET /images', IMGADM_HEADERS],
  [`GET ${ONE}`, { 'X-Forwarded-For': '192.0.2.7', 'X-Forwarded-Proto': 'https', 'X-Real-IP': '192.0.2.7' }],
  [`HEAD ${ONE}`, {}],
  ['HEAD /images', {}],
  [`GET ${HIDDEN}`, {}],
  [`GET ${UNKNOWN}`, {}],
  [`GET ${ONE.toUpperCase()}`, {}],
  [`GET ${ONE}?x=1`, {}],
  [`GET /mirror${ONE}`, {}],
  ['GET /images?limit=3', {}],
  ['GET /images/', {}],
  ['GET /images/aaaaaaaa-0000-4000-8000-00000000000z', {}],
  [`GET http://elsewhere${ONE}`, {}],
  [`POST ${ONE}`, { 'Content-Length': '0' }],
  [`GET ${ONE}`, { 'Content-Length': '2' }],
  [`GET ${ONE}`, { 'If-None-Match': '*' }],
  [`GET ${ONE}`, { 'If-Match': '"other"' }],
  ['GET /images', { 'If-None-Match': '*' }],
  [`GET ${ONE}`, { 'Accept-Encoding': 'gzip' }],
  ['GET /images', { 'Accept-Encoding': 'br' }],
  [`GET ${ONE}`, { 'Accept-Version': '~3' }],
  [`GET ${ONE}`, { 'X-Api-Version': '~3' }],
  [`GET ${ONE}`, { Authorization: 'Basic Og==' }],
  [`GET ${ONE}`, { Via: '1.1 imgapi-mirror-0123456789abcdef' }],
  [`GET ${ONE}`, { Origin: 'http://elsewhere.example' }],
]

const RULES: readonly (readonly [string, () => Promise<Partial<ClientAppOptions>>])[] = [
  ['open to all', async () => ({})],
  ['that has users', async () => ({ authenticator: await authenticatorOf([ALICE]) })],
  ['that hides what is private', async () => ({ authenticator: await authenticatorOf([], { hidesPrivate: true }) })],
  ['for users alone', async () => ({ authenticator: await authenticatorOf([ALICE], { read: 'users' }) })],
  ['that knows itself', async () => ({ instance: 'imgapi-mirror-0123456789abcdef' })],
  ['below a path', async () => ({ address: { publicUrl: new URL('http://images.example/mirror') } })],
]

describe.each(RULES)('on a mirror %s', (_which, rules) => {
  it.each(REQUESTS)(
    '%s with %j has the answer, the line in the log and the counts that the app gives',
    async (request, headers) => {
      const { app, whole } = await serveBoth(await rules())
      // The second time from memory.
      for (let time = 1; time <= 2; time += 1) {
        const expected = await ask(app, request, headers)
        expect(await ask(whole, request, headers)).toEqual(expected)
        const [line] = (await whole.log.requests(time)).slice(-1)
        const [lineOfApp] = (await app.log.requests(time)).slice(-1)
        const facts = { requestId: expect.any(String), durationMs: expect.any(Number) }
        expect(line).toEqual({ ...lineOfApp, facts: { ...lineOfApp?.facts, ...facts } })
        expect(Object.keys(line?.facts ?? {})).toEqual(Object.keys(lineOfApp?.facts ?? {}))
      }
      const withoutTimes = (counted: unknown[][]) =>
        counted.map(([route, method, status, , bytes]) => [route, method, status, bytes])
      expect(withoutTimes(whole.counted)).toEqual(withoutTimes(app.counted))
    },
  )
})

describe('what is asked most', () => {
  it('is answered without asking the app: one manifest always, the list when it is ready', async () => {
    const { mirror, whole } = await serveBoth()
    for (let time = 0; time < 3; time += 1) {
      await ask(whole, `GET ${ONE}`, IMGADM_HEADERS)
      await ask(whole, 'GET /images', IMGADM_HEADERS)
    }
    expect(mirror.imagesAsked).toBe(0)
    expect(mirror.listsAsked).toBe(1)
  })

  it('has changed as soon as the catalogue has', async () => {
    const { mirror, whole } = await serveBoth()
    for (const version of ['1.0.0', '2.0.0', '3.0.0']) {
      mirror.add(wireOf(uuidOf(1), Buffer.from('x'), { version }))
      for (let time = 0; time < 2; time += 1) {
        expect(JSON.parse((await ask(whole, `GET ${ONE}`)).body)).toMatchObject({ version })
        const list = JSON.parse((await ask(whole, 'GET /images')).body) as { uuid: string; version: string }[]
        expect(list.find(({ uuid }) => uuid === uuidOf(1))?.version).toBe(version)
      }
    }
  })

  it('is not answered from memory where the list is longer than what goes out in one go', async () => {
    const { mirror, whole } = await serveBoth()
    mirror.add(wireOf(uuidOf(500), Buffer.from('x'), { description: 'x'.repeat(4 * 1024 * 1024) }))
    const bodies = [await ask(whole, 'GET /images'), await ask(whole, 'GET /images')]
    expect(bodies[1]).toEqual(bodies[0])
    expect(mirror.listsAsked).toBe(2)
  })

  it('takes the id and the address of who asks, as everything does', async () => {
    const { whole } = await serveBoth({ address: { trustedProxies: ['127.0.0.1'] } })
    await ask(whole, `GET ${ONE}`, { 'X-Request-Id': 'mine', 'X-Forwarded-For': '192.0.2.7' })
    const [line] = await whole.log.requests(1)
    expect(line?.facts).toMatchObject({ requestId: 'mine', client: '192.0.2.7', isComplete: true })
  })

  it('is told as cut when the client leaves before it has all of it', async () => {
    const { mirror, whole } = await serveBoth()
    for (let place = 1000; place < 4000; place += 1) {
      mirror.add(wireOf(uuidOf(place), Buffer.from('x'), { description: 'x'.repeat(500) }))
    }
    await ask(whole, 'GET /images?limit=1')
    await ask(whole, 'GET /images')
    const client = await RawClient.to(whole.url)
    client.socket.pause()
    for (let time = 0; time < 6; time += 1) client.send('GET /images HTTP/1.1', 'Host: x', '', '')
    await whole.log.requests(3)
    client.socket.destroy()
    const lines = await whole.log.requests(8)
    expect(lines.some(({ facts }) => facts.isComplete === false)).toBe(true)
  })
})
