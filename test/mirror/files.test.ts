import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeImage, sha1, sha256, uuidOf } from '../support/made-up-images.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage, ServeOptions } from '../support/upstreams/serve.js'
import { Download, fileSha1, getJson, statusOf } from './clients.js'
import { PausedFile } from './paused-upstream.js'

const KIB = 1024
const MIB = 1024 * KIB

async function mirrorOf(
  images: ServedImage[],
  settings: Record<string, unknown> = {},
  { intercept, ...more }: Pick<ServeOptions, 'intercept'> & Record<string, unknown> = {},
) {
  const upstream = await startSdcImgapi({ images, ...(intercept && { intercept }) })
  onTestFinished(() => upstream.close())
  const mirror = await startMirror({ ...settings, upstreams: [{ name: 'u', url: upstream.url, ...more }] })
  await mirror.settled()
  const fileRequests = () => upstream.requests.filter(({ url }) => url.includes('/file')).length
  return { mirror, upstream, fileRequests }
}

/** A mirror whose upstream has sent the first `pauseAtBytes` of a file and waits. */
async function pausedMirror(
  bytes: Buffer,
  pauseAtBytes: number,
  settings: Record<string, unknown> = {},
  headers: Record<string, string> = {},
) {
  const image = makeImage({}, bytes)
  const paused = new PausedFile(uuidOf(image), bytes, pauseAtBytes, headers)
  onTestFinished(() => paused.resume())
  const { mirror } = await mirrorOf([image], settings, { intercept: paused.intercept })
  return { mirror, paused, path: `/images/${uuidOf(image)}/file` }
}

async function untilReceived(mirror: Parameters<typeof statusOf>[0], sizeBytes: number): Promise<void> {
  await until(async () => (await statusOf(mirror)).flights[0]?.receivedBytes === sizeBytes)
}

/** Everything that can still be on its way has come: the mirror's own event loop has turned several times since. */
async function quiet(mirror: Parameters<typeof statusOf>[0]): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await statusOf(mirror)
}

describe('the held-back tail', () => {
  it.each([
    ['1B', 1],
    ['64KiB', 64 * KIB],
    ['200000B', 200_000],
  ])('of %s is all that is missing while the last byte has not come', async (holdback, holdbackBytes) => {
    const bytes = randomBytes(300_000)
    const { mirror, paused, path } = await pausedMirror(bytes, bytes.length - 1, { holdback })
    const download = await Download.start(mirror, path)
    expect(download.headers['content-length']).toBe(String(bytes.length))
    await download.has(bytes.length - holdbackBytes)
    await untilReceived(mirror, bytes.length - 1)
    await quiet(mirror)
    expect(download.receivedBytes).toBe(bytes.length - holdbackBytes)
    paused.resume()
    expect((await download.complete).equals(bytes)).toBe(true)
  })

  it('closes a part too: the end of a 206 waits for the whole file in the same way', async () => {
    const bytes = randomBytes(500_000)
    const { mirror, paused, path } = await pausedMirror(bytes, bytes.length - 1, { holdback: '64KiB' })
    const download = await Download.start(mirror, path, { range: 'bytes=1000-199999' })
    expect(download.status).toBe(206)
    expect(download.headers['content-range']).toBe('bytes 1000-199999/500000')
    await untilReceived(mirror, bytes.length - 1)
    await download.has(199_000 - 64 * KIB)
    await quiet(mirror)
    expect(download.receivedBytes).toBe(199_000 - 64 * KIB)
    paused.resume()
    expect((await download.complete).equals(bytes.subarray(1000, 200_000))).toBe(true)
  })

  it('holds back at least one byte of a part shorter than itself, all of it in fact', async () => {
    const bytes = randomBytes(500_000)
    const { mirror, paused, path } = await pausedMirror(bytes, bytes.length - 1, { holdback: '64KiB' })
    const download = await Download.start(mirror, path, { range: 'bytes=0-99' })
    await untilReceived(mirror, bytes.length - 1)
    await quiet(mirror)
    expect(download.receivedBytes).toBe(0)
    paused.resume()
    expect((await download.complete).equals(bytes.subarray(0, 100))).toBe(true)
  })

  it('never leaves when the file is not what was promised: every reader is cut short, and nothing is kept', async () => {
    const bytes = randomBytes(300_000)
    const bad = Buffer.from(bytes)
    bad[bad.length - 1]! ^= 1
    const image = makeImage({}, bytes)
    const paused = new PausedFile(uuidOf(image), bad, bad.length - 1)
    const { mirror } = await mirrorOf([image], { holdback: '64KiB' }, { intercept: paused.intercept })
    const path = `/images/${uuidOf(image)}/file`
    const readers = await Promise.all([
      Download.start(mirror, path),
      Download.start(mirror, path),
      Download.start(mirror, path, { range: 'bytes=50000-' }),
    ])
    await untilReceived(mirror, bad.length - 1)
    paused.resume()
    for (const reader of readers) await expect(reader.complete).rejects.toThrow('aborted')
    expect(readers.map(({ receivedBytes }) => receivedBytes)).toEqual([234_464, 234_464, 184_464])
    await until(async () => (await statusOf(mirror)).flights.length === 0)
    expect(await statusOf(mirror)).toMatchObject({ blobsKept: 0, imagesHeld: 0 })
    const line = await mirror.log.line(({ message }) => message.includes('not what was promised'))
    expect(line).toMatchObject({ level: 'error', facts: { upstreams: ['u'], uuid: uuidOf(image) } })
    expect(line.message).toContain(sha1(bytes))
    expect(line.message).toContain(sha1(bad))
  })
})

