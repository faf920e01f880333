import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { download } from '../../support/download.js'
import { makeImage, sha1, sha256, uuidOf } from '../../support/made-up-images.js'
import { type RunningMirror, startMirror, until } from '../../support/running-mirror.js'
import { startRangeImgapi } from '../../support/upstreams/range-imgapi.js'
import { startSdcImgapi } from '../../support/upstreams/sdc-imgapi.js'
import type { ServedImage, TestServer } from '../../support/upstreams/serve.js'
import { blobPath, flipBit, MIB, operatorStatus } from './damage.js'

const bytes = randomBytes(3 * MIB + 777)

async function makeRig(settings: Record<string, unknown> = {}, start = startRangeImgapi as Starter) {
  const image = makeImage({}, bytes)
  const images = [image]
  const upstream = await start(images)
  onTestFinished(() => upstream.close())
  const mirror = await startMirror({
    upstreams: [{ name: 'up', url: upstream.url }],
    scrub: { every: 'never' },
    ...settings,
  })
  await mirror.settled()
  const uuid = uuidOf(image)
  const first = await download(mirror.url, uuid)
  expect(sha1(first.bytes)).toBe(sha1(bytes))
  await mirror.log.line(({ message }) => message.startsWith('kept file'))
  await until(async () => (await operatorStatus(mirror)).imagesHeld === 1)
  upstream.requests.length = 0
  return { images, mirror, upstream, uuid, blob: blobPath(mirror.dataDirectory, bytes) }
}

/** A data directory in which an image is held already. */
async function heldBy(image: ServedImage, upstream: TestServer) {
  const mirror = await startMirror({ upstreams: [{ name: 'friend', url: upstream.url }], scrub: { every: 'never' } })
  await mirror.settled()
  await download(mirror.url, uuidOf(image))
  await until(async () => (await operatorStatus(mirror)).imagesHeld === 1)
  await mirror.close()
  return { data: mirror.dataDirectory, blob: blobPath(mirror.dataDirectory, bytes) }
}

type Starter = (images: ReturnType<typeof makeImage>[]) => Promise<TestServer>
const startWithoutRanges: Starter = (images) => startSdcImgapi({ images })

function mended(mirror: RunningMirror) {
  return mirror.log.line(({ message }) => message.endsWith('is good again'))
}

function asked(upstream: TestServer): (string | undefined)[] {
  return upstream.requests.filter(({ url }) => url.endsWith('/file')).map(({ headers }) => headers.range)
}

