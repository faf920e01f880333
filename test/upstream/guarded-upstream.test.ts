import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Statement } from '../../src/images/claim.js'
import { parseManifest } from '../../src/images/parse-manifest.js'
import type { Uuid } from '../../src/images/uuid.js'
import { steadyPlan } from '../../src/parts/rate-plan.js'
import { Bandwidth } from '../../src/upstream/bandwidth.js'
import { FAILURES_LIMIT, LAST_RESORT_MS } from '../../src/upstream/circuit-breaker.js'
import type { GuardedUpstream } from '../../src/upstream/guarded-upstream.js'
import { makeUpstream, type UpstreamOptions } from '../../src/upstream/make-upstream.js'
import { NotAsked } from '../../src/upstream/not-asked.js'
import type { FileRequest } from '../../src/upstream/upstream.js'
import { noUpstreamCounters } from '../../src/upstream/upstream-counters.js'
import { FakeClock } from '../support/fake-clock.js'
import { answerFile } from '../support/upstreams/ranges.js'
import { answerJson, type Handler, serve } from '../support/upstreams/serve.js'
import { never, started, upstreamOptions } from './upstream-under-test.js'

const uuid = '11111111-2222-4333-8444-555555555555' as Uuid
const file = Buffer.from('0123456789'.repeat(1000))
const wire = {
  v: 2,
  uuid,
  owner: '00000000-0000-0000-0000-000000000000',
  name: 'base',
  version: '1.0.0',
  state: 'active',
  disabled: false,
  public: true,
  published_at: '2024-01-01T00:00:00.000Z',
  type: 'zone-dataset',
  os: 'smartos',
  files: [{ sha1: createHash('sha1').update(file).digest('hex'), size: file.length, compression: 'none' }],
}
const statement = statementOf(wire)

function statementOf(manifest: unknown): Statement {
  const parsed = parseManifest(manifest, { allowMissingDigest: false })
  if (!parsed.ok) throw new Error(parsed.reason)
  return parsed.statement
}

/** A guarded upstream on a clock of its own, in front of a server that does as `conduct.handler` says. */
async function makeGuarded(handler: Handler, options: Partial<UpstreamOptions> = {}) {
  const conduct = { handler }
  const server = await started(serve((request, response, url) => conduct.handler(request, response, url)))
  const clock = new FakeClock()
  const counted: string[] = []
  const counters = {
    ...noUpstreamCounters,
    breakerTurned: (_name: string, state: string) => counted.push(state),
    retried: () => counted.push('retried'),
    notAsked: (_name: string, reason: string) => counted.push(`not asked: ${reason}`),
  }
  const more = { name: 'ill', clock, random: () => 0.999, counters, ...options }
  const upstream = makeUpstream(upstreamOptions('imgapi', server.url, more))
  onTestFinished(() => upstream.close())
  return { upstream, server, clock, conduct, counted }
}

const broken: Handler = (_request, response) => response.writeHead(500).end()
const angry =
  (status: number, headers: Record<string, string>): Handler =>
  (_request, response) =>
    response.writeHead(status, headers).end()
const well: Handler = (request, response, { pathname }) => {
  if (pathname === '/images') answerJson(response, 200, [wire])
  else if (pathname === `/images/${uuid}`) answerJson(response, 200, wire)
  else if (pathname === `/images/${uuid}/file`) answerFile(request, response, file, {})
  else answerJson(response, 404, { code: 'ResourceNotFound', message: 'no' })
}

const open = (upstream: GuardedUpstream, more: Partial<FileRequest> = {}) =>
  upstream.openFile({ statement, fileIndex: 0, startBytes: 0, signal: never, ...more })

async function readFile(upstream: GuardedUpstream, more: Partial<FileRequest> = {}): Promise<Buffer> {
  return await buffer((await open(upstream, more)).body)
}