describe('headers', () => {
  const upstreamsMd5 = Buffer.alloc(16, 7).toString('base64')

  it('of a cold file vouch for nothing of ours, those of a held one do', async () => {
    const bytes = randomBytes(300_000)
    const { mirror, paused, path } = await pausedMirror(
      bytes,
      200_000,
      {},
      { 'content-md5': upstreamsMd5, etag: '"x"' },
    )
    const described = await fetch(mirror.url + path, { method: 'HEAD' })
    expect(described.headers.get('content-length')).toBe('300000')
    const cold = await Download.start(mirror, path)
    for (const headers of [cold.headers, Object.fromEntries(described.headers)]) {
      for (const name of ['etag', 'accept-ranges', 'last-modified', 'transfer-encoding', 'content-encoding']) {
        expect(headers[name], name).toBeUndefined()
      }
    }
    expect(cold.headers['content-md5'], "the upstream's").toBe(upstreamsMd5)
    expect(described.headers.get('content-md5'), 'nobody was asked').toBeNull()
    paused.resume()
    await cold.complete
    await until(async () => (await statusOf(mirror)).imagesHeld === 1)

    const warm = await Download.whole(mirror, path)
    expect(warm.headers).toMatchObject({
      'accept-ranges': 'bytes',
      etag: `"${sha1(bytes)}"`,
      'content-md5': createHash('md5').update(bytes).digest('base64'),
      'content-length': '300000',
    })
    expect(Date.parse(warm.headers['last-modified']!)).toBeGreaterThan(0)
    const head = await fetch(mirror.url + path, { method: 'HEAD' })
    for (const name of ['accept-ranges', 'etag', 'content-md5', 'content-length', 'last-modified']) {
      expect(head.headers.get(name), name).toBe(warm.headers[name])
    }
  })

  it('have no Content-MD5 for a cold file when the upstream gave none, and never for a part', async () => {
    const bytes = randomBytes(300_000)
    const { mirror, paused, path } = await pausedMirror(bytes, 200_000)
    expect((await Download.start(mirror, path)).headers['content-md5']).toBeUndefined()
    paused.resume()
    const part = await Download.whole(mirror, path, { range: 'bytes=0-9' })
    expect(part.headers['content-md5']).toBeUndefined()
  })
})