describe('a bad bit on our own disk', () => {
  it('breaks the connection of who reads it, before a byte of that MiB leaves, and costs one MiB of the line', async () => {
    const { blob, mirror, upstream, uuid } = await makeRig({ verifyOnRead: 'always' })
    await flipBit(blob, MIB + 5)
    const hurt = await download(mirror.url, uuid)
    expect(hurt.kind).toBe('cut')
    expect(hurt.bytes.length).toBeLessThanOrEqual(MIB)
    expect(hurt.bytes.equals(bytes.subarray(0, hurt.bytes.length))).toBe(true)

    await mended(mirror)
    expect(asked(upstream)).toEqual([`bytes=${MIB}-${2 * MIB - 1}`])
    const healed = await download(mirror.url, uuid)
    expect(healed).toMatchObject({ status: 200, kind: 'complete' })
    expect(sha1(healed.bytes)).toBe(sha1(bytes))
    expect(sha256(await fs.readFile(blob))).toBe(sha256(bytes))
    expect(asked(upstream)).toHaveLength(1)
    const evidence = await fs.readdir(join(mirror.dataDirectory, 'quarantine'))
    expect(evidence.some((name) => name.startsWith(sha256(bytes)))).toBe(true)
  })

  it('is found by a range too, and only what is asked for leaves of a good MiB', async () => {
    const { blob, mirror, uuid } = await makeRig({ verifyOnRead: 'always' })
    const good = await download(mirror.url, uuid, { Range: `bytes=${2 * MIB - 10}-${2 * MIB + 9}` })
    expect(good).toMatchObject({ status: 206, kind: 'complete' })
    expect(good.bytes.equals(bytes.subarray(2 * MIB - 10, 2 * MIB + 10))).toBe(true)
    await flipBit(blob, 3 * MIB + 776)
    const hurt = await download(mirror.url, uuid, { Range: `bytes=${3 * MIB}-${3 * MIB + 9}` })
    expect(hurt.kind).not.toBe('complete')
    await mended(mirror)
    const tail = await download(mirror.url, uuid, { Range: 'bytes=-1' })
    expect(tail).toMatchObject({ status: 206, kind: 'complete', bytes: bytes.subarray(-1) })
  })

  it('is found by the first read after a start, unless told otherwise', async () => {
    const { blob, mirror, uuid } = await makeRig()
    await flipBit(blob, 5)
    // Nothing has left yet when it is found, so that a status can say it.
    expect((await download(mirror.url, uuid)).status).toBe(503)
    await mended(mirror)
  })

  it('makes the whole file come anew from an upstream that gives no parts', async () => {
    const { blob, mirror, uuid } = await makeRig({ verifyOnRead: 'always' }, startWithoutRanges)
    await flipBit(blob, MIB + 5)
    await download(mirror.url, uuid)
    await mended(mirror)
    expect(sha256(await fs.readFile(blob))).toBe(sha256(bytes))
  })

  it('makes the whole file come anew when more is damaged than was seen', async () => {
    const { blob, mirror, uuid } = await makeRig({ verifyOnRead: 'always' })
    await flipBit(blob, MIB + 5)
    await flipBit(blob, 3 * MIB + 5)
    await download(mirror.url, uuid)
    await mended(mirror)
    expect(sha256(await fs.readFile(blob))).toBe(sha256(bytes))
  })

  it('is not mended with bytes of an upstream that has other ones', async () => {
    const { blob, images, mirror, uuid } = await makeRig({ verifyOnRead: 'always' })
    const wrong = Buffer.from(bytes)
    wrong[MIB + 5]! ^= 1
    images[0]!.files = [wrong]
    await flipBit(blob, MIB + 5)
    await download(mirror.url, uuid)
    await mirror.log.line(({ message }) => message.includes('could not be had again'))
    expect(
      await fs.access(blob).then(
        () => 'there',
        () => 'gone',
      ),
    ).toBe('gone')
    images[0]!.files = [bytes]
    expect(sha1((await download(mirror.url, uuid)).bytes)).toBe(sha1(bytes))
  })

  it('is mended by the next upstream when the first one has other bytes', async () => {
    const honest = makeImage({}, bytes)
    const wrong = Buffer.from(bytes)
    wrong[MIB + 5]! ^= 1
    const [liar, friend] = [await startRangeImgapi([{ ...honest, files: [wrong] }]), await startRangeImgapi([honest])]
    onTestFinished(async () => void (await Promise.all([liar.close(), friend.close()])))
    const { data, blob } = await heldBy(honest, friend)
    await flipBit(blob, MIB + 5)
    liar.requests.length = 0
    friend.requests.length = 0
    const mirror = await startMirror({
      data,
      upstreams: [
        { name: 'liar', url: liar.url },
        { name: 'friend', url: friend.url },
      ],
      scrub: { every: 'never' },
      verifyOnRead: 'always',
    })
    await mirror.settled()
    await download(mirror.url, uuidOf(honest))
    await mended(mirror)
    const range = `bytes=${MIB}-${2 * MIB - 1}`
    expect([asked(liar), asked(friend)]).toEqual([[range], [range]])
  })

  it('is served to nobody while nobody can mend it, neither by GET, nor in parts, nor as held; and the status says so', async () => {
    const { blob, mirror, upstream, uuid } = await makeRig({ verifyOnRead: 'always' })
    await upstream.close()
    await flipBit(blob, MIB + 5)
    await download(mirror.url, uuid)
    await mirror.log.line(({ message }) => message.includes('could not be had again'))
    expect((await download(mirror.url, uuid)).status).toBe(503)
    // Of a MiB that was not damaged, too: what is out of service is out of service.
    expect((await download(mirror.url, uuid, { Range: 'bytes=0-9' })).status).toBe(503)
    const head = await fetch(`${mirror.url}/images/${uuid}/file`, { method: 'HEAD' })
    expect(head.headers.get('etag')).toBeNull()
    expect((await operatorStatus(mirror)).keeping.lost).toEqual([{ uuid, fileIndex: 0, sha256: sha256(bytes) }])
    const metrics = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
    expect(metrics).toContain('imgapi_mirror_lost_files 1')
    expect(metrics).toContain('imgapi_mirror_damage_found_total{kind="blob"} 1')
  })

  it('leaves as it is when reads are never checked and nothing is read again: only then', async () => {
    const { blob, mirror, uuid } = await makeRig({ verifyOnRead: 'never' })
    await flipBit(blob, MIB + 5)
    const { kind, bytes: body } = await download(mirror.url, uuid)
    expect(kind === 'complete' && body[MIB + 5] !== bytes[MIB + 5]).toBe(true)
  })
})

describe('the scrub of a running mirror', () => {
  it('finds a bad bit that nobody reads, and has the MiB fetched again', async () => {
    const { blob, mirror, upstream } = await makeRig({ scrub: { every: '1s', rate: '1GB/s' }, verifyOnRead: 'never' })
    await flipBit(blob, 3 * MIB + 5)
    await mended(mirror)
    expect(asked(upstream)).toEqual([`bytes=${3 * MIB}-${3 * MIB + 776}`])
    expect(sha256(await fs.readFile(blob))).toBe(sha256(bytes))
    const { scrub, lost } = (await operatorStatus(mirror)).keeping
    expect(scrub?.damageFound).toBe(1)
    expect(lost).toEqual([])
  })

  it('gets back a file that somebody has removed', async () => {
    const { blob, mirror } = await makeRig({ scrub: { every: '1s', rate: '1GB/s' } })
    await fs.rm(blob)
    await mended(mirror)
    expect(sha256(await fs.readFile(blob))).toBe(sha256(bytes))
  })
})

describe('a file of a held image that is lost', () => {
  it('is fetched again after a start', async () => {
    const { blob, mirror, upstream } = await makeRig()
    await mirror.close()
    await fs.rm(blob)
    const again = await startMirror({
      data: mirror.dataDirectory,
      upstreams: [{ name: 'up', url: upstream.url }],
      scrub: { every: 'never' },
    })
    await again.log.line(({ message }) => message.startsWith('kept file'))
    expect(sha256(await fs.readFile(blob))).toBe(sha256(bytes))
  })
})
