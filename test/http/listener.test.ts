import { execFile } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Handler, type Listener, type ListenerBounds, listen } from '../../src/http/listener.js'
import { DISCARD_LIMIT_BYTES } from '../../src/http/request-body.js'
import { deferred } from '../../src/parts/deferred.js'
import { serveMirror } from '../support/imgapi-server.js'
import { wireOf } from '../support/memory-mirror.js'
import { RawClient } from '../support/raw-client.js'
import { temporaryDirectory } from '../support/temporary.js'

const run = promisify(execFile)
const hello: Handler = (_req, res) => res.end('hello')

async function opened(listener: Listener, handler = hello, bounds: Partial<ListenerBounds> = {}) {
  const open = await listen(listener, handler, bounds)
  onTestFinished(() => open.close(0))
  return open
}

async function overSocket(socketPath: string): Promise<string> {
  const [response] = (await once(http.get({ socketPath, path: '/', agent: false }), 'response')) as [
    http.IncomingMessage,
  ]
  return String(await response.toArray())
}

describe('a listener', () => {
  it.each(['127.0.0.1:0', '[::1]:0', 'localhost:0', { host: '127.0.0.1', port: 0 }])(
    'at %s is ready with its port',
    async (at) => {
      const { url } = await opened(at)
      expect(url).toMatch(/^http:\/\/(127\.0\.0\.1|\[::1\]):[1-9]\d*$/)
      expect(await (await fetch(url)).text()).toBe('hello')
    },
  )

  it('may have several addresses', async () => {
    const path = join(await temporaryDirectory(), 's')
    const { urls } = await opened(['127.0.0.1:0', `unix:${path}`])
    expect(urls).toEqual([expect.stringMatching(/^http:/), `unix:${path}`])
    expect(await (await fetch(urls[0] ?? '')).text()).toBe('hello')
    expect(await overSocket(path)).toBe('hello')
  })

  it('speaks TLS', async () => {
    const directory = await temporaryDirectory()
    const [key, cert] = [join(directory, 'key'), join(directory, 'cert')]
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
    await run('openssl', [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '1',
      '-keyout',
      key,
      '-out',
      cert,
      ...subject,
    ])
    const pair = { cert: await fs.readFile(cert, 'utf8'), key: await fs.readFile(key, 'utf8') }
    const open = await opened({ address: '127.0.0.1:0', ...pair })
    expect(open.url).toMatch(/^https:/)
    const asked = https.get(open.url, {
      ca: pair.cert,
      servername: 'localhost',
      agent: new https.Agent({ keepAlive: true }),
    })
    const [response] = (await once(asked, 'response')) as [http.IncomingMessage]
    expect(String(await response.toArray())).toBe('hello')
    await open.close(60_000) // an idle kept connection is no reason to wait
  })

  it.each(['nonsense', '127.0.0.1', '127.0.0.1:99999', ':8080', 'http://127.0.0.1:80', 'unix:', '[::1:80'])(
    'refuses %s for an address',
    async (address) => {
      await expect(listen(address, hello)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    },
  )

  it('refuses a certificate that is none', async () => {
    const refused = listen({ address: '127.0.0.1:0', cert: 'x', key: 'y' }, hello)
    await expect(refused).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('names an address that is taken, and keeps none of the others', async () => {
    const { url } = await opened('127.0.0.1:0')
    const taken = new URL(url).host
    const path = join(await temporaryDirectory(), 's')
    await expect(listen([`unix:${path}`, taken], hello)).rejects.toThrow(`${taken}: the address is in use`)
    await expect(fs.stat(path)).rejects.toThrow('ENOENT')
  })
})

describe('a unix socket', () => {
  it('left behind by a killed process is taken over', async () => {
    const path = join(await temporaryDirectory(), 's')
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
    await run(process.execPath, ['-e', script]).catch(() => {})
    expect((await fs.stat(path)).isSocket()).toBe(true)
    await opened(`unix:${path}`)
    expect(await overSocket(path)).toBe('hello')
  })

  it('on which somebody answers is left to them', async () => {
    const path = join(await temporaryDirectory(), 's')
    await opened(`unix:${path}`)
    await expect(listen(`unix:${path}`, hello)).rejects.toThrow('another process answers there')
    expect(await overSocket(path)).toBe('hello')
  })

  it('is not made in the place of a file', async () => {
    const path = join(await temporaryDirectory(), 's')
    await fs.writeFile(path, 'precious')
    await expect(listen(`unix:${path}`, hello)).rejects.toThrow('a file of another kind')
    expect(await fs.readFile(path, 'utf8')).toBe('precious')
  })
})

describe('closing', () => {
  it('waits for an answer on its way, and for nobody who idles or says nothing', async () => {
    const release = deferred<void>()
    const asked = deferred<void>()
    const open = await opened('127.0.0.1:0', async (_req, res) => {
      asked.resolve()
      await release.promise
      res.end('late')
    })
    const silent = await RawClient.to(open.url)
    const client = await RawClient.to(open.url)
    client.send('GET / HTTP/1.1', 'Host: x', '', '')
    await asked.promise
    const closing = open.close(60_000)
    await silent.closed()
    await expect(RawClient.to(open.url)).rejects.toThrow('ECONNREFUSED')
    release.resolve()
    expect(await client.closed()).toContain('late')
    await closing
  })

  it('cuts what takes longer than the limit', async () => {
    const asked = deferred<void>()
    const open = await opened('127.0.0.1:0', () => asked.resolve())
    const client = await RawClient.to(open.url)
    client.send('GET / HTTP/1.1', 'Host: x', '', '')
    await asked.promise
    await open.close(10)
    expect(await client.closed()).toBe('')
  })
})

describe('a hostile client', () => {
  it('that drips its headers is cut', async () => {
    const { url } = await opened('127.0.0.1:0', hello, { headersTimeoutMs: 300 })
    const client = await RawClient.to(url)
    client.send('GET / HTTP/1.1', 'Host: x', '')
    const drip = setInterval(() => client.send('X: y', ''), 20)
    onTestFinished(() => clearInterval(drip))
    expect(await client.closed()).toContain('408')
  })

  it('that never says anything is cut', async () => {
    const { url } = await opened('127.0.0.1:0', hello, { headersTimeoutMs: 200 })
    await (await RawClient.to(url)).closed()
  })

  it('that keeps an idle connection is cut', async () => {
    const { url } = await opened('127.0.0.1:0', hello, { keepAliveTimeoutMs: 100 })
    const client = await RawClient.to(url)
    client.send('GET / HTTP/1.1', 'Host: x', '', '')
    expect(await client.closed()).toContain('hello')
  })

  it.each([
    ['one long header', `X: ${'y'.repeat(20_000)}`],
    ['many headers', Array.from({ length: 3000 }, (_, at) => `X${at}: y`).join('\r\n')],
  ])('with %s is refused', async (_what, header) => {
    const { url } = await opened('127.0.0.1:0')
    const client = await RawClient.to(url)
    client.send('GET / HTTP/1.1', 'Host: x', header, '', '')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 431 /)
  })

  it.each([
    ['no HTTP', '\x16\x03\x01 nonsense\r\n\r\n'],
    ['two lengths', 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
    [
      'a length and chunks',
      'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['a header in two lines', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d\r\nX-\x01: y\r\n\r\n'],
  ])('that sends %s is refused and cut', async (_what, text) => {
    const { url } = await opened('127.0.0.1:0')
    const client = await RawClient.to(url)
    client.socket.write(text, 'latin1')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 400 /)
  })

  it('too many is closed as it comes', async () => {
    const { url } = await opened('127.0.0.1:0', hello, { maxConnections: 1 })
    const first = await RawClient.to(url)
    first.send('GET / HTTP/1.1', 'Host: x', '', '')
    await first.until(/hello/)
    expect(await (await RawClient.to(url)).closed()).toBe('')
  })

  it('may ask so often on one connection, and no more', async () => {
    const { url } = await opened('127.0.0.1:0', hello, { maxRequestsPerConnection: 2 })
    const client = await RawClient.to(url)
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3))
    const text = await client.until(/HTTP\/1\.1 503 /)
    expect(text.match(/hello/g)).toHaveLength(2)
    expect(text).toContain('Connection: close')
  })

  it('that stops reading a file is cut, and the file closed', async () => {
    const { url, mirror } = await serveMirror({ inactivityTimeoutMs: 300 })
    const file = Buffer.alloc(64 * 1024 * 1024)
    const uuid = 'aaaaaaaa-0000-4000-8000-000000000001'
    mirror.add(wireOf(uuid, Buffer.from('x')), [file])
    const client = await RawClient.to(url)
    client.socket.pause()
    client.send(`GET /images/${uuid}/file HTTP/1.1`, 'Host: x', '', '')
    await expect.poll(() => mirror.opened).toBe(1)
    await expect.poll(() => mirror.closed, { timeout: 10_000 }).toBe(1)
    expect(mirror.streamsClosed).toBe(1)
    expect(mirror.givenBytes).toBeLessThan(file.length)
  })

  it('that closes its sending half gets no answer that could pass for a whole one, and holds nothing open', async () => {
    const { url, mirror } = await serveMirror()
    const file = Buffer.alloc(32 * 1024 * 1024)
    const uuid = 'aaaaaaaa-0000-4000-8000-000000000001'
    mirror.add(wireOf(uuid, Buffer.from('x')), [file])
    const client = await RawClient.to(url, { allowHalfOpen: true })
    client.socket.end(`GET /images/${uuid}/file HTTP/1.1\r\nHost: x\r\n\r\n`)
    await client.closed()
    await expect.poll(() => mirror.closed).toBe(mirror.opened)
    await expect.poll(() => mirror.streamsClosed).toBe(mirror.streamsOpened)
  })
})