/** Lets time pass until `promise` is settled: retries wait on the clock, requests on the network. */
async function settle<Value>(clock: FakeClock, promise: Promise<Value>): Promise<Value> {
  let isSettled = false
  const done = () => {
    isSettled = true
  }
  promise.then(done, done)
  while (!isSettled) {
    if (clock.pausing > 0) await clock.advance(100)
    else await new Promise((resolve) => setImmediate(resolve))
  }
  return await promise
}

async function fail(upstream: GuardedUpstream, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await expect(open(upstream)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
  }
}

describe('an upstream that is ill', () => {
  it('is not asked any more, and says so at once, until a probe finds it well', async () => {
    const { upstream, server, clock, conduct, counted } = await makeGuarded(broken)
    await fail(upstream, FAILURES_LIMIT)
    expect(server.requests).toHaveLength(FAILURES_LIMIT)
    const { breaker, failures, nextProbeMs } = upstream.health()
    expect({ breaker, failures }).toEqual({ breaker: 'open', failures: FAILURES_LIMIT })

    const refusal = await upstream.getImage(uuid, never).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(NotAsked)
    expect(refusal).toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
      message: expect.stringContaining(new Date(nextProbeMs!).toISOString()),
      retryAfterMs: expect.closeTo(nextProbeMs! - clock.wallMs(), -1),
    })
    expect(server.requests).toHaveLength(FAILURES_LIMIT)

    conduct.handler = well
    await clock.advance(nextProbeMs! - clock.wallMs())
    expect(await upstream.getImage(uuid, never)).toEqual(statement)
    expect(upstream.health()).toMatchObject({ breaker: 'closed', failures: 0, nextProbeMs: undefined })
    expect(counted).toEqual(['open', 'not asked: breaker', 'half-open', 'closed'])
  })

  it('is well if it answers, be it with nonsense or a no', async () => {
    const { upstream, conduct } = await makeGuarded(broken)
    for (const answer of [angry(404, {}), angry(200, { 'content-type': 'text/html' }), angry(418, {})]) {
      conduct.handler = broken
      await fail(upstream, FAILURES_LIMIT - 1)
      conduct.handler = answer
      await expect(open(upstream)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
      expect(upstream.health()).toMatchObject({ breaker: 'closed', failures: 0 })
    }
  })

  it('is ill if it begins to answer and then sends nothing', async () => {
    const mute: Handler = (_request, response) => {
      response.writeHead(200, { 'content-length': String(file.length) }).flushHeaders()
      setImmediate(() => response.destroy())
    }
    const { upstream } = await makeGuarded(mute)
    for (let i = 0; i < FAILURES_LIMIT; i++) {
      const { body } = await open(upstream)
      const closed = new Promise((resolve) => body.once('close', resolve))
      await expect(buffer(body)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
      await closed
    }
    expect(upstream.health().breaker).toBe('open')
  })

  it('is not ill if its line drops after some bytes, however often', async () => {
    const dropping: Handler = (_request, response) => {
      response.writeHead(200, { 'content-length': String(file.length) }).write(file.subarray(0, 100), () => {
        response.destroy()
      })
    }
    const { upstream } = await makeGuarded(dropping)
    for (let i = 0; i < 2 * FAILURES_LIMIT; i++) await expect(readFile(upstream)).rejects.toThrow()
    expect(upstream.health().breaker).toBe('closed')
  })

  it('is probed early for a client who has nobody else to ask', async () => {
    const { upstream, server, clock, conduct } = await makeGuarded(broken)
    await fail(upstream, FAILURES_LIMIT)
    for (let i = 0; i < 3; i++) {
      await clock.advance(upstream.health().nextProbeMs! - clock.wallMs())
      await fail(upstream, 1)
    }
    const asked = server.requests.length
    conduct.handler = well
    await expect(open(upstream, { isLastResort: true })).rejects.toBeInstanceOf(NotAsked)
    await clock.advance(LAST_RESORT_MS)
    await expect(open(upstream)).rejects.toBeInstanceOf(NotAsked)
    expect(server.requests).toHaveLength(asked)
    expect(await readFile(upstream, { isLastResort: true })).toEqual(file)
  })

  it('is not blamed for who leaves', async () => {
    const { upstream } = await makeGuarded(() => {})
    for (let i = 0; i < FAILURES_LIMIT; i++) {
      const leaving = new AbortController()
      const asking = upstream.getImage(uuid, leaving.signal)
      leaving.abort(new Error('I am leaving'))
      await expect(asking).rejects.toThrow('I am leaving')
    }
    expect(upstream.health()).toMatchObject({ breaker: 'closed', failures: 0 })
  })
})

