import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { serveMirror } from '../../support/imgapi-server.js'
import { KEPT_MS, wireOf } from '../../support/memory-mirror.js'
import { RawClient, splitResponse } from '../../support/raw-client.js'

const UUID = 'aaaaaaaa-0000-4000-8000-000000000001'
const OTHER = '930896af-bf8c-48d4-885c-6573a94b1853'
const ICON = { contentType: 'image/png', bytes: Buffer.from('not really a picture'), keptMs: KEPT_MS } as const

async function raw(url: string, ...lines: string[]): Promise<{ head: string; body: string }> {
  const client = await RawClient.to(url)
  client.send(...lines, 'Host: x', 'Connection: close', '', '')
  return splitResponse(await client.closed())
}

describe('every answer', () => {
  it('says who gave it, for which request, and how long it took', async () => {
    const { url } = await serveMirror()
    for (const path of ['/ping', '/images', '/nosuch']) {
      const { headers } = await fetch(url + path, { headers: { 'x-request-id': 'req-1' } })
      expect(headers.get('server')).toBe('imgapi-mirror/1.2.3')
      expect(headers.get('x-request-id')).toBe('req-1')
      expect(headers.get('x-server-name')).toBe('testhost')
      expect(headers.get('x-response-time')).toMatch(/^\d+$/)
    }
  })

  it.each([
    ['too long', 'x'.repeat(129)],
    ['with a blank', 'a b'],
    ['of bytes that are no text', '\x80\xff'],
  ])('has an id of our own when the given one is %s', async (_what, id) => {
    const { url } = await serveMirror()
    const { head } = await raw(url, 'GET /ping HTTP/1.1', `x-request-id: ${id}`)
    expect(head).toMatch(/x-request-id: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/)
  })

  it('leaves one line in the log, and every line of it has its id', async () => {
    const { url, log } = await serveMirror()
    await (
      await fetch(`${url}/images/${UUID}?secret=1`, { headers: { 'request-id': 'first', 'x-request-id': 'second' } })
    ).text()
    const [line] = await log.requests(1)
    expect(line).toMatchObject({
      level: 'info',
      facts: {
        requestId: 'first',
        method: 'GET',
        path: `/images/${UUID}`,
        status: 404,
        client: '127.0.0.1',
        isComplete: true,
      },
    })
    expect(line?.facts.bytes).toBeGreaterThan(50)
    expect(log.lines.every(({ facts }) => facts.requestId === 'first')).toBe(true)
    expect(JSON.stringify(line)).not.toContain('secret')
  })
})

describe('a path', () => {
  it.each(['/nosuch', '/images/', `/images/${UUID}/`, '/Images', '/images/xyz?a=1', `/images/${UUID.toUpperCase()}`])(
    '%s leads nowhere',
    async (path) => {
      const { url, mirror } = await serveMirror()
      mirror.add(wireOf(UUID, Buffer.from('x')))
      const response = await fetch(url + path)
      expect(response.status).toBe(404)
      expect(await response.json()).toEqual({ code: 'ResourceNotFound', message: `${path} does not exist` })
    },
  )

  it.each([
    '/%zz',
    '//',
    '/images/%00',
    '/images/..%2f..%2fetc',
    '/?\\',
    `/${'a'.repeat(8000)}`,
    '*',
    'images',
    'http://[',
    '/#',
  ])('%s harms nobody', async (target) => {
    const { url, log } = await serveMirror()
    const { head } = await raw(url, `GET ${target} HTTP/1.1`)
    expect(head).toMatch(/^HTTP\/1.1 (200|404|400) /) // some mean `/`
    expect(log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([])
  })

  it.each(['http://other.host/ping', 'HTTP://other.host:99/ping?x=1', 'https://u:p@other/ping'])(
    'may come with an origin: %s',
    async (target) => {
      const { url } = await serveMirror()
      const { head, body } = await raw(url, `GET ${target} HTTP/1.1`)
      expect(head).toContain('200 OK')
      expect(JSON.parse(body)).toMatchObject({ imgapi: true })
    },
  )

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])('is not open to %s', async (method) => {
    const { url } = await serveMirror()
    const response = await fetch(`${url}/images/${UUID}/file`, { method })
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe('GET, HEAD')
    expect(await response.json()).toEqual({ code: 'MethodNotAllowedError', message: `${method} is not allowed` })
  })

  it('is open to HEAD, which has the headers of GET and no body', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, Buffer.from('x')), [Buffer.from('x')], ICON)
    for (const path of [
      '/ping',
      '/images',
      `/images/${UUID}`,
      `/images/${UUID}/file`,
      `/images/${UUID}/icon`,
      '/nosuch',
    ]) {
      const get = await raw(url, `GET ${path} HTTP/1.1`)
      const head = await raw(url, `HEAD ${path} HTTP/1.1`)
      const shared = ({ head: lines }: { head: string }) =>
        lines
          .split('\r\n')
          .filter((line) => !/^(x-request-id|x-response-time|Date):/i.test(line))
          .sort()
      expect(shared(head)).toEqual(shared(get))
      expect(head.body).toBe('')
    }
  })

  it('is answered whatever the client accepts', async () => {
    const { url } = await serveMirror()
    expect(
      (await fetch(`${url}/ping`, { headers: { Accept: 'text/html', 'Accept-Encoding': 'identity;q=0' } })).status,
    ).toBe(200)
  })
})

