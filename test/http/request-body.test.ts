import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { buffer } from 'node:stream/consumers'
import Koa from 'koa'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Refusal } from '../../src/http/answers.js'
import { type Context, everyRequest, type RequestState } from '../../src/http/every-request.js'
import { listen } from '../../src/http/listener.js'
import { readJsonBody } from '../../src/http/read-body.js'
import { reportAppErrors } from '../../src/http/report-app-errors.js'
import { type BodyBounds, DEFAULT_BODY_BOUNDS } from '../../src/http/request-body.js'
import { sendJson } from '../../src/http/send-json.js'
import { deferred } from '../../src/parts/deferred.js'
import { RawClient, splitResponse } from '../support/raw-client.js'
import { RecordingLog } from '../support/recording-log.js'

/** What every endpoint here gets around it, and one that does as it is told. */
async function serving(endpoint: (context: Context) => Promise<void>, bounds: Partial<BodyBounds> = {}) {
  const log = new RecordingLog()
  const app = new Koa<RequestState>()
  reportAppErrors(app, log)
  const bodyBounds = { ...DEFAULT_BODY_BOUNDS, ...bounds }
  app.use(everyRequest({ log, version: '1.2.3', serverName: 'testhost', bodyBounds }))
  app.use(endpoint)
  const listener = await listen('127.0.0.1:0', app.callback())
  onTestFinished(() => listener.close(0))
  return { url: listener.url, log }
}

/** Counts and hashes what it takes. */
async function takeAll(context: Context): Promise<void> {
  const hash = createHash('sha1')
  let bytes = 0
  for await (const chunk of context.state.body.take() as AsyncIterable<Buffer>) {
    hash.update(chunk)
    bytes += chunk.length
  }
  await sendJson(context, { bytes, sha1: hash.digest('hex') }, { cacheControl: 'no-store' })
}

async function refuse(): Promise<void> {
  throw new Refusal(422, 'ImageFilesImmutable', 'cannot modify files')
}

const echo = async (context: Context) =>
  sendJson(context, { value: (await readJsonBody(context)) ?? 'nothing' }, { cacheControl: 'no-store' })

