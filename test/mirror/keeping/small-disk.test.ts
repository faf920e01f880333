import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { download, type Outcome } from '../../support/download.js'
import { makeImage, sha1, uuidOf } from '../../support/made-up-images.js'
import { startMirror, until } from '../../support/running-mirror.js'
import { canMount, mountSmallDisk } from '../../support/small-disk.js'
import { startRangeImgapi } from '../../support/upstreams/range-imgapi.js'
import type { ServedImage } from '../../support/upstreams/serve.js'
import { MIB, operatorStatus } from './damage.js'

const DISK_MIB = 64

describe.skipIf(!canMount)(`on a disk of ${DISK_MIB} MiB`, () => {
  /** Several clients ask for all files, each for its share. */
  async function readAll(
    url: string,
    images: readonly ServedImage[],
    readers: number,
    judge: (got: Outcome, bytes: Buffer) => void,
  ): Promise<void> {
    await Promise.all(
      Array.from({ length: readers }, async (_, reader) => {
        for (let index = reader; index < images.length; index += readers) {
          const image = images[index]!
          judge(await download(url, uuidOf(image)), image.files[0]!)
        }
      }),
    )
  }

  async function makeRig(settings: Record<string, unknown>, count: number, sizeBytes: number) {
    const data = await mountSmallDisk(DISK_MIB)
    const images = Array.from({ length: count }, () => makeImage({}, randomBytes(sizeBytes)))
    const upstream = await startRangeImgapi(images)
    onTestFinished(() => upstream.close())
    const mirror = await startMirror({ data, upstreams: [{ name: 'up', url: upstream.url }], ...settings })
    await mirror.settled()
    return { data, images, mirror, upstream }
  }

  it('clients get the right bytes of four times as much, several at once', async () => {
    const { data, images, mirror } = await makeRig({}, 64, 4 * MIB)
    await readAll(mirror.url, images, 4, ({ kind, status, bytes: body }, bytes) => {
      expect({ kind, status }).toEqual({ kind: 'complete', status: 200 })
      expect(sha1(body)).toBe(sha1(bytes))
    })
    const { keeping } = await operatorStatus(mirror)
    expect(keeping.room.evictedBytes).toBeGreaterThan(150 * MIB)
    expect(keeping.lost).toEqual([])
    // What was let go of left nothing behind: the blobs are all there is.
    const { blocks, bavail, bsize } = await fs.statfs(data)
    expect((blocks - bavail) * bsize - keeping.room.usedBytes).toBeLessThan(4 * MIB)
  })

  it('everybody is served when more is asked for at once than it holds', async () => {
    const { images, mirror } = await makeRig({}, 24, 10 * MIB)
    await readAll(mirror.url, images, 8, ({ kind, status, bytes: body }, bytes) => {
      expect({ kind, status }).toEqual({ kind: 'complete', status: 200 })
      expect(sha1(body)).toBe(sha1(bytes))
    })
  })

  it('a file larger than it passes by: verified, to several at once, and leaves nothing', async () => {
    const { data, images, mirror, upstream } = await makeRig({}, 1, (DISK_MIB + 16) * MIB)
    const image = images[0]!
    const got = await Promise.all([1, 2, 3].map(() => download(mirror.url, uuidOf(image))))
    for (const { kind, status, bytes: body } of got) {
      expect({ kind, status }).toEqual({ kind: 'complete', status: 200 })
      expect(sha1(body)).toBe(sha1(image.files[0]!))
    }
    expect(upstream.requests.filter(({ url }) => url.endsWith('/file'))).toHaveLength(1)
    await until(async () => (await mirror.status()).flights.length === 0)
    expect(mirror.log.lines.some(({ message }) => /passed on, not kept/.test(message))).toBe(true)
    expect(await fs.readdir(join(data, 'partial'))).toEqual([])
  })

  it('a file goes on through memory when the disk fills in the middle of it', async () => {
    const { data, images, mirror } = await makeRig({}, 1, 40 * MIB)
    const image = images[0]!
    // Somebody else takes the room that this file was promised, as soon as it has begun.
    const going = download(mirror.url, uuidOf(image))
    await until(async () => (await mirror.status()).flights.some((flight) => flight.receivedBytes > 0))
    await fs.writeFile(join(data, 'stranger'), Buffer.alloc(40 * MIB)).catch(() => {})
    const { kind, status, bytes: body } = await going
    expect({ kind, status }).toEqual({ kind: 'complete', status: 200 })
    expect(sha1(body)).toBe(sha1(image.files[0]!))
    await fs.rm(join(data, 'stranger'))
    await until(async () => (await mirror.status()).flights.length === 0)
    expect(mirror.log.lines.some(({ message }) => /passed on, not kept/.test(message))).toBe(true)
    expect(await fs.readdir(join(data, 'partial'))).toEqual([])
  })

  it('a share of the disk is what image files take', async () => {
    const { images, mirror } = await makeRig({ quota: '25%' }, 6, 4 * MIB)
    for (const image of images) {
      expect(sha1((await download(mirror.url, uuidOf(image))).bytes)).toBe(sha1(image.files[0]!))
      await until(async () => (await mirror.status()).flights.length === 0)
    }
    const { room } = (await operatorStatus(mirror)).keeping
    expect(room.quotaBytes).toBe((DISK_MIB / 4) * MIB)
    expect(room.usedBytes).toBeLessThanOrEqual(room.quotaBytes)
    expect(room.usedBytes).toBeGreaterThanOrEqual(12 * MIB)
  })

  it('what was let go of comes again when it is asked for', async () => {
    const { images, mirror, upstream } = await makeRig({ quota: '9MiB' }, 3, 4 * MIB)
    for (const image of [...images, ...images]) {
      expect(sha1((await download(mirror.url, uuidOf(image))).bytes)).toBe(sha1(image.files[0]!))
      await until(async () => (await mirror.status()).flights.length === 0)
    }
    expect(upstream.requests.filter(({ url }) => url.endsWith('/file'))).toHaveLength(6)
  })
})
