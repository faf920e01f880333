import { expect, it, onTestFinished } from 'vitest'
import { listen } from '../../../src/http/listener.js'
import { makeOperatorApp } from '../../../src/http/operator/operator-app.js'
import { MemoryMirror } from '../../support/memory-mirror.js'
import { RecordingLog } from '../../support/recording-log.js'

async function serveOperator() {
  const loading = { reasons: ['the disk is gone'] }
  const counted: unknown[][] = []
  const rates: unknown[][] = []
  const app = makeOperatorApp({
    mirror: new MemoryMirror(),
    log: new RecordingLog(),
    version: '1.2.3',
    serverName: 'testhost',
    whyNotReady: async () => loading.reasons,
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4; charset=utf-8', body: 'up 1\n' }),
    setRate: (...facts) => {
      rates.push(facts)
      return facts[0] !== 'nobody'
    },
    onRequest: (...facts) => counted.push(facts),
  })
  const listener = await listen('127.0.0.1:0', app.callback())
  onTestFinished(() => listener.close(0))
  return { url: listener.url, loading, counted, rates }
}

it('is alive before it is ready', async () => {
  const { url, loading } = await serveOperator()
  const alive = await fetch(`${url}/healthz`)
  expect(alive.status).toBe(200)
  expect(await alive.json()).toEqual({ status: 'alive', version: '1.2.3' })
  const early = await fetch(`${url}/readyz`)
  expect(early.status).toBe(503)
  expect(await early.json()).toEqual({ status: 'not ready', reasons: ['the disk is gone'] })
  loading.reasons = []
  const ready = await fetch(`${url}/readyz`)
  expect(ready.status).toBe(200)
  expect(await ready.json()).toEqual({ status: 'ready' })
})

it('tells how the upstreams are, with times that people can read', async () => {
  const { url } = await serveOperator()
  const status = (await (await fetch(`${url}/status`)).json()) as { upstreams: object[] }
  expect(status.upstreams[0]).toMatchObject({
    name: 'smartos',
    state: 'reachable',
    lastHeardAt: '2024-01-02T03:04:05.000Z',
    lastError: null,
    nextRefreshAt: null,
    health: {
      breaker: 'open',
      failures: 5,
      nextProbeAt: '2024-01-02T03:04:05.000Z',
      canResume: null,
      quietUntilAt: null,
      rate: { limit: 'closed', untilAt: '2024-01-02T03:04:05.000Z' },
    },
  })
})

it('hands out the metrics as they are made', async () => {
  const { url } = await serveOperator()
  const response = await fetch(`${url}/metrics`)
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(await response.text()).toBe('up 1\n')
})

it('answers nothing else, and counts every request by its route', async () => {
  const { url, counted } = await serveOperator()
  expect((await fetch(`${url}/images`)).status).toBe(404)
  expect((await fetch(`${url}/status`, { method: 'POST' })).status).toBe(405)
  await (await fetch(`${url}/healthz`)).text()
  await expect.poll(() => counted.length).toBe(3)
  expect(counted.map(([route, method, status]) => [route, method, status])).toEqual([
    ['', 'GET', 404],
    ['', 'POST', 405],
    ['/healthz', 'GET', 200],
  ])
})

it('changes the rate of all lines, or of one, and goes back to the configuration', async () => {
  const { url, rates } = await serveOperator()
  const put = (path: string) => fetch(`${url}${path}`, { method: 'PUT' })
  expect((await put('/rate?limit=20Mbit/s')).status).toBe(200)
  expect((await put('/upstreams/smartos/rate?limit=unlimited')).status).toBe(200)
  expect((await fetch(`${url}/rate`, { method: 'DELETE' })).status).toBe(200)
  expect(rates).toEqual([
    [undefined, 2_500_000],
    ['smartos', 'unlimited'],
    [undefined, undefined],
  ])
  const wrong = await put('/rate?limit=20')
  expect(wrong.status).toBe(422)
  expect(((await wrong.json()) as { message: string }).message).toMatch(/found limit "20"; right would be/)
  expect((await put('/rate')).status).toBe(422)
  expect((await put('/upstreams/nobody/rate?limit=1MB/s')).status).toBe(404)
  expect((await fetch(`${url}/rate`)).status).toBe(405)
})