async function post(url: string, body: string | Buffer, headers: Record<string, string> = {}) {
  const answer = await fetch(url, { method: 'POST', body: new Uint8Array(Buffer.from(body)), headers })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

describe('a body that is taken', () => {
  it.each(['with a length', 'in chunks'])('arrives whole %s, and the connection goes on', async (how) => {
    const { url } = await serving(takeAll)
    const bytes = Buffer.alloc(5_000_000, 'image file ')
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    onTestFinished(() => agent.destroy())
    for (const _time of [1, 2]) {
      const headers = how === 'in chunks' ? { 'transfer-encoding': 'chunked' } : { 'content-length': bytes.length }
      const request = http.request(url, { method: 'PUT', agent, headers })
      request.end(bytes)
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      const answer = JSON.parse(Buffer.concat(await response.toArray()).toString())
      expect(answer).toEqual({ bytes: bytes.length, sha1: createHash('sha1').update(bytes).digest('hex') })
      expect(response.headers.connection).toBe('keep-alive')
    }
  })

  it('is asked for only when it is taken', async () => {
    const { url } = await serving(takeAll)
    const client = await RawClient.to(url)
    client.send('PUT / HTTP/1.1', 'Host: x', 'Content-Length: 5', 'Expect: 100-continue', '', '')
    await client.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
    client.send('12345')
    await client.until(/HTTP\/1\.1 200 OK.*"bytes": 5/s)
  })

  it('of no bytes ends at once', async () => {
    const { url } = await serving(takeAll)
    expect((await post(url, '')).body.bytes).toBe(0)
  })

  it('fails when its sender leaves in the middle', async () => {
    const failed = deferred<Error>()
    const { url } = await serving((context) =>
      takeAll(context).catch((error: Error) => {
        failed.resolve(error)
        throw error
      }),
    )
    const client = await RawClient.to(url)
    client.send('PUT / HTTP/1.1', 'Host: x', 'Content-Length: 500000', '', 'some of it')
    client.socket.end()
    expect((await failed.promise).message).toMatch(/left in the middle|client has left/)
  })

  it('that breaks off before it is read harms nobody but its reader', async () => {
    const [taken, broken, failed] = [deferred<void>(), deferred<void>(), deferred<unknown>()]
    const { url } = await serving(async (context) => {
      const body = context.state.body.take()
      body.once('close', () => broken.resolve())
      taken.resolve()
      await broken.promise
      await buffer(body).catch(failed.resolve)
    })
    const client = await RawClient.to(url)
    client.send('PUT / HTTP/1.1', 'Host: x', 'Content-Length: 500000', '', 'some of it')
    await taken.promise
    client.socket.destroy()
    expect(await failed.promise).toBeInstanceOf(Error)
  })

  it('is waited for as long as it moves, and no longer', async () => {
    const { url } = await serving(takeAll, { paceMs: 200, paceBytes: 10, lingerMs: 50 })
    const client = await RawClient.to(url)
    client.send('PUT / HTTP/1.1', 'Host: x', 'Content-Length: 1000', '', '')
    for (let sent = 0; sent < 400; sent += 20) {
      client.send('x'.repeat(20))
      await new Promise((resolve) => setTimeout(resolve, 50)) // the pace is what is measured
      expect(client.text).toBe('')
    }
    const { head, body } = splitResponse(await client.closed())
    expect(head).toMatch(/^HTTP\/1\.1 408 /)
    expect(JSON.parse(body).code).toBe('RequestTimeoutError')
  })

  it('does not run late while it is its reader who waits', async () => {
    const wait = deferred<void>()
    const { url } = await serving(
      async (context) => {
        const body = context.state.body.take()
        await once(body, 'readable')
        await wait.promise
        let bytes = 0
        for await (const chunk of body as AsyncIterable<Buffer>) bytes += chunk.length
        await sendJson(context, { bytes }, { cacheControl: 'no-store' })
      },
      { paceMs: 50, paceBytes: 1000 },
    )
    const answer = post(url, Buffer.alloc(10_000_000))
    await new Promise((resolve) => setTimeout(resolve, 400)) // eight times the pace
    wait.resolve()
    expect(await answer).toEqual({ status: 200, body: { bytes: 10_000_000 } })
  })

  it('may be given up in the middle, and its sender is told why', async () => {
    const { url } = await serving(async (context) => {
      for await (const _chunk of context.state.body.take()) break
      throw new Refusal(400, 'Upload', 'enough')
    })
    const client = await RawClient.to(url)
    client.send('PUT / HTTP/1.1', 'Host: x', 'Content-Length: 1000000', '', 'x'.repeat(100_000))
    await client.until(/HTTP\/1\.1 400 .*enough/s)
    client.send('x'.repeat(900_000)) // who does not look up is not reset
    expect(await client.closed()).toMatch(/Connection: close/i)
  })
})

describe('a body that is refused', () => {
  it('is not asked for, and the connection ends with the answer', async () => {
    const { url } = await serving(refuse)
    const client = await RawClient.to(url)
    client.send('PUT / HTTP/1.1', 'Host: x', 'Content-Length: 20000000000', 'Expect: 100-continue', '', '')
    const { head, body } = splitResponse(await client.closed())
    expect(head).toMatch(/^HTTP\/1\.1 422 /)
    expect(head).toMatch(/^Connection: close$/im)
    expect(JSON.parse(body).code).toBe('ImageFilesImmutable')
  })

  it.each(['keep-alive', 'close'])('is answered while its sender sends on (Connection: %s)', async (connection) => {
    const { url } = await serving(refuse, { lingerMs: 1000 })
    const request = http.request(url, { method: 'PUT', agent: false, headers: { connection, 'content-length': 2e10 } })
    const piece = Buffer.alloc(64 * 1024)
    const pour = () => {
      while (!request.destroyed && request.write(piece));
    }
    request.on('drain', pour)
    request.on('error', () => {}) // of the cut that follows, once the answer is here
    pour()
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    expect(response.statusCode).toBe(422)
    expect(JSON.parse(Buffer.concat(await response.toArray()).toString()).code).toBe('ImageFilesImmutable')
    request.destroy()
  })

  it('but has come already costs nobody the connection', async () => {
    const { url } = await serving(refuse)
    const client = await RawClient.to(url)
    client.send('POST / HTTP/1.1', 'Host: x', 'Content-Length: 2', '', '{}')
    await client.until(/HTTP\/1\.1 422 .*\}$/s)
    client.text = ''
    client.send('POST / HTTP/1.1', 'Host: x', 'Content-Length: 2', '', '{}')
    await client.until(/HTTP\/1\.1 422 .*\}$/s)
  })

  it('and dripped on is cut', async () => {
    const { url, log } = await serving(refuse, { lingerMs: 100 })
    const client = await RawClient.to(url)
    client.send('PUT / HTTP/1.1', 'Host: x', 'Content-Length: 1000', '', 'x')
    const drip = setInterval(() => client.send('x'), 10)
    onTestFinished(() => clearInterval(drip))
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 422 /)
    const { facts } = await log.line(({ message }) => message === 'request')
    expect(facts).toMatchObject({ status: 422, isComplete: true })
  })
})

