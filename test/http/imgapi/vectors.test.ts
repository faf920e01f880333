import http from 'node:http'
import { expect, it } from 'vitest'
import { serveMirror } from '../../support/imgapi-server.js'
import { INTENDED } from '../../support/intended-differences.js'
import { makeSshKey, signedDate } from '../../support/ssh-keys.js'
import { authenticatorOf } from '../../support/users.js'
import { vectors } from '../../support/vectors.js'

const key = makeSshKey('rsa')
/** When the clock of the authenticator stands. */
const SIGNING = { algorithm: 'rsa-sha256', date: 'Mon, 05 Jan 2026 12:00:00 GMT' }

interface Exchange {
  readonly request: string
  readonly auth?: boolean
  readonly note?: string
  readonly requestHeaders?: Record<string, string>
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body?: unknown
  readonly bodyText?: string
}

/** Where we answer otherwise than sdc-imgapi 4.13.1 on purpose: by number in the vectors, as which row of docs/imgapi.md. */
const DIFFERENCES: Record<number, { as: string } & Partial<Exchange>> = {
  17: { as: 'file-tag', status: 304 },
  18: { as: 'file-tag', status: 200 },
  24: { as: 'range', status: 206, bodyText: 'payl' },
  28: { as: 'head', status: 200 },
  29: { as: 'allow', headers: { allow: 'GET, HEAD' } },
  65: { as: 'version', body: { ping: 'pong', version: '1.2.3', imgapi: true } },
  66: {
    as: 'version',
    body: { ping: 'pong', version: '1.2.3', imgapi: true, pid: 4711, user: 'alice' },
  },
}

const exchanges = vectors<Exchange[]>('imgapiRequests')
  .map((exchange, number) => ({ ...exchange, number }))
  // Who may is test/http/auth/'s business.
  .filter(({ request }) => request !== 'GET /state')

const images = vectors<{ images: Record<string, unknown>[] }>('imgapiList').images

it('finds each difference among the exchanges', () => {
  const numbers = exchanges.map(({ number }) => number)
  expect(Object.keys(DIFFERENCES).filter((number) => !numbers.includes(Number(number)))).toEqual([])
})

it('differs only as docs/imgapi.md says', () => {
  for (const { as } of Object.values(DIFFERENCES)) expect(INTENDED.has(as), as).toBe(true)
})

it.each(exchanges)('$number: $request is answered as by sdc-imgapi', async ({ number, ...recorded }) => {
  const authenticator = await authenticatorOf([{ name: 'alice', sshKeyFiles: ['alice.pub'] }], {
    files: { 'alice.pub': key.line },
  })
  const { url, mirror } = await serveMirror({}, { authenticator, pid: 4711 })
  for (const image of images) {
    const wire = Object.fromEntries(Object.entries(image).filter(([key]) => !key.startsWith('_')))
    const place = Number(String(wire.uuid).slice(-2))
    const hasFile = (wire.files as unknown[]).length > 0
    mirror.add(wire, hasFile ? [Buffer.from(`payload-${place}\n`)] : [])
  }
  const difference = DIFFERENCES[number]
  const expected: Exchange = { ...recorded, ...difference }
  const [method = 'GET', path = '/'] = recorded.request.split(' ')
  const isUnknown = recorded.note === 'passive auth with an unknown user'
  const signed = recorded.auth || isUnknown ? signedDate(isUnknown ? 'nobody' : 'alice', key, SIGNING) : {}
  const answer = await ask(url, method, path, { ...recorded.requestHeaders, ...signed })

  expect(answer.status).toBe(expected.status)
  if (difference?.status === undefined && expected.body !== undefined) {
    expect(JSON.parse(answer.text)).toEqual(expected.body)
    expect(answer.text).toBe(JSON.stringify(expected.body, null, 2))
  }
  if (expected.bodyText !== undefined && expected.status < 300) expect(answer.text).toBe(expected.bodyText)
  const { etag, ...headers } = difference?.headers ?? (difference ? {} : (recorded.headers ?? {}))
  // Ours are quoted, as RFC 9110 wants them.
  if (etag !== undefined && expected.status === 200) expect(answer.headers.etag).toBe(`"${etag}"`)
  for (const [name, value] of Object.entries(headers)) expect(answer.headers[name], name).toBe(value)
})

/** By hand, since fetch would normalize the path. */
function ask(url: string, method: string, path: string, headers: Record<string, string>) {
  return new Promise<{ status: number; headers: http.IncomingHttpHeaders; text: string }>((resolve, reject) => {
    const { hostname, port } = new URL(url)
    const request = http.request({ hostname, port, method, path, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end()
  })
}