describe('a flight', () => {
  it('is followed from any offset while it grows, with one request upstream', async () => {
    const bytes = randomBytes(2 * MIB)
    const { mirror, paused, path } = await pausedMirror(bytes, MIB, { holdback: '1B' })
    const ranges = [
      [0, bytes.length],
      [1, 1000],
      [MIB - 10, MIB + 10],
      [MIB + 5, MIB + 6],
      [bytes.length - 1, bytes.length],
      [300_000, 1_500_000],
    ] as const
    const readers = ranges.map(([start, end]) => Download.whole(mirror, path, { range: `bytes=${start}-${end - 1}` }))
    const suffix = Download.whole(mirror, path, { range: 'bytes=-777' })
    const many = Download.whole(mirror, path, { range: 'bytes=5-9,1048570-1048580' })
    await until(async () => (await statusOf(mirror)).flights[0]?.readers === ranges.length + 2)
    paused.resume()
    for (const [place, [start, end]] of ranges.entries()) {
      const { status, bytes: got } = await readers[place]!
      expect(status).toBe(206)
      expect(got.equals(bytes.subarray(start, end)), `${start} to ${end}`).toBe(true)
    }
    expect((await suffix).bytes.equals(bytes.subarray(-777))).toBe(true)
    expect((await many).headers['content-type']).toContain('multipart/byteranges')
    expect((await many).bytes.includes(bytes.subarray(1_048_570, 1_048_581))).toBe(true)
    expect(paused.requestCount).toBe(1)
  })

  it('refuses a part behind the end of a cold file without fetching anything', async () => {
    const image = makeImage()
    const { mirror, fileRequests } = await mirrorOf([image])
    const answer = await Download.whole(mirror, `/images/${uuidOf(image)}/file`, { range: 'bytes=100000-' })
    expect(answer.status).toBe(416)
    expect(answer.headers['content-range']).toBe('bytes */100000')
    expect(fileRequests()).toBe(0)
  })

  it('is not ended by the first client leaving, nor by all of them', async () => {
    const bytes = randomBytes(MIB)
    const { mirror, paused, path } = await pausedMirror(bytes, MIB / 2)
    const clients = [await Download.start(mirror, path), await Download.start(mirror, path)]
    await Promise.all(clients.map((client) => client.has(100_000)))
    for (const client of clients) client.leave()
    await until(async () => (await statusOf(mirror)).flights[0]?.readers === 0)
    paused.resume()
    await until(async () => (await statusOf(mirror)).imagesHeld === 1)
    expect(await fileSha1(mirror, path)).toBe(sha1(bytes))
    expect(paused.requestCount).toBe(1)
    expect(mirror.log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([])
  })

  it('is not slowed by a client that reads nothing', async () => {
    const bytes = randomBytes(16 * MIB)
    const image = makeImage({}, bytes)
    const { mirror, fileRequests } = await mirrorOf([image])
    const path = `/images/${uuidOf(image)}/file`
    const { hostname, port } = new URL(mirror.url)
    const idle = net.connect({ host: hostname, port: Number(port) })
    onTestFinished(() => void idle.destroy())
    idle.on('error', () => {})
    idle.pause()
    await once(idle, 'connect')
    idle.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await until(async () => fileRequests() === 1)
    expect(await fileSha1(mirror, path)).toBe(sha1(bytes))
    await until(async () => (await statusOf(mirror)).imagesHeld === 1)
    expect(fileRequests()).toBe(1)

    // It can go on whenever it likes: what it reads are the bytes it was promised.
    let received = 0
    const hash = createHash('sha1')
    let isInBody = false
    idle.on('data', (piece: Buffer) => {
      let body = piece
      if (!isInBody) {
        isInBody = true
        body = piece.subarray(piece.indexOf('\r\n\r\n') + 4)
      }
      hash.update(body)
      received += body.length
    })
    idle.resume()
    await until(() => received === bytes.length)
    expect(hash.digest('hex')).toBe(sha1(bytes))
  })

  it('is shared by two images with the same file, as is the blob', async () => {
    const bytes = randomBytes(MIB)
    const images = [makeImage({}, bytes), makeImage({}, bytes)]
    const paused = images.map((image) => new PausedFile(uuidOf(image), bytes, MIB / 2))
    const { mirror, fileRequests } = await mirrorOf(
      images,
      {},
      {
        intercept: (request, response) => paused.some((file) => file.intercept(request, response)),
      },
    )
    const downloads = await Promise.all(images.map((image) => Download.start(mirror, `/images/${uuidOf(image)}/file`)))
    expect(fileRequests()).toBe(1)
    for (const file of paused) file.resume()
    for (const download of downloads) expect((await download.complete).equals(bytes)).toBe(true)
    await until(async () => (await statusOf(mirror)).imagesHeld === 2)
    expect((await statusOf(mirror)).blobsKept).toBe(1)
  })
})

describe('an image with several files', () => {
  it('gives each by its index, and is held when all of them are', async () => {
    const [first, second] = [randomBytes(1000), randomBytes(2000)]
    const files = [first, second].map((bytes) => ({ sha1: sha1(bytes), size: bytes.length, compression: 'none' }))
    const image = { ...makeImage({ files }), files: [first, second] }
    const { mirror } = await mirrorOf([image])
    const path = `/images/${uuidOf(image)}/file`
    expect((await Download.whole(mirror, path)).bytes.equals(first)).toBe(true)
    await until(async () => (await statusOf(mirror)).flights.length === 0)
    expect(await statusOf(mirror)).toMatchObject({ blobsKept: 1, imagesHeld: 0 })
    expect((await Download.whole(mirror, `${path}?index=1`)).bytes.equals(second)).toBe(true)
    await until(async () => (await statusOf(mirror)).imagesHeld === 1)
    expect(await getJson(mirror, `${path}?index=2`)).toMatchObject({ status: 404, body: { code: 'ResourceNotFound' } })
  })
})

describe('a file of which no digest is declared', () => {
  const bytes = [randomBytes(50_000), randomBytes(60_000)]
  const bare = () => ({
    ...makeImage({ files: bytes.map(({ length }) => ({ size: length, compression: 'none' })) }),
    files: bytes,
  })

  it('is refused', async () => {
    const image = bare()
    const { mirror } = await mirrorOf([image])
    expect((await getJson(mirror, `/images/${uuidOf(image)}/file`)).status).toBe(404)
  })

  it('is fetched once and held, also after a restart, where that is allowed', async () => {
    const image = bare()
    const path = `/images/${uuidOf(image)}/file`
    const intercept: ServeOptions['intercept'] = (request, response) => {
      const [, index] = /\/file(?:\?index=(\d))?/.exec(request.url!) ?? [undefined, undefined]
      if (!request.url!.includes('/file')) return false
      response.end(bytes[Number(index ?? 0)])
      return true
    }
    const { mirror, fileRequests, upstream } = await mirrorOf([image], {}, { intercept, allowMissingDigest: true })
    for (let time = 0; time < 2; time++) {
      for (const index of [0, 1]) {
        expect((await Download.whole(mirror, `${path}?index=${index}`)).bytes.equals(bytes[index]!)).toBe(true)
        await until(async () => (await statusOf(mirror)).flights.length === 0)
      }
    }
    expect(fileRequests()).toBe(2)
    await until(async () => (await statusOf(mirror)).imagesHeld === 1)
    await mirror.close()
    await upstream.close()
    const after = await startMirror({
      data: mirror.dataDirectory,
      upstreams: [{ name: 'u', url: upstream.url, allowMissingDigest: true }],
    })
    expect((await Download.whole(after, `${path}?index=1`)).bytes.equals(bytes[1]!)).toBe(true)
  })
})

describe('an icon', () => {
  const PNG = Buffer.from('89504e470d0a1a0a', 'hex')
  const icon = { contentType: 'image/png', bytes: Buffer.concat([PNG, randomBytes(500)]) }

  it('is fetched once, kept, and served with its upstream dead', async () => {
    const image = { ...makeImage({ icon: true }), icon }
    const { mirror, upstream } = await mirrorOf([image])
    const get = () => Download.whole(mirror, `/images/${uuidOf(image)}/icon`)
    const answers = await Promise.all([get(), get(), get()])
    await upstream.close()
    for (const { status, headers, bytes } of [...answers, await get()]) {
      expect(status).toBe(200)
      expect(headers['content-type']).toBe('image/png')
      expect(bytes.equals(icon.bytes)).toBe(true)
    }
    expect(upstream.requests.filter(({ url }) => url.includes('/icon'))).toHaveLength(1)
  })

  it('is a 404 when the manifest says there is none, or no upstream has it', async () => {
    const [without, lying] = [makeImage(), makeImage({ icon: true })]
    const { mirror, upstream } = await mirrorOf([without, lying])
    expect((await getJson(mirror, `/images/${uuidOf(without)}/icon`)).status).toBe(404)
    expect(upstream.requests.filter(({ url }) => url.includes('/icon'))).toHaveLength(0)
    expect((await getJson(mirror, `/images/${uuidOf(lying)}/icon`)).status).toBe(404)
  })

  it('is a 503 when it exists and cannot be had now', async () => {
    const image = { ...makeImage({ icon: true }), icon }
    const { mirror, upstream } = await mirrorOf([image])
    await upstream.close()
    expect((await getJson(mirror, `/images/${uuidOf(image)}/icon`)).status).toBe(503)
  })
})

it('tells the hash of every chunk of a held file, and of no other', async () => {
  const bytes = randomBytes(2 * MIB + 5)
  const image = makeImage({}, bytes)
  const { mirror } = await mirrorOf([image])
  const path = `/images/${uuidOf(image)}/chunks`
  expect((await getJson(mirror, path)).status).toBe(404)
  await Download.whole(mirror, `/images/${uuidOf(image)}/file`)
  await until(async () => (await statusOf(mirror)).imagesHeld === 1)
  expect((await getJson(mirror, path)).body).toMatchObject({
    size: bytes.length,
    sha1: sha1(bytes),
    sha256: sha256(bytes),
    chunk_size: MIB,
    chunks: [0, 1, 2].map((place) => sha256(bytes.subarray(place * MIB, (place + 1) * MIB))),
  })
})
