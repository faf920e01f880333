import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.js'
import { deferred } from '../../../src/parts/deferred.js'
import { serveMirror } from '../../support/imgapi-server.js'
import { type MemoryImage, type MemoryMirror, wireOf } from '../../support/memory-mirror.js'
import { RawClient, splitResponse } from '../../support/raw-client.js'
import { temporaryDirectory } from '../../support/temporary.js'

const UUID = 'aaaaaaaa-0000-4000-8000-000000000001'
const PATH = `/images/${UUID}/file`
const SIZE = 1_000_000
const bytes = randomBytes(SIZE)
const sha1 = createHash('sha1').update(bytes).digest('hex')
const md5 = createHash('md5').update(bytes).digest('base64')

interface Served {
  readonly url: string
  readonly mirror: MemoryMirror
  readonly image: MemoryImage
}

async function serveFile(file = bytes) {
  const served = await serveMirror()
  const image = served.mirror.add(wireOf(UUID, file), [file])
  return { ...served, image, fileUrl: `${served.url}${PATH}` }
}

async function bodyOf(response: Response): Promise<Buffer> {
  return Buffer.from(await response.arrayBuffer())
}

/** Nothing that was opened for a client stays open once its request is over. */
async function expectAllClosed({ mirror }: Served): Promise<void> {
  await expect.poll(() => mirror.closed).toBe(mirror.opened)
  await expect.poll(() => mirror.streamsClosed).toBe(mirror.streamsOpened)
}

describe('a held file', () => {
  it('comes whole, with its length and everything it can be recognised by', async () => {
    const served = await serveFile()
    const response = await fetch(served.fileUrl)
    expect(response.status).toBe(200)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'accept-ranges': 'bytes',
      'cache-control': 'public, max-age=86400, no-transform',
      'content-length': String(SIZE),
      'content-md5': md5,
      'content-type': 'application/octet-stream',
      etag: `"${sha1}"`,
      'last-modified': 'Tue, 02 Jan 2024 03:04:05 GMT',
    })
    expect((await bodyOf(response)).equals(bytes)).toBe(true)
    await expectAllClosed(served)
  })

  it('is never encoded or chunked, whatever the client accepts', async () => {
    const { fileUrl } = await serveFile(Buffer.alloc(SIZE))
    const response = await fetch(fileUrl, { headers: { 'Accept-Encoding': 'gzip, br', TE: 'trailers' } })
    expect(response.headers.get('content-encoding')).toBeNull()
    expect(response.headers.get('transfer-encoding')).toBeNull()
    expect(response.headers.get('content-length')).toBe(String(SIZE))
    await response.arrayBuffer()
  })

  it('is described by HEAD without being opened', async () => {
    const { fileUrl, mirror } = await serveFile()
    const response = await fetch(fileUrl, { method: 'HEAD', headers: { Range: 'bytes=0-1' } })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-length')).toBe(String(SIZE))
    expect(response.headers.get('content-md5')).toBe(md5)
    expect(response.headers.get('etag')).toBe(`"${sha1}"`)
    expect(mirror.opened).toBe(0)
  })

  it('may be empty', async () => {
    const served = await serveFile(Buffer.alloc(0))
    const response = await fetch(served.fileUrl)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-length')).toBe('0')
    expect(await response.text()).toBe('')
    await expectAllClosed(served)
  })

  it.each([
    ['If-None-Match with its own tag', { 'If-None-Match': `"${sha1}"` }, 304],
    ['If-None-Match with its own tag as sdc-imgapi writes it', { 'If-None-Match': sha1 }, 304],
    ['If-None-Match with a list', { 'If-None-Match': `"x", W/"${sha1}"` }, 304],
    ['If-None-Match: *', { 'If-None-Match': '*' }, 304],
    ['If-None-Match with another tag', { 'If-None-Match': '"x"' }, 200],
    [
      'If-None-Match with another tag, which outweighs a date',
      { 'If-None-Match': '"x"', 'If-Modified-Since': 'Tue, 02 Jan 2024 03:04:05 GMT' },
      200,
    ],
    ['If-Modified-Since of its date', { 'If-Modified-Since': 'Tue, 02 Jan 2024 03:04:05 GMT' }, 304],
    ['If-Modified-Since of an earlier date', { 'If-Modified-Since': 'Tue, 02 Jan 2024 03:04:04 GMT' }, 200],
    ['If-Modified-Since of no date', { 'If-Modified-Since': 'yesterday' }, 200],
    ['If-Match with its tag', { 'If-Match': `"${sha1}"` }, 200],
    ['If-Match with another tag', { 'If-Match': '"x"' }, 412],
    ['If-Unmodified-Since of its date', { 'If-Unmodified-Since': 'Tue, 02 Jan 2024 03:04:05 GMT' }, 200],
    ['If-Unmodified-Since of an earlier date', { 'If-Unmodified-Since': 'Tue, 02 Jan 2024 03:04:04 GMT' }, 412],
  ])('asked for with %s', async (_what, headers, status) => {
    const served = await serveFile()
    const response = await fetch(served.fileUrl, { headers: headers as Record<string, string> })
    expect(response.status).toBe(status)
    if (status === 304) {
      expect(response.headers.get('etag')).toBe(`"${sha1}"`)
      expect(response.headers.get('content-length')).toBeNull()
    }
    if (status !== 200) expect(served.mirror.opened).toBe(0)
    await response.arrayBuffer()
    await expectAllClosed(served)
  })
})