it('a body under a reading is cut when it does not end', async () => {
  const answered = deferred<void>()
  const { url } = await serving(async () => answered.promise, { unaskedLimitMs: 100 })
  const client = await RawClient.to(url)
  client.send('GET / HTTP/1.1', 'Host: x', 'Content-Length: 1000', '', 'x')
  await client.closed()
  answered.resolve()
})

describe('a JSON body', () => {
  it.each([
    ['an object', '{"a":[1,"ü"]}', { a: [1, 'ü'] }],
    ['an array', '[]', []],
    ['nothing', '', 'nothing'],
  ])('may be %s', async (_what, text, value) => {
    const { url } = await serving(echo)
    expect(await post(url, text, { 'content-type': 'application/x-www-form-urlencoded' })).toEqual({
      status: 200,
      body: { value },
    })
  })

  it.each([
    ['no JSON', Buffer.from('{bad'), 400, 'InvalidContent'],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 400, 'InvalidContent'],
    ['a well without a bottom', Buffer.from('['.repeat(200_000) + ']'.repeat(200_000)), 400, 'InvalidContent'],
    ['five megabytes', Buffer.from(JSON.stringify('x'.repeat(5_000_000))), 413, 'RequestEntityTooLargeError'],
  ])('is refused when it is %s', async (_what, bytes, status, code) => {
    const { url } = await serving(echo)
    expect(await post(url, bytes)).toMatchObject({ status, body: { code } })
  })

  it('of five megabytes in chunks is refused when the first has come', async () => {
    const { url } = await serving(echo)
    const request = http.request(url, { method: 'POST', agent: false })
    request.on('error', () => {})
    for (let sent = 0; sent < 80; sent += 1) request.write(Buffer.alloc(64 * 1024, ' '))
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    expect(response.statusCode).toBe(413)
    request.destroy()
  })

  it('is compared with its Content-MD5', async () => {
    const { url } = await serving(echo)
    const md5 = createHash('md5').update('{}').digest('base64')
    expect((await post(url, '{}', { 'content-md5': md5 })).status).toBe(200)
    expect(await post(url, '{ }', { 'content-md5': md5 })).toMatchObject({
      status: 400,
      body: {
        code: 'BadDigest',
        message: `Content-MD5 '${md5}' didn't match '${createHash('md5').update('{ }').digest('base64')}'`,
      },
    })
  })

  it('is refused compressed', async () => {
    const { url } = await serving(echo)
    expect((await post(url, 'x', { 'content-encoding': 'gzip' })).status).toBe(415)
  })
})
