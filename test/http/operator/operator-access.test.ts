import http from 'node:http'
import https from 'node:https'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { listen } from '../../../src/http/listener.js'
import { LOCAL_ONLY, type OperatorAccess } from '../../../src/http/operator/operator-access.js'
import { makeOperatorApp } from '../../../src/http/operator/operator-app.js'
import { Jobs } from '../../../src/mirror/jobs.js'
import { hashToken, makeToken } from '../../../src/parts/access-token.js'
import { silentLog } from '../../../src/parts/log.js'
import { MemoryMirror } from '../../support/memory-mirror.js'
import { temporaryDirectory } from '../../support/temporary.js'
import { makeCertificates } from '../../support/upstreams/certificates.js'

const TOKEN = makeToken()

function makeApp(access: Partial<OperatorAccess>) {
  return makeOperatorApp({
    mirror: new MemoryMirror(),
    log: silentLog,
    version: '1.2.3',
    serverName: 'testhost',
    whyNotReady: async () => [],
    metrics: async () => ({ contentType: 'text/plain', body: '' }),
    setRate: () => true,
    api: { operations: { jobs: new Jobs({ log: silentLog }) } as never, exports: {} as never, imports: {} as never },
    access: { ...LOCAL_ONLY, ...access },
  })
}

async function serveOperator(access: Partial<OperatorAccess> = {}, address = '127.0.0.1:0') {
  const listener = await listen(address, makeApp(access).callback())
  onTestFinished(() => listener.close(0))
  return listener.url
}

/** As fetch, which does not let Host be set. */
async function ask(
  url: string,
  headers: Record<string, string> = {},
  { method = 'GET', socketPath }: { method?: string; socketPath?: string } = {},
): Promise<number> {
  return await new Promise((resolve, reject) => {
    const answered = (response: http.IncomingMessage) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode!))
    }
    const request = socketPath
      ? http.request({ socketPath, path: url, headers, method }, answered)
      : http.request(url, { headers, method }, answered)
    request.on('error', reject)
    request.end()
  })
}

it('is open to whoever is on this machine', async () => {
  const url = await serveOperator()
  expect(await ask(`${url}/api/jobs`)).toBe(200)
  expect(await ask(`${url}/rate?limit=1MB/s`, {}, { method: 'PUT' })).toBe(200)
  const path = join(await temporaryDirectory(), 'operator.sock')
  await serveOperator({}, `unix:${path}`)
  expect(await ask('/api/jobs', {}, { socketPath: path })).toBe(200)
})

it.each([
  ['a name that its owner points at us', { host: 'evil.example:8081' }],
  ['a page of another site', { origin: 'https://evil.example' }],
  ['a page of another port', { origin: 'http://localhost:3000' }],
  ['a browser that says cross-site', { 'sec-fetch-site': 'cross-site' }],
  ['a page without an origin', { origin: 'null' }],
])('refuses %s', async (_what, headers) => {
  const url = await serveOperator()
  expect(await ask(`${url}/api/jobs`, headers)).toBe(403)
  expect(await ask(`${url}/rate?limit=1MB/s`, headers, { method: 'PUT' })).toBe(403)
  expect(await ask(`${url}/healthz`, headers)).toBe(200)
})

it('lets our own pages ask', async () => {
  const url = await serveOperator()
  expect(await ask(`${url}/api/jobs`, { origin: url, 'sec-fetch-site': 'same-origin' })).toBe(200)
})

it('takes what comes through a proxy for what it is: from elsewhere', async () => {
  const url = await serveOperator()
  expect(await ask(`${url}/api/jobs`, { 'x-forwarded-for': '10.0.0.1' })).toBe(401)
})

it('asks everybody for the token where it is restricted, probes only where those are', async () => {
  const url = await serveOperator({ isOpenLocally: false, tokenHash: hashToken(TOKEN) })
  expect(await ask(`${url}/api/jobs`)).toBe(401)
  expect(await ask(`${url}/rate?limit=1MB/s`, {}, { method: 'PUT' })).toBe(401)
  expect(await ask(`${url}/metrics`)).toBe(200)
  expect(await ask(`${url}/api/jobs`, { authorization: `Bearer ${makeToken()}` })).toBe(401)
  expect(await ask(`${url}/api/jobs`, { authorization: `Bearer ${TOKEN}` })).toBe(200)
  const closed = await serveOperator({ isOpenLocally: false, areProbesOpen: false, tokenHash: hashToken(TOKEN) })
  expect(await ask(`${closed}/metrics`)).toBe(401)
  expect(await ask(`${closed}/metrics`, { authorization: `Bearer ${TOKEN}` })).toBe(200)
})

it('refuses a token where none is configured, also from this machine', async () => {
  const url = await serveOperator()
  expect(await ask(`${url}/api/jobs`, { authorization: `Bearer ${TOKEN}` })).toBe(401)
})

const elsewhere = Object.values(networkInterfaces())
  .flat()
  .find((each) => each && !each.internal && each.family === 'IPv4')?.address

it.skipIf(!elsewhere)('is closed to other machines, except for the bearer of the token, and probes', async () => {
  const url = await serveOperator({ tokenHash: hashToken(TOKEN) }, `${elsewhere}:0`)
  expect(await ask(`${url}/api/jobs`)).toBe(401)
  // However it calls itself.
  expect(await ask(`${url}/api/jobs`, { host: 'localhost' })).toBe(401)
  expect(await ask(`${url}/api/jobs`, { authorization: `Bearer ${TOKEN}` })).toBe(200)
  expect(await ask(`${url}/healthz`)).toBe(200)
})

it.skipIf(!elsewhere)('lets in who has a certificate of the right authority, and knows them by its name', async () => {
  const [ours, others] = [await makeCertificates(), await makeCertificates()]
  const app = makeApp({ takesCertificates: true })
  const listener = await listen({ address: `${elsewhere}:0`, ...ours.server, clientCa: ours.ca }, app.callback())
  onTestFinished(() => listener.close(0))
  const askWith = async (path: string, client?: { cert: string; key: string }, headers = {}) =>
    await new Promise<number>((resolve, reject) => {
      const options = { ...client, headers, rejectUnauthorized: false, agent: false as const }
      const request = https.request(`${listener.url}${path}`, options, (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode!))
      })
      request.on('error', reject)
      request.end()
    })
  expect(await askWith('/api/jobs', ours.client)).toBe(200)
  expect(await askWith('/api/jobs', others.client)).toBe(401)
  expect(await askWith('/api/jobs')).toBe(401)
  expect(await askWith('/healthz')).toBe(200)
  // A browser shows its certificate to whatever page asks.
  expect(await askWith('/api/jobs', ours.client, { origin: 'https://evil.example' })).toBe(403)
})