describe('a part of a held file', () => {
  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=999990-', 999_990, SIZE],
    ['bytes=-10', 999_990, SIZE],
    ['bytes=100000-300000', 100_000, 300_001],
    ['bytes=0-5,3-9', 0, 10],
  ])('%s', async (range, start, end) => {
    const served = await serveFile()
    const response = await fetch(served.fileUrl, { headers: { Range: range } })
    expect(response.status).toBe(206)
    expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/${SIZE}`)
    expect(response.headers.get('content-length')).toBe(String(end - start))
    expect(response.headers.get('content-md5')).toBeNull()
    expect(response.headers.get('etag')).toBe(`"${sha1}"`)
    expect((await bodyOf(response)).equals(bytes.subarray(start, end))).toBe(true)
    await expectAllClosed(served)
  })

  it('comes with others in one body whose length is exact', async () => {
    const served = await serveFile()
    const response = await fetch(served.fileUrl, { headers: { Range: 'bytes=900000-999999,0-9,-5' } })
    expect(response.status).toBe(206)
    const type = response.headers.get('content-type') ?? ''
    const boundary = /^multipart\/byteranges; boundary=([0-9a-f]+)$/.exec(type)?.[1]
    const body = await bodyOf(response)
    expect(response.headers.get('content-length')).toBe(String(body.length))
    const part = (start: number, end: number) =>
      Buffer.concat([
        Buffer.from(
          `\r\n--${boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ${start}-${end - 1}/${SIZE}\r\n\r\n`,
        ),
        bytes.subarray(start, end),
      ])
    const expected = Buffer.concat([part(900_000, SIZE), part(0, 10), Buffer.from(`\r\n--${boundary}--\r\n`)])
    expect(body.equals(expected)).toBe(true)
    await expectAllClosed(served)
  })

  it('that lies outside is refused with the size', async () => {
    const served = await serveFile()
    const response = await fetch(served.fileUrl, { headers: { Range: `bytes=${SIZE}-` } })
    expect(response.status).toBe(416)
    expect(response.headers.get('content-range')).toBe(`bytes */${SIZE}`)
    expect(response.headers.get('etag')).toBeNull()
    expect(await response.json()).toMatchObject({ code: 'RequestedRangeNotSatisfiableError' })
    expect(served.mirror.opened).toBe(0)
  })

  it.each([
    ['its tag', `"${sha1}"`, 206],
    ['its date', 'Tue, 02 Jan 2024 03:04:05 GMT', 206],
    ['a weak tag', `W/"${sha1}"`, 200],
    ['another tag', '"x"', 200],
    ['a later date', 'Tue, 02 Jan 2024 03:04:06 GMT', 200],
  ])('is given under If-Range with %s', async (_what, ifRange, status) => {
    const { fileUrl } = await serveFile()
    const response = await fetch(fileUrl, { headers: { Range: 'bytes=0-9', 'If-Range': ifRange } })
    expect(response.status).toBe(status)
    await response.arrayBuffer()
  })

  it('is not multiplied by a header that asks for the same bytes a thousand times', async () => {
    const served = await serveFile()
    const response = await fetch(served.fileUrl, { headers: { Range: `bytes=${'0-,'.repeat(1000)}0-` } })
    expect(response.status).toBe(200)
    expect((await bodyOf(response)).length).toBe(SIZE)
    expect(served.mirror.streamsOpened).toBe(1)
  })
})

describe('a file that is not held', () => {
  it('comes whole, without anything that would vouch for it', async () => {
    const served = await serveFile()
    served.image.conduct.isHeld = false
    const response = await fetch(served.fileUrl)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-length')).toBe(String(SIZE))
    for (const absent of ['etag', 'accept-ranges', 'last-modified', 'content-md5']) {
      expect(response.headers.get(absent), absent).toBeNull()
    }
    expect(response.headers.get('cache-control')).toBe('no-store, no-transform')
    expect((await bodyOf(response)).equals(bytes)).toBe(true)
    await expectAllClosed(served)
  })

  it("passes on the upstream's Content-MD5", async () => {
    const { fileUrl, image } = await serveFile()
    Object.assign(image.conduct, { isHeld: false, saidMd5: Buffer.from(md5, 'base64').toString('hex') })
    const response = await fetch(fileUrl)
    expect(response.headers.get('content-md5')).toBe(md5)
    await response.arrayBuffer()
  })

  it('is not fetched for a HEAD', async () => {
    const { fileUrl, image, mirror } = await serveFile()
    image.conduct.isHeld = false
    const response = await fetch(fileUrl, { method: 'HEAD' })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-length')).toBe(String(SIZE))
    expect(mirror.opened).toBe(0)
  })

  it('gives parts, but none to a client that has others from before', async () => {
    const { fileUrl, image } = await serveFile()
    image.conduct.isHeld = false
    const part = await fetch(fileUrl, { headers: { Range: 'bytes=5-9' } })
    expect(part.status).toBe(206)
    expect(part.headers.get('etag')).toBeNull()
    expect((await bodyOf(part)).equals(bytes.subarray(5, 10))).toBe(true)
    const whole = await fetch(fileUrl, { headers: { Range: 'bytes=5-9', 'If-Range': `"${sha1}"` } })
    expect(whole.status).toBe(200)
    await whole.arrayBuffer()
  })

  it('sends its headers although the first byte is late', async () => {
    const { fileUrl, image } = await serveFile()
    const stall = deferred<void>()
    Object.assign(image.conduct, { isHeld: false, stallsAfterBytes: 0, stall: stall.promise })
    const response = await fetch(fileUrl)
    expect(response.headers.get('content-length')).toBe(String(SIZE))
    stall.resolve()
    expect((await bodyOf(response)).equals(bytes)).toBe(true)
  })
})

describe('a file that cannot be had', () => {
  it.each([
    ['UPSTREAM_UNREACHABLE', 503, 'RemoteSourceError'],
    ['UPSTREAM_MISBEHAVED', 503, 'RemoteSourceError'],
    ['STORE_FULL', 503, 'StorageIsDown'],
    ['IMAGE_INCOMPLETE', 404, 'ResourceNotFound'],
    ['CLOSING', 503, 'ServiceUnavailableError'],
  ] as const)('because of %s is answered with a status', async (failure, status, code) => {
    const served = await serveFile()
    served.image.conduct.failsToOpen = new MirrorError(failure, 'what is wrong')
    const response = await fetch(served.fileUrl)
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ code })
    for (const name of ['etag', 'accept-ranges', 'last-modified', 'content-md5'])
      expect(response.headers.get(name)).toBeNull()
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  it.each([
    [undefined, null],
    [1, '1'],
    [90_001, '91'],
  ])('says when to come again, if that is known (after %s ms)', async (retryAfterMs, header) => {
    const served = await serveFile()
    served.image.conduct.failsToOpen = new MirrorError('UPSTREAM_UNREACHABLE', 'the line is closed', { retryAfterMs })
    const response = await fetch(served.fileUrl)
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe(header)
    await response.text()
  })

  it.each([
    ['STORE_BROKEN', 'storage is down at the moment'],
    ['STORE_FULL', 'there is no room for it: storage is full at the moment'],
  ] as const)('does not tell of our disk more than whether it is full: %s', async (failure, message) => {
    const served = await serveFile()
    served.image.conduct.failsToOpen = new MirrorError(failure, 'cannot do it to /var/data/blobs/x')
    const response = await fetch(served.fileUrl)
    expect(await response.json()).toEqual({ code: 'StorageIsDown', message })
  })

  it.each([undefined, 'bytes=0-99', 'bytes=0-9,20-29'])(
    'is answered with a status when it fails before the first byte (Range: %s)',
    async (range) => {
      const served = await serveFile()
      Object.assign(served.image.conduct, { isHeld: false, failsAfterBytes: 0 })
      const response = await fetch(served.fileUrl, range === undefined ? {} : { headers: { Range: range } })
      expect(response.status).toBe(503)
      expect(await response.json()).toMatchObject({ code: 'RemoteSourceError' })
      expect(response.headers.get('content-range')).toBeNull()
      await expectAllClosed(served)
    },
  )

  it('is a bug, and says no more than that, when the failure is none we expect', async () => {
    const served = await serveFile()
    served.image.conduct.failsToOpen = new TypeError('cannot read properties of undefined')
    const response = await fetch(served.fileUrl)
    expect(response.status).toBe(500)
    expect(await response.json()).toEqual({ code: 'InternalError', message: 'internal error' })
    expect(served.log.lines.find(({ level }) => level === 'error')?.facts.error).toBeInstanceOf(TypeError)
  })
})

describe('a file that fails half way', () => {
  const halfWay = 500_000

  it.each(['HTTP/1.1', 'HTTP/1.0'])('breaks the connection short of the length (%s)', async (protocol) => {
    const served = await serveFile()
    served.image.conduct.failsAfterBytes = halfWay
    const client = await RawClient.to(served.url)
    client.send(`GET ${PATH} ${protocol}`, 'Host: x', '', '')
    const { head, body } = splitResponse(await client.closed())
    expect(head).toContain(`Content-Length: ${SIZE}`)
    expect(body.length).toBeLessThanOrEqual(halfWay)
    await expectAllClosed(served)
  })

  it('breaks it for parts too', async () => {
    const served = await serveFile()
    served.image.conduct.failsAfterBytes = 100_000
    for (const range of ['bytes=0-299999', 'bytes=0-9,100000-399999']) {
      const response = await fetch(served.fileUrl, { headers: { Range: range } })
      expect(response.status).toBe(206)
      await expect(response.arrayBuffer()).rejects.toThrow()
    }
    await expectAllClosed(served)
  })

  it('is never complete for fetch', async () => {
    const served = await serveFile()
    served.image.conduct.failsAfterBytes = SIZE - 1
    for (let run = 0; run < 40; run += 1) {
      const response = await fetch(served.fileUrl)
      await expect(response.arrayBuffer()).rejects.toThrow()
    }
    await expectAllClosed(served)
  })

  it('is never complete for curl', async () => {
    const served = await serveFile()
    served.image.conduct.failsAfterBytes = SIZE - 1
    const target = join(await temporaryDirectory(), 'file')
    for (let run = 0; run < 40; run += 1) {
      const failure = await promisify(execFile)('curl', ['-sS', '-o', target, served.fileUrl]).catch((error) => error)
      expect([18, 56]).toContain(failure.code) // a partial file; a reset
    }
    await expectAllClosed(served)
  })

  it('breaks it when the stream ends early without a complaint, or goes on too long', async () => {
    const served = await serveFile()
    const { findFile } = served.mirror
    for (const givenBytes of [SIZE - 1, SIZE + 1]) {
      served.mirror.findFile = async (...args) => {
        const file = await findFile.apply(served.mirror, args)
        const open: typeof file.open = async (signal) => {
          const { md5: _, ...opened } = await file.open(signal)
          const stream = () => Readable.from([Buffer.alloc(SIZE / 2), Buffer.alloc(givenBytes - SIZE / 2)])
          return { ...opened, md5: undefined, stream }
        }
        return { ...file, open }
      }
      const client = await RawClient.to(served.url)
      client.send(`GET ${PATH} HTTP/1.1`, 'Host: x', '', '')
      const { head, body } = splitResponse(await client.closed())
      expect(head).toContain(`Content-Length: ${SIZE}`)
      expect(body.length).toBeLessThan(SIZE)
    }
    expect(served.mirror.closed).toBe(2)
  })

  it('is logged once, as a warning with the request id and what was wrong', async () => {
    const served = await serveFile()
    served.image.conduct.failsAfterBytes = halfWay
    await fetch(served.fileUrl, { headers: { 'x-request-id': 'abc' } })
      .then((response) => response.arrayBuffer())
      .catch(() => {})
    const [request] = await served.log.requests(1)
    expect(request?.facts).toMatchObject({ requestId: 'abc', status: 200, isComplete: false })
    const warnings = served.log.lines.filter(({ level }) => level === 'warn' || level === 'error')
    expect(warnings).toHaveLength(1)
    expect(warnings[0]?.facts).toMatchObject({ requestId: 'abc', error: { code: 'UPSTREAM_MISBEHAVED' } })
  })
})

describe('a client that leaves', () => {
  it.each([
    ['before the first byte', 0],
    ['half way', 300_000],
  ])('%s takes its reading with it, also while the upstream stalls', async (_when, stallsAfterBytes) => {
    const served = await serveFile()
    Object.assign(served.image.conduct, { isHeld: false, stallsAfterBytes, stall: new Promise(() => {}) })
    const client = await RawClient.to(served.url)
    client.send(`GET ${PATH} HTTP/1.1`, 'Host: x', '', '')
    await expect.poll(() => served.mirror.streamsOpened).toBe(1)
    await expect.poll(() => served.mirror.givenBytes).toBe(stallsAfterBytes)
    client.socket.destroy()
    await expectAllClosed(served)
    const [request] = await served.log.requests(1)
    expect(request?.facts).toMatchObject({ isComplete: false })
    expect(served.log.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
    await served.log.line(({ level, message }) => level === 'debug' && message.includes('left'))
  })

  it('while its request waits behind another on the same connection is noticed too', async () => {
    const served = await serveFile()
    Object.assign(served.image.conduct, { isHeld: false, stallsAfterBytes: 10, stall: new Promise(() => {}) })
    const client = await RawClient.to(served.url)
    const request = [`GET ${PATH} HTTP/1.1`, 'Host: x', '', '']
    client.send(...request.slice(0, -1), request.join('\r\n'))
    await expect.poll(() => served.mirror.opened).toBe(2)
    client.socket.destroy()
    await expectAllClosed(served)
    expect(await served.log.requests(2)).toHaveLength(2)
  })

  it('is not waited for: it reads at its own pace and no more than buffers is read ahead', async () => {
    const big = Buffer.alloc(64 * 1024 * 1024)
    const served = await serveFile(big)
    const client = await RawClient.to(served.url)
    client.socket.pause()
    client.send(`GET ${PATH} HTTP/1.1`, 'Host: x', '', '')
    let before = -1
    await expect
      .poll(
        () => {
          const stands = before === served.mirror.givenBytes && before > 0
          before = served.mirror.givenBytes
          return stands
        },
        { interval: 200 },
      )
      .toBe(true)
    expect(served.mirror.givenBytes).toBeLessThan(big.length / 2)
    client.socket.destroy()
    await expectAllClosed(served)
  })
})

it('serves many files on one kept connection, and several requests sent at once in order', async () => {
  const served = await serveFile(bytes.subarray(0, 5000))
  const client = await RawClient.to(served.url)
  const get = (range: string) => [`GET ${PATH} HTTP/1.1`, 'Host: x', `Range: bytes=${range}`, '', ''].join('\r\n')
  client.socket.write(get('0-0') + get('1-1') + get('2-2').replace('Host: x', 'Host: x\r\nConnection: close'))
  const text = await client.closed()
  const ranges = [...text.matchAll(/Content-Range: bytes (\d)/g)].map(([, start]) => start)
  expect(ranges).toEqual(['0', '1', '2'])
  await expectAllClosed(served)
})

it('knows files by index, and takes what is no number for the first', async () => {
  const served = await serveMirror()
  served.mirror.add(wireOf(UUID, Buffer.from('one')), [Buffer.from('one'), Buffer.from('two')])
  const get = async (query: string) => (await fetch(`${served.url}${PATH}${query}`)).text()
  expect(await get('')).toBe('one')
  expect(await get('?index=1')).toBe('two')
  expect(await get('?index=x')).toBe('one')
  expect(JSON.parse(await get('?index=99999999999999999999'))).toMatchObject({ code: 'ResourceNotFound' })
  expect(JSON.parse(await get('?index=-1'))).toMatchObject({ message: `image "${UUID}" has no file at index -1` })
})