describe('a question that fails', () => {
  it('is asked again, twice, each time a little later', async () => {
    const { upstream, server, clock, conduct, counted } = await makeGuarded(broken)
    await expect(settle(clock, upstream.getImage(uuid, never))).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
    expect(server.requests).toHaveLength(3)
    expect(clock.steadyMs()).toBeGreaterThan(1_100)
    expect(upstream.health().failures).toBe(1)

    let failures = 2
    conduct.handler = (...asked) => (failures-- > 0 ? broken : well)(...asked)
    expect(await settle(clock, upstream.getImage(uuid, never))).toEqual(statement)
    expect(counted).toEqual(Array(4).fill('retried'))
  })

  it.each([
    ['a file', (upstream: GuardedUpstream) => open(upstream)],
    ['a probe', (upstream: GuardedUpstream) => upstream.getImage(uuid, never)],
  ])('is not asked again if it is %s', async (what, ask) => {
    const { upstream, server, clock } = await makeGuarded(broken)
    if (what === 'a probe') {
      await fail(upstream, FAILURES_LIMIT)
      await clock.advance(60_000)
    }
    const asked = server.requests.length
    await expect(settle<unknown>(clock, ask(upstream))).rejects.toThrow()
    expect(server.requests).toHaveLength(asked + 1)
  })

  it('is not asked again if it was answered', async () => {
    const { upstream, server } = await makeGuarded(angry(418, {}))
    await expect(upstream.getImage(uuid, never)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    expect(server.requests).toHaveLength(1)
  })

  it('is given up when whoever asks leaves', async () => {
    const { upstream, server, clock } = await makeGuarded(broken)
    const leaving = new AbortController()
    const asking = upstream.getImage(uuid, leaving.signal)
    while (clock.pausing === 0) await new Promise((resolve) => setImmediate(resolve))
    leaving.abort(new Error('I am leaving'))
    await expect(asking).rejects.toThrow('I am leaving')
    expect(server.requests).toHaveLength(1)
  })
})

describe('an upstream that wants to be left alone', () => {
  it('is, for as long as it says', async () => {
    const { upstream, server, clock, conduct } = await makeGuarded(angry(429, { 'retry-after': '90' }))
    await expect(upstream.getImage(uuid, never)).rejects.toMatchObject({ retryAfterMs: 90_000 })
    await clock.advance(10_000)
    const refusal = await open(upstream).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(NotAsked)
    expect(refusal).toMatchObject({ retryAfterMs: 80_000 })
    expect(server.requests).toHaveLength(1)
    expect(upstream.health()).toMatchObject({ failures: 1, quietUntilMs: clock.wallMs() + 80_000 })
    conduct.handler = well
    await clock.advance(80_000)
    expect(await readFile(upstream)).toEqual(file)
  })

  it('is, also by those who had to queue before it said so', async () => {
    const { upstream, server } = await makeGuarded(angry(429, { 'retry-after': '90' }), { connections: 1 })
    const asking = [open(upstream), open(upstream), open(upstream)]
    await Promise.allSettled(asking)
    await expect(asking[2]).rejects.toBeInstanceOf(NotAsked)
    expect(server.requests).toHaveLength(1)
  })

  it('says so at once, and not after queueing', async () => {
    const { upstream, conduct } = await makeGuarded(well, { connections: 2 })
    const { body } = await open(upstream)
    conduct.handler = angry(429, { 'retry-after': '90' })
    await expect(upstream.getImage(uuid, never)).rejects.toThrow('answered 429')
    // The one place for downloads is taken.
    await expect(open(upstream)).rejects.toBeInstanceOf(NotAsked)
    body.destroy()
  })

  it('for a moment, is asked again by itself when that is over', async () => {
    const { upstream, clock, conduct } = await makeGuarded(angry(503, { 'retry-after': '1' }))
    const first = conduct.handler
    conduct.handler = (...asked) => {
      conduct.handler = well
      first(...asked)
    }
    expect(await settle(clock, upstream.getImage(uuid, never))).toEqual(statement)
    expect(clock.steadyMs()).toBeGreaterThanOrEqual(1000)
  })

  it('is asked more slowly before its patience ends', async () => {
    const { upstream, clock } = await makeGuarded((request, response, url) => {
      response.setHeader('ratelimit-remaining', '3').setHeader('ratelimit-reset', '8')
      well(request, response, url)
    })
    await upstream.getImage(uuid, never)
    expect(clock.steadyMs()).toBe(0)
    await settle(clock, upstream.getImage(uuid, never))
    expect(clock.steadyMs()).toBeGreaterThanOrEqual(2000)
  })
})

describe('parts of a file', () => {
  it('may be had from several connections at once', async () => {
    const { upstream, server } = await makeGuarded(well)
    expect(upstream.health().canResume).toBeUndefined()
    const answers = await Promise.all(
      [0, 4000, 8000].map((startBytes) =>
        open(upstream, { startBytes, endBytes: Math.min(startBytes + 4000, file.length) }),
      ),
    )
    expect(answers.map(({ startBytes, endBytes, totalBytes }) => [startBytes, endBytes, totalBytes])).toEqual([
      [0, 4000, file.length],
      [4000, 8000, file.length],
      [8000, 10_000, file.length],
    ])
    expect(Buffer.concat(await Promise.all(answers.map(({ body }) => buffer(body))))).toEqual(file)
    expect(server.requests.map(({ headers }) => headers.range).sort()).toEqual([
      'bytes=0-3999',
      'bytes=4000-7999',
      'bytes=8000-9999',
    ])
    expect(upstream.health().canResume).toBe(true)
  })

  it('are the whole where ranges are not known, which is remembered', async () => {
    const { upstream, conduct } = await makeGuarded((_request, response) => whole(response))
    const answer = await open(upstream, { startBytes: 4000, endBytes: 8000 })
    expect(answer).toMatchObject({ startBytes: 0, endBytes: file.length })
    expect(await buffer(answer.body)).toEqual(file)
    expect(upstream.health().canResume).toBe(false)
    // A whole file for another validator says nothing about ranges.
    conduct.handler = well
    await readFile(upstream, { startBytes: 4000 })
    conduct.handler = (_request, response) => whole(response)
    await readFile(upstream, { startBytes: 4000, validator: '"old"' })
    expect(upstream.health().canResume).toBe(true)
  })

  it.each(['bytes 0-4000/10000', 'bytes 0-9999/10000', 'bytes 1-3999/10000'])(
    'are refused when %s comes instead of 4000 bytes',
    async (range) => {
      const { upstream } = await makeGuarded((_request, response) => {
        response.writeHead(206, { 'content-range': range }).end()
      })
      await expect(open(upstream, { endBytes: 4000 })).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    },
  )
})

function whole(response: ServerResponse): void {
  response.writeHead(200, { 'content-length': String(file.length) }).end(file)
}

describe('a line with a rate', () => {
  it('holds back every byte of files, lists and manifests, and says so', async () => {
    const waited: number[] = []
    const { upstream, clock } = await makeGuarded(well, {
      rate: steadyPlan(1000),
      counters: { ...noUpstreamCounters, waitedForRate: (_name, seconds) => waited.push(seconds) },
    })
    expect(await settle(clock, readFile(upstream))).toEqual(file)
    expect(clock.steadyMs()).toBeGreaterThan(9_000)
    expect(clock.steadyMs()).toBeLessThan(10_500)
    const beforeMs = clock.steadyMs()
    await settle(clock, upstream.listImages({ signal: never }))
    await settle(clock, upstream.getImage(uuid, never))
    expect(clock.steadyMs() - beforeMs).toBeGreaterThan(500)
    expect(waited.reduce((sum, seconds) => sum + seconds)).toBeCloseTo(clock.steadyMs() / 1000, -1)
    expect(upstream.health().rate).toEqual({ limit: 1000, untilMs: undefined })
  })

  it('holds back the bytes of refusals too', async () => {
    const { upstream, clock } = await makeGuarded(
      (_request, response) => answerJson(response, 418, { message: 'x'.repeat(2000) }),
      { rate: steadyPlan(1000) },
    )
    await expect(settle(clock, open(upstream))).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    expect(clock.steadyMs()).toBeGreaterThan(1_000)
  })

  it('can be changed under way', async () => {
    const { upstream, clock } = await makeGuarded(well, { rate: steadyPlan(1000) })
    const reading = readFile(upstream)
    while (clock.pausing === 0) await new Promise((resolve) => setImmediate(resolve))
    upstream.setRate(steadyPlan('unlimited'))
    expect(await settle(clock, reading)).toEqual(file)
    expect(clock.steadyMs()).toBeLessThan(1000)
  })

  it('shares a rate with all others', async () => {
    const clock = new FakeClock()
    const totalBandwidth = new Bandwidth('the line', steadyPlan(1000), clock)
    const [one, other] = [
      await makeGuarded(well, { clock, totalBandwidth }),
      await makeGuarded(well, { clock, totalBandwidth }),
    ]
    await settle(clock, Promise.all([readFile(one.upstream), readFile(other.upstream)]))
    expect(clock.steadyMs()).toBeGreaterThan(19_000)
  })

  it('is kept in real time', async () => {
    const { upstream } = await makeGuarded(well, { clock: undefined, rate: steadyPlan(20_000) })
    const startMs = performance.now()
    expect(await readFile(upstream)).toEqual(file)
    const seconds = (performance.now() - startMs) / 1000
    // 10,000 bytes less a burst take 0.4 seconds; a loaded machine may take longer.
    expect(seconds).toBeGreaterThan(0.3)
    expect(seconds).toBeLessThan(10)
  })

  it('that is closed keeps an upstream of the old kind alone too', async () => {
    const closed = { timezone: 'UTC', windows: [], otherwise: 'closed', whenClosed: 'allow' } as const
    const { upstream, server } = await makeGuarded(well, { type: 'dsapi', rate: closed })
    await expect(upstream.listImages({ signal: never })).rejects.toBeInstanceOf(NotAsked)
    const whereabouts = [JSON.stringify({ url: `${server.url}/a`, path: 'b' })]
    const asking = open(upstream, { statement: { ...statement, whereabouts }, priority: 'background' })
    await expect(asking).rejects.toBeInstanceOf(NotAsked)
    expect(server.requests).toHaveLength(0)
    expect(await upstream.getChunks(statement, 0, never)).toBeUndefined()
  })

  it('that is closed lets lists wait without asking, and clients through', async () => {
    const closed = { timezone: 'UTC', windows: [], otherwise: 'closed', whenClosed: 'allow' } as const
    const { upstream, server, counted } = await makeGuarded(well, { rate: closed })
    await expect(upstream.listImages({ signal: never })).rejects.toBeInstanceOf(NotAsked)
    await expect(open(upstream, { priority: 'background' })).rejects.toBeInstanceOf(NotAsked)
    expect(server.requests).toHaveLength(0)
    expect(counted).toEqual(['not asked: closed', 'not asked: closed'])
    expect(await readFile(upstream)).toEqual(file)
    upstream.setRate({ ...closed, whenClosed: 'refuse' })
    await expect(open(upstream)).rejects.toBeInstanceOf(NotAsked)
    expect(upstream.health()).toMatchObject({ breaker: 'closed', failures: 0, rate: { limit: 'closed' } })
  })
})