describe('a body that nobody asked for', () => {
  it('is read away when it is small, and the connection stays', async () => {
    const { url } = await serveMirror()
    const client = await RawClient.to(url)
    client.send(
      'GET /ping HTTP/1.1',
      'Host: x',
      'Content-Length: 5',
      '',
      'helloGET /nosuch HTTP/1.1',
      'Host: x',
      'Connection: close',
      '',
      '',
    )
    const text = await client.closed()
    expect(text).toContain('HTTP/1.1 200')
    expect(text).toContain('HTTP/1.1 404')
  })

  it.each([
    ['with a length', `Content-Length: ${1e12}`, (bytes: Buffer) => bytes],
    [
      'in chunks',
      'Transfer-Encoding: chunked',
      (bytes: Buffer) => Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]),
    ],
  ])('%s is answered at once and cut when it does not end', async (_how, header, framed) => {
    const { url } = await serveMirror()
    const client = await RawClient.to(url, { allowHalfOpen: true })
    client.send('PUT /images HTTP/1.1', 'Host: x', header, '', '')
    await client.until(/405 Method Not Allowed/)
    const piece = framed(Buffer.alloc(64 * 1024))
    let sentBytes = 0
    const pour = () => {
      while (!client.socket.destroyed && sentBytes < 1e9) {
        sentBytes += piece.length
        if (!client.socket.write(piece)) return
      }
    }
    client.socket.on('drain', pour)
    pour()
    await client.closed()
    expect(sentBytes).toBeGreaterThanOrEqual(DISCARD_LIMIT_BYTES)
    expect(sentBytes).toBeLessThan(1e9)
  })

  it('is not waited for when its sender asks first', async () => {
    const { url } = await serveMirror()
    const client = await RawClient.to(url)
    client.send('PUT /images HTTP/1.1', 'Host: x', 'Content-Length: 1000', 'Expect: 100-continue', '', '')
    expect(await client.until(/\}$/)).toMatch(/^HTTP\/1\.1 405 /)
  })
})