describe('GET /images/:uuid', () => {
  it('has a tag that is the SHA-1 of the compact manifest, strong for the plain form and weak for a packed one', async () => {
    const { url, mirror } = await serveMirror()
    const { manifest } = mirror.add(wireOf(UUID, Buffer.from('x'), { description: 'ü'.repeat(1000) }))
    const sha1 = createHash('sha1').update(manifest.json).digest('hex')
    const plain = await fetch(`${url}/images/${UUID}`, { headers: { 'Accept-Encoding': 'identity' } })
    expect(plain.headers.get('etag')).toBe(`"${sha1}"`)
    expect(plain.headers.get('cache-control')).toBe('no-cache')
    expect(await plain.json()).toEqual(JSON.parse(manifest.json))
    const packed = await fetch(`${url}/images/${UUID}`, { headers: { 'Accept-Encoding': 'gzip' } })
    expect(packed.headers.get('content-encoding')).toBe('gzip')
    expect(packed.headers.get('etag')).toBe(`W/"${sha1}"`)
    expect(packed.headers.get('vary')).toBe('Accept-Encoding')
    expect(await packed.json()).toEqual(JSON.parse(manifest.json))
    const known = await fetch(`${url}/images/${UUID}`, { headers: { 'If-None-Match': `W/"${sha1}"` } })
    expect(known.status).toBe(304)
  })

  it.each([
    ['its owner', { owner: OTHER, public: false }, 200],
    ['somebody it is shared with', { public: false, acl: [UUID, OTHER] }, 200],
    ['anybody, being public', {}, 200],
    ['nobody else, being private', { public: false }, 404],
    ['nobody else, not being activated', { state: 'unactivated' }, 404],
  ])('is shown to %s', async (_whom, wire, status) => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, Buffer.from('x'), wire), [Buffer.from('x')], ICON)
    for (const path of ['', '/file', '/icon']) {
      const response = await fetch(`${url}/images/${UUID}${path}?account=${OTHER}`)
      expect(response.status, path).toBe(status)
      const text = await response.text()
      if (status === 404) expect(JSON.parse(text)).toEqual({ code: 'ResourceNotFound', message: 'image not found' })
    }
  })

  it.each([
    ['true', 401, 'UnauthorizedError'],
    ['false', 200, undefined],
    ['maybe', 422, 'InvalidParameter'],
  ])('answers inclAdminFields=%s with %d', async (value, status, code) => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, Buffer.from('x')))
    for (const path of [`/images/${UUID}`, '/images']) {
      const response = await fetch(`${url}${path}?inclAdminFields=${value}`)
      expect(response.status).toBe(status)
      const body = (await response.json()) as { code?: string }
      expect(body.code).toBe(code)
    }
  })
})

describe('GET /images/:uuid/icon', () => {
  it('is the picture, with its own tag and MD5', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, Buffer.from('x'), { icon: true }), [], ICON)
    const response = await fetch(`${url}/images/${UUID}/icon`)
    const etag = `"${createHash('sha1').update(ICON.bytes).digest('hex')}"`
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': String(ICON.bytes.length),
      'content-md5': createHash('md5').update(ICON.bytes).digest('base64'),
      'last-modified': 'Tue, 02 Jan 2024 03:04:05 GMT',
      etag,
    })
    expect(Buffer.from(await response.arrayBuffer()).equals(ICON.bytes)).toBe(true)
    const known = await fetch(`${url}/images/${UUID}/icon`, { headers: { 'If-None-Match': etag } })
    expect(known.status).toBe(304)
  })
})

describe('GET /images/:uuid/chunks', () => {
  it('gives the hash of every MiB of a held file', async () => {
    const { url, mirror } = await serveMirror()
    const file = Buffer.alloc(1024 * 1024 + 1, 'x')
    mirror.add(wireOf(UUID, file), [file])
    const hash = (algorithm: string, bytes: Buffer) => createHash(algorithm).update(bytes).digest('hex')
    expect(await (await fetch(`${url}/images/${UUID}/chunks?index=0`)).json()).toEqual({
      uuid: UUID,
      index: 0,
      size: file.length,
      sha1: hash('sha1', file),
      sha256: hash('sha256', file),
      md5: hash('md5', file),
      chunk_size: 1024 * 1024,
      algorithm: 'sha256',
      chunks: [hash('sha256', file.subarray(0, 1024 * 1024)), hash('sha256', file.subarray(1024 * 1024))],
    })
  })

  it('is a 404 for a file that is not held', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, Buffer.from('x')), [Buffer.from('x')]).conduct.isHeld = false
    expect((await fetch(`${url}/images/${UUID}/chunks`)).status).toBe(404)
  })
})
