import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { deferred } from '../../src/parts/deferred.js'
import { getFile } from '../../src/upstream/get-file.js'
import { getJson, getJsonArray } from '../../src/upstream/get-json.js'
import { HttpClient, type HttpClientOptions } from '../../src/upstream/http-client.js'
import { parseRetryAfter } from '../../src/upstream/http-failure.js'
import type { JsonElement } from '../../src/upstream/json-array.js'
import { makeCertificates } from '../support/upstreams/certificates.js'
import { startProxy } from '../support/upstreams/proxy.js'
import { basic, type Handler, type ServeOptions, serve, startTrap } from '../support/upstreams/serve.js'

const never = new AbortController().signal
const bytes = Buffer.from('0123456789')
const refused = (code: string, message: string | RegExp) => ({ code, message: expect.stringMatching(message) })

async function started<Server extends { close(): Promise<void> }>(starting: Promise<Server>): Promise<Server> {
  const server = await starting
  onTestFinished(() => server.close())
  return server
}

const serving = (handler: Handler, options?: ServeOptions) => started(serve(handler, options))

function clientOf(url: string, options: Partial<HttpClientOptions> = {}): HttpClient {
  const client = new HttpClient({
    name: 'upstream',
    origin: new URL(url).origin,
    fileHosts: [],
    tls: { insecure: false },
    timeouts: { connectMs: 5_000, headersMs: 5_000, stallMs: 5_000 },
    connections: 4,
    environment: {},
    version: '0.0.1',
    ...options,
  })
  onTestFinished(() => client.close())
  return client
}

/** A server that speaks by hand: `talk` gets every connection once a request has come. */
async function startRaw(talk: (socket: Socket) => void): Promise<{ url: string; close(): Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', () => talk(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

const raw = (talk: (socket: Socket) => void) => started(startRaw(talk))
const json = (client: HttpClient, url: string, signal = never) =>
  getJson(client, new URL(url), { absent: [404], signal })
const file = (client: HttpClient, url: string, more: object = {}) =>
  getFile(client, new URL(url), { expectedBytes: bytes.length, startBytes: 0, signal: never, ...more })

async function list(client: HttpClient, url: string, listBytes = 1024 * 1024, headers = {}) {
  const elements: JsonElement[] = []
  const budget = { remainingBytes: listBytes }
  const answer = await getJsonArray(client, new URL(url), { signal: never, budget, headers }, (element) =>
    elements.push(element),
  )
  return { answer, elements }
}

describe('a JSON document', () => {
  it('is asked for as ourselves, gzipped if possible', async () => {
    const server = await serving((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('{"a":1}'))
    })
    expect(await json(clientOf(server.url), `${server.url}/x?y=1`)).toEqual({ a: 1 })
    expect(server.requests[0]).toMatchObject({
      method: 'GET',
      url: '/x?y=1',
      headers: { 'user-agent': 'imgapi-mirror/0.0.1', 'accept-encoding': 'gzip', accept: 'application/json' },
    })
  })

  it('is absent for a 404, whatever its body', async () => {
    const server = await serving((_request, response) => {
      response.writeHead(404, { 'content-type': 'application/json' }).end('Not found')
    })
    expect(await json(clientOf(server.url), server.url)).toBeUndefined()
  })

  it.each([
    ['no JSON', 'nope', 'not JSON'],
    ['a page', '<html></html>', 'not JSON'],
    ['too long', `"${'x'.repeat(1024 * 1024)}"`, 'more bytes'],
    ['too deep', '['.repeat(100_000) + ']'.repeat(100_000), 'nested deeper'],
  ])('is refused when it is %s', async (_what, body, complaint) => {
    const server = await serving((_request, response) => response.end(body))
    await expect(json(clientOf(server.url), server.url)).rejects.toMatchObject(
      refused('UPSTREAM_MISBEHAVED', complaint),
    )
  })

  it.each([401, 403, 429, 500, 502, 503])(
    'is not denied by a %i: that upstream just cannot answer now',
    async (status) => {
      const server = await serving((_request, response) => {
        response.writeHead(status, { 'retry-after': '7' }).end('{"code":"X","message":"storage\\nis down"}')
      })
      const expected = {
        ...refused('UPSTREAM_UNREACHABLE', `answered ${status} \\(storage is down\\)`),
        retryAfterMs: 7000,
      }
      await expect(json(clientOf(server.url), server.url)).rejects.toMatchObject(expected)
    },
  )

  it.each([204, 304, 400, 406, 422])('is not a %i', async (status) => {
    const server = await serving((_request, response) => response.writeHead(status).end())
    await expect(json(clientOf(server.url), server.url)).rejects.toMatchObject(
      refused('UPSTREAM_MISBEHAVED', `upstream: ${server.url}/: answered ${status}`),
    )
  })

  it('costs two seconds, not the stall limit, when the body of an error never comes', async () => {
    const server = await serving((_request, response) => {
      response.writeHead(500, { 'content-length': '100000' }).flushHeaders()
    })
    const client = clientOf(server.url, { timeouts: { connectMs: 5_000, headersMs: 5_000, stallMs: 60_000 } })
    const startedMs = Date.now()
    await expect(json(client, server.url)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
    expect(Date.now() - startedMs).toBeLessThan(10_000)
  })

  it('is asked for once more when a kept connection turns out to be closed', async () => {
    const server = await serving((_request, response) => response.end('1'), {
      intercept: (request) => server?.requests.length === 1 && Boolean(request.socket.resetAndDestroy()),
    })
    expect(await json(clientOf(server.url), server.url)).toBe(1)
    expect(server.requests).toHaveLength(2)
  })

  it('is given up when the connection is lost twice', async () => {
    const server = await serving((request) => request.socket.resetAndDestroy())
    await expect(json(clientOf(server.url), server.url)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
    expect(server.requests).toHaveLength(2)
  })

  it('fails by name when nobody listens, and when nobody answers', async () => {
    const gone = await serve(() => {})
    await gone.close()
    await expect(json(clientOf(gone.url), gone.url)).rejects.toMatchObject(
      refused('UPSTREAM_UNREACHABLE', 'ECONNREFUSED'),
    )

    const mute = await serving(() => {})
    const client = clientOf(mute.url, { timeouts: { connectMs: 5_000, headersMs: 300, stallMs: 60_000 } })
    await expect(json(client, mute.url)).rejects.toMatchObject(
      refused('UPSTREAM_UNREACHABLE', 'no answer within 300 ms'),
    )
  })

  it('is given up with the reason of the signal', async () => {
    const mute = await serving(() => {})
    const leaving = new AbortController()
    const asked = json(clientOf(mute.url), mute.url, leaving.signal)
    leaving.abort(new Error('I am leaving'))
    await expect(asked).rejects.toThrow('I am leaving')
    await expect(json(clientOf(mute.url), mute.url, leaving.signal)).rejects.toThrow('I am leaving')
  })

  it('is given up with CLOSING when we close', async () => {
    const mute = await serving(() => {})
    const client = clientOf(mute.url)
    const asked = json(client, mute.url)
    asked.catch(() => {})
    await client.close()
    await expect(asked).rejects.toMatchObject({ code: 'CLOSING' })
    await expect(json(client, mute.url)).rejects.toMatchObject({ code: 'CLOSING' })
  })
})

describe('a JSON array', () => {
  it('comes element by element, gzipped and in pieces', async () => {
    const packed = gzipSync(JSON.stringify(Array.from({ length: 5000 }, (_, index) => ({ index }))))
    const server = await serving((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip', etag: 'W/"1"' })
      for (let at = 0; at < packed.length; at += 100) response.write(packed.subarray(at, at + 100))
      response.end()
    })
    const { elements, answer } = await list(clientOf(server.url), server.url)
    expect(elements).toHaveLength(5000)
    expect(elements[4999]).toEqual({ index: 4999, value: { index: 4999 } })
    expect(answer !== 'unchanged' && answer.header('etag')).toBe('W/"1"')
  })

  it('is unchanged only if that was asked', async () => {
    const server = await serving((_request, response) => response.writeHead(304).end())
    const client = clientOf(server.url)
    expect((await list(client, server.url, 100, { 'if-none-match': '"1"' })).answer).toBe('unchanged')
    await expect(list(client, server.url)).rejects.toMatchObject(refused('UPSTREAM_MISBEHAVED', 'answered 304'))
  })

  it.each([
    ['a gzip bomb', gzipSync(Buffer.alloc(50 * 1024 * 1024, ' ')), 'more bytes'],
    ['endless empty gzip members', Buffer.concat(Array(100_000).fill(gzipSync(''))), 'more bytes'],
    ['damaged gzip', gzipSync('[1,2,3]').fill(7, 12, 16), 'damaged gzip'],
    ['truncated gzip', gzipSync('[1,2,3]').subarray(0, -9), 'damaged gzip'],
    ['a page', gzipSync('<html>'), 'a page'],
  ])('is refused when it is %s', async (_what, body, complaint) => {
    const server = await serving((_request, response) =>
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(body),
    )
    await expect(list(clientOf(server.url), server.url)).rejects.toMatchObject(
      refused('UPSTREAM_MISBEHAVED', complaint),
    )
  })

  it('is refused in an encoding we did not ask for', async () => {
    const server = await serving((_request, response) =>
      response.writeHead(200, { 'content-encoding': 'br' }).end('[]'),
    )
    await expect(list(clientOf(server.url), server.url)).rejects.toMatchObject(
      refused('UPSTREAM_MISBEHAVED', 'encoding'),
    )
  })

  it.each([
    ['with a length', 'content-length: 100\r\n\r\n[1,2'],
    ['chunked', 'transfer-encoding: chunked\r\n\r\n4\r\n[1,2\r\n'],
    ['on its last connection', 'connection: close\r\ncontent-length: 100\r\n\r\n[1,2'],
    ['chunked on its last connection', 'connection: close\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[1,2\r\n'],
  ])('fails when it is cut, %s', async (_how, answer) => {
    const server = await raw((socket) => socket.end(`HTTP/1.1 200 OK\r\n${answer}`))
    const expected = refused('UPSTREAM_UNREACHABLE', /connection was cut|other side closed/)
    await expect(list(clientOf(server.url), server.url)).rejects.toMatchObject(expected)
  })

  it.each(['SSH-2.0-OpenSSH_9.2\r\n', 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n[]'])(
    'is refused from what does not speak HTTP: %j',
    async (answer) => {
      const server = await raw((socket) => socket.end(answer))
      await expect(list(clientOf(server.url), server.url)).rejects.toMatchObject(refused('UPSTREAM_MISBEHAVED', 'HTTP'))
    },
  )

  it('fails when it falls silent', async () => {
    const server = await raw((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,2'))
    const client = clientOf(server.url, { timeouts: { connectMs: 5_000, headersMs: 60_000, stallMs: 300 } })
    await expect(list(client, server.url)).rejects.toMatchObject(refused('UPSTREAM_UNREACHABLE', 'silent for 300 ms'))
  })
})

describe('a file', () => {
  it('comes as it is, on a connection of its own', async () => {
    const md5 = createHash('md5').update(bytes).digest()
    const server = await serving((_request, response) => {
      const headers = { 'content-length': '10', 'content-md5': md5.toString('base64'), etag: '"v1"' }
      response.writeHead(200, headers).end(bytes)
    })
    const client = clientOf(server.url)
    const found = await file(client, `${server.url}/file`)
    expect(found).toMatchObject({
      startBytes: 0,
      totalBytes: 10,
      contentMd5: { algorithm: 'md5', hex: md5.toString('hex') },
      validator: '"v1"',
      location: `${server.url}/file`,
    })
    expect(await buffer(found.body)).toEqual(bytes)
    expect(await buffer((await file(client, `${server.url}/file`)).body)).toEqual(bytes)
    expect(server.connectionCount).toBe(2)
    expect(server.requests[0]!.headers).toMatchObject({ 'accept-encoding': 'identity', connection: 'close' })
    expect(server.requests[0]!.headers).not.toHaveProperty('range')
  })

  it('may come chunked, without a length', async () => {
    const server = await serving((_request, response) => {
      response.write(bytes)
      response.end()
    })
    const found = await file(clientOf(server.url), server.url)
    expect(found.totalBytes).toBeUndefined()
    expect(await buffer(found.body)).toEqual(bytes)
  })

  it.each([
    ['of another length', { 'content-length': '11' }, 'sends 11 bytes, the file has 10'],
    ['in an encoding', { 'content-encoding': 'gzip', 'content-length': '10' }, 'encoding'],
    ['that is a page', { 'content-type': 'text/html; charset=utf-8' }, 'page'],
  ])('is refused by its headers: one %s', async (_what, headers, complaint) => {
    const server = await serving((_request, response) => {
      response.writeHead(200, headers).flushHeaders()
    })
    await expect(file(clientOf(server.url), server.url)).rejects.toMatchObject(
      refused('UPSTREAM_MISBEHAVED', complaint),
    )
  })

  it('is missing: UPSTREAM_MISBEHAVED, as it was promised', async () => {
    const server = await serving((_request, response) => response.writeHead(404).end())
    await expect(file(clientOf(server.url), server.url)).rejects.toMatchObject(refused('UPSTREAM_MISBEHAVED', '404'))
  })

  it('fails on the way when it is cut, reset or silent', async () => {
    const beginning = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234'
    const timeouts = { connectMs: 5_000, headersMs: 5_000, stallMs: 300 }
    for (const end of [
      (socket: Socket) => socket.end(beginning),
      (socket: Socket) => socket.write(beginning, () => setTimeout(() => socket.resetAndDestroy(), 50)),
      (socket: Socket) => socket.write(beginning),
    ]) {
      const server = await raw(end)
      const { body } = await file(clientOf(server.url, { timeouts }), server.url)
      await expect(buffer(body)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
    }
  })

  it('does not fail as silent while its reader takes a rest', async () => {
    const large = Buffer.alloc(8 * 1024 * 1024, 7)
    const server = await serving((_request, response) => response.end(large))
    const client = clientOf(server.url, { timeouts: { connectMs: 5_000, headersMs: 5_000, stallMs: 300 } })
    const { body } = await file(client, server.url, { expectedBytes: large.length })
    await new Promise((resolve) => setTimeout(resolve, 2500))
    expect((await buffer(body)).equals(large)).toBe(true)
  })

  it('holds back the server while its reader takes a rest', async () => {
    let sentBytes = 0
    const server = await serving((_request, response) => {
      response.writeHead(200)
      const more = () => {
        do sentBytes += 64 * 1024
        while (!response.destroyed && sentBytes < 256 * 1024 * 1024 && response.write(Buffer.alloc(64 * 1024)))
      }
      response.on('drain', more)
      more()
    })
    const { body } = await file(clientOf(server.url), server.url)
    body.once('data', () => body.pause())
    await once(body, 'data')
    // What is under way settles in the buffers of both kernels; then nothing more may move.
    let before: number
    do {
      before = sentBytes
      await new Promise((resolve) => setTimeout(resolve, 300))
    } while (sentBytes > before)
    expect(sentBytes).toBeLessThan(128 * 1024 * 1024)
    body.destroy()
  })

  it('ends at its length, and what a server sends behind it reaches nobody', async () => {
    const surplus = 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"no"'
    const server = await raw((socket) =>
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789${surplus}`),
    )
    const client = clientOf(server.url)
    for (let round = 0; round < 3; round++) {
      const { body } = await file(client, server.url)
      expect(await buffer(body)).toEqual(bytes)
    }
  })

  it('fails with the reason of the signal', async () => {
    const server = await raw((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234'))
    const leaving = new AbortController()
    const { body } = await file(clientOf(server.url), server.url, { signal: leaving.signal })
    const read = buffer(body)
    leaving.abort(new Error('I am leaving'))
    await expect(read).rejects.toThrow('I am leaving')
  })

  it('lets go of its connection when its reader leaves', async () => {
    const gone = deferred<void>()
    const server = await raw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234')
      socket.on('close', () => gone.resolve())
    })
    const timeouts = { connectMs: 5_000, headersMs: 5_000, stallMs: 3_600_000 }
    const { body } = await file(clientOf(server.url, { timeouts }), server.url)
    body.destroy()
    await gone.promise
  })
})

describe('the rest of a file', () => {
  const rest = (url: string, more: object = {}) => file(clientOf(url), url, { startBytes: 4, ...more })

  it('is asked for as a closed range, under the condition that it is the same file', async () => {
    const server = await serving((_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 4-9/10', 'content-md5': 'ofY3z5vjdjCYtkOuSvdPGg==' })
      response.end(bytes.subarray(4))
    })
    const found = await rest(server.url, { validator: '"v1"' })
    expect(found).toMatchObject({ startBytes: 4, totalBytes: 10, contentMd5: undefined })
    expect(await buffer(found.body)).toEqual(bytes.subarray(4))
    expect(server.requests[0]!.headers).toMatchObject({ range: 'bytes=4-9', 'if-range': '"v1"' })
  })

  it('starts over when the whole file comes', async () => {
    const server = await serving((_request, response) => response.writeHead(200, { 'content-length': '10' }).end(bytes))
    const found = await rest(server.url)
    expect(found.startBytes).toBe(0)
    expect(await buffer(found.body)).toEqual(bytes)
  })

  it.each([
    [206, {}],
    [206, { 'content-range': 'bytes 3-9/10' }],
    [206, { 'content-range': 'bytes 4-8/10' }],
    [206, { 'content-range': 'bytes 4-9/11' }],
    [206, { 'content-range': 'bytes 4-9/*' }],
    [206, { 'content-range': 'bytes 4-9/10', 'content-length': '7' }],
    [206, { 'content-range': 'bytes 4-9/10', etag: '"v2"' }],
    [206, { 'content-range': 'bytes 4-9/10', 'content-encoding': 'gzip' }],
    [416, { 'content-range': 'bytes */10' }],
  ])('is refused as %i with %j', async (status, headers) => {
    const server = await serving((_request, response) => {
      response.writeHead(status, headers).flushHeaders()
    })
    await expect(rest(server.url, { validator: '"v1"' })).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })

  it('is never taken for the whole', async () => {
    const server = await serving((_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 0-9/10', 'content-length': '10' }).end(bytes)
    })
    await expect(file(clientOf(server.url), server.url)).rejects.toMatchObject(refused('UPSTREAM_MISBEHAVED', '206'))
  })
})

describe('redirects', () => {
  const redirecting = (to: (path: string) => string) =>
    serving((request, response) => response.writeHead(302, { location: to(request.url!) }).end())

  it('are followed within the origin, five times', async () => {
    const server = await serving((request, response) => {
      const left = Number(request.url!.slice(1))
      if (left === 0) response.end('"there"')
      else response.writeHead(301, { location: `/${left - 1}` }).end('<html>')
    })
    expect(await json(clientOf(server.url), `${server.url}/5`)).toBe('there')
    await expect(json(clientOf(server.url), `${server.url}/6`)).rejects.toMatchObject(
      refused('UPSTREAM_MISBEHAVED', 'redirects'),
    )
  })

  it('never lead to another origin, not even to knock', async () => {
    const trap = await started(startTrap())
    const server = await redirecting((path) => `${trap.url}${path}`)
    for (const client of [clientOf(server.url), clientOf(server.url, { fileHosts: ['http://127.0.0.1:1'] })]) {
      await expect(json(client, server.url)).rejects.toMatchObject(refused('UPSTREAM_MISBEHAVED', 'not allowed'))
      await expect(file(client, server.url)).rejects.toMatchObject(refused('UPSTREAM_MISBEHAVED', 'not allowed'))
    }
    // The same host on another port, or by another scheme, is another origin too.
    const { port } = new URL(trap.url)
    const sly = await redirecting(() => `//127.0.0.1:${port}/`)
    await expect(file(clientOf(sly.url), sly.url)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    expect(trap.connectionCount).toBe(0)
  })

  it('of files may lead to a listed host, without our credentials', async () => {
    const host = await serving((_request, response) => response.writeHead(200, { 'content-length': '10' }).end(bytes))
    const server = await redirecting(() => `${host.url.replace('//', '//eve:pw@')}/at?signature=secret`)
    const credentials = { username: 'me', password: 'pä:ss' }
    const client = clientOf(server.url, { ...credentials, fileHosts: [host.url] })
    const found = await file(client, server.url)
    expect(await buffer(found.body)).toEqual(bytes)
    expect(found.location).toBe(`${host.url}/at`)
    expect(server.requests[0]!.headers.authorization).toBe(basic(credentials))
    expect(host.requests[0]!.headers).not.toHaveProperty('authorization')
    await expect(json(client, server.url)).rejects.toMatchObject(refused('UPSTREAM_MISBEHAVED', 'not allowed'))
  })

  it.each(['', 'http://', 'file:///etc/passwd', 'javascript:alert(1)'])('to %j are refused', async (location) => {
    const server = await serving((_request, response) => response.writeHead(302, location ? { location } : {}).end())
    await expect(file(clientOf(server.url), server.url)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })
})

describe('TLS', () => {
  it('believes the authority given, and nobody else unless told so', async () => {
    const { ca, server: identity } = await makeCertificates()
    const server = await serving((_request, response) => response.end('1'), { tls: identity })
    await expect(json(clientOf(server.url), server.url)).rejects.toMatchObject(
      refused('UPSTREAM_UNREACHABLE', /certificate/),
    )
    expect(await json(clientOf(server.url, { tls: { ca, insecure: false } }), server.url)).toBe(1)
    expect(await json(clientOf(server.url, { tls: { insecure: true } }), server.url)).toBe(1)
  })

  it('shows our certificate to the upstream, and to no file host', async () => {
    const { ca, server: identity, client } = await makeCertificates()
    const host = await serving((_request, response) => response.end(bytes), { tls: { ...identity, clientCa: ca } })
    const server = await serving((_request, response) => response.writeHead(302, { location: host.url }).end(), {
      tls: { ...identity, clientCa: ca },
    })
    const tls = { ca, ...client, insecure: false }
    await expect(json(clientOf(server.url, { tls: { ca, insecure: false } }), server.url)).rejects.toThrow()
    expect(server.requests).toHaveLength(0)
    await expect(file(clientOf(server.url, { tls, fileHosts: [host.url] }), server.url)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
    })
    expect(server.requests).toHaveLength(1)
    expect(host.requests).toHaveLength(0)
  })

  it('does not follow a redirect from https to http, unless that origin is listed', async () => {
    const { ca, server: identity } = await makeCertificates()
    const plain = await serving((_request, response) => response.end(bytes))
    const server = await serving((_request, response) => response.writeHead(302, { location: plain.url }).end(), {
      tls: identity,
    })
    const tls = { ca, insecure: false }
    await expect(file(clientOf(server.url, { tls }), server.url)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    expect(plain.connectionCount).toBe(0)
    const found = await file(clientOf(server.url, { tls, fileHosts: [plain.url] }), server.url)
    expect(await buffer(found.body)).toEqual(bytes)
  })
})

describe('proxies', () => {
  it('are used for http as a proxy and for https as a tunnel, with their own credentials', async () => {
    const { ca, server: identity } = await makeCertificates()
    const proxy = await started(startProxy())
    const proxyUrl = proxy.url.replace('//', '//user:pw@')
    const plain = await serving((_request, response) => response.end('1'))
    const secret = await serving((_request, response) => response.end('2'), { tls: identity })
    const environment = { http_proxy: proxyUrl, HTTPS_PROXY: proxyUrl.replace('http://', '') }
    const tls = { ca, insecure: false }
    expect(await json(clientOf(plain.url, { environment }), `${plain.url}/a?b=1`)).toBe(1)
    expect(await json(clientOf(secret.url, { environment, tls }), `${secret.url}/a`)).toBe(2)
    expect(proxy.asked).toEqual([`GET ${plain.url}/a?b=1`, `CONNECT ${new URL(secret.url).host}`])
    expect(proxy.authorizations).toEqual(Array(2).fill(basic({ username: 'user', password: 'pw' })))
    expect(plain.requests[0]!.headers.host).toBe(new URL(plain.url).host)
    const { body } = await file(clientOf(secret.url, { environment, tls }), secret.url, { expectedBytes: 1 })
    expect((await buffer(body)).toString()).toBe('2')
  })

  it('are not used for hosts in no_proxy', async () => {
    const proxy = await started(startProxy())
    const server = await serving((_request, response) => response.end('1'))
    const environment = { http_proxy: proxy.url, no_proxy: 'example.com, 127.0.0.1' }
    expect(await json(clientOf(server.url, { environment }), server.url)).toBe(1)
    expect(proxy.asked).toEqual([])
  })

  it('that say nothing cost the connect limit', async () => {
    const { server: identity } = await makeCertificates()
    const proxy = await started(startProxy({ isMute: true }))
    const server = await serving((_request, response) => response.end('1'), { tls: identity })
    const timeouts = { connectMs: 300, headersMs: 300, stallMs: 60_000 }
    const client = clientOf(server.url, { environment: { https_proxy: proxy.url }, timeouts })
    await expect(json(client, server.url)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
    expect(server.connectionCount).toBe(0)
  })

  it('must have an address', () => {
    const make = () => clientOf('http://127.0.0.1', { environment: { http_proxy: 'http://user:secret@:x' } })
    expect(make).toThrow('http_proxy')
    expect(make).not.toThrow('secret')
  })
})

describe('connections', () => {
  it('are no more at once than allowed, and downloads leave one to questions', async () => {
    let open = 0
    let most = 0
    const server = await serving((request, response) => {
      open += 1
      most = Math.max(most, open)
      response.on('close', () => {
        open -= 1
      })
      if (request.url === '/file') response.writeHead(200, { 'content-length': '10' }).write('01234')
      else setImmediate(() => response.end('1'))
    })
    const client = clientOf(server.url, { connections: 3 })
    const leaving = new AbortController()
    const files = Array.from({ length: 5 }, () => file(client, `${server.url}/file`, { signal: leaving.signal }))
    for (const asked of files) asked.catch(() => {})
    const two = await Promise.all(files.slice(0, 2))
    expect(await Promise.all(Array.from({ length: 10 }, () => json(client, server.url)))).toEqual(Array(10).fill(1))
    expect(server.requests.filter(({ url }) => url === '/file')).toHaveLength(2)
    expect(most).toBe(3)

    two[0]!.body.destroy()
    await files[2]
    expect(server.requests.filter(({ url }) => url === '/file')).toHaveLength(3)
    leaving.abort(new Error('I am leaving'))
    await expect(files[4]).rejects.toThrow('I am leaving')
  })
})

describe('Retry-After', () => {
  it.each([
    ['7', 7000],
    ['0', 0],
    ['99999999', 24 * 60 * 60 * 1000],
    ['Thu, 01 Jan 1970 00:00:10 GMT', 9000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['soon', undefined],
    [undefined, undefined],
  ])('%j is %j ms', (value, ms) => expect(parseRetryAfter(value, 1000)).toBe(ms))
})
