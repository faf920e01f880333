import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import { matchesFilter, parseFilter } from '../../../src/images/filter.js'
import type { Manifest } from '../../../src/images/manifest.js'
import type { Uuid } from '../../../src/images/uuid.js'
import { Room } from '../../../src/mirror/keeping/room.js'
import { expectedOf } from '../../contracts/blob-store.contract.js'
import { KIB, type Made, makeKeepingRig } from './keeping-rig.js'

const DAY_MS = 86_400_000

async function makeRig({ quotaBytes, pins = [] }: { quotaBytes?: number; pins?: string[] } = {}) {
  const rig = await makeKeepingRig()
  const quota = { bytes: quotaBytes }
  const underWay: Manifest[] = []
  const dockerImages: string[][] = []
  /** Images by uuid, and files by size. */
  const wanted = new Set<Uuid | number>()
  const asked = { timesWanted: 0 }
  const leaving = { tell: () => {} }
  const { clock, counters, log } = rig
  const makeRoom = () =>
    new Room({
      isWanted: (uuid) => {
        asked.timesWanted++
        return wanted.has(uuid)
      },
      isWantedFile: ({ sizeBytes }) => wanted.has(sizeBytes),
      record: (kind) => {
        if (kind === 'evicted') leaving.tell()
      },
      store: rig.store,
      catalogue: rig.catalogue,
      quotaBytes: async () => quota.bytes,
      pinOf: (manifest) => {
        const text = pins.find((pin) => matchesFilter(parseFilter(pin), manifest))
        return text === undefined ? undefined : { by: 'a test', text }
      },
      underWay: () => underWay,
      dockerImages: () => dockerImages,
      counters,
      clock,
      log,
    })
  const here = (...made: Made[]) => made.map((each) => rig.isHere(each))
  return Object.assign(rig, {
    asked,
    dockerImages,
    here,
    leaving,
    makeRoom,
    pins,
    quota,
    room: makeRoom(),
    underWay,
    wanted,
  })
}

type Rig = Awaited<ReturnType<typeof makeRig>>

const expected = (sizeBytes: number) => expectedOf(randomBytes(sizeBytes), 'sha1')

const A_CHILD = '00000000-0000-4000-8000-0000000000c1' as Uuid
const sha256sOf = (bytes: Buffer) => [createHash('sha256').update(bytes).digest('hex')]

async function refusal(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => 'none',
    (error: unknown) => (isMirrorError(error) ? error.code : error),
  )
}

describe('room', () => {
  it('is there without letting go of anything, as long as the quota allows', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    const partial = await rig.room.receive(expected(100 * KIB))
    expect(rig.here(a, b)).toEqual([true, true])
    await partial.close()
  })

  it('is made by letting go of what was used longest ago, its record and its bytes', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const [a, b, c] = [await rig.keep(1), await rig.keep(2), await rig.keep(3)]
    await rig.use(a)
    await (await rig.room.receive(expected(100 * KIB))).close()
    expect(rig.here(a, b, c)).toEqual([true, false, true])
    expect(rig.catalogue.held(b.uuid)).toBeUndefined()
    await rig.reopen()
    expect(rig.store.images.get(b.uuid)).toBeUndefined()
    expect(rig.here(a, b, c)).toEqual([true, false, true])
    const { body } = await rig.counters.expose()
    expect(body).toContain(`imgapi_mirror_evicted_bytes_total ${100 * KIB}`)
  })

  it('that was promised to one download is not given to another one', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB, pins: ['name=image-1'] })
    const a = await rig.keep(1)
    const [first, second] = await Promise.allSettled([
      rig.room.receive(expected(150 * KIB)),
      rig.room.receive(expected(150 * KIB)),
    ])
    expect([first.status, second.status]).toEqual(['fulfilled', 'rejected'])
    expect(rig.here(a)).toEqual([true])
    if (first.status === 'fulfilled') await first.value.close()
    await (await rig.room.receive(expected(150 * KIB))).close()
  })

  it('is not made by letting go in vain', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    expect(await refusal(rig.room.receive(expected(301 * KIB)))).toBe('STORE_FULL')
    expect(await rig.room.makeRoom(301 * KIB)).toBe(false)
    expect(rig.here(a, b)).toEqual([true, true])
  })

  it('tells of a file that it was too small for, what that needed and what there was, until one so large fits', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB, pins: ['name=image-1'] })
    await rig.keep(1)
    const [needed, free] = [301 * KIB, 200 * KIB]
    const message = `no room for a file of ${needed} bytes: ${free} bytes are free, and nothing more may be let go of`
    await expect(rig.room.receive(expected(needed))).rejects.toThrow(message)
    const told = { turnedAway: { neededBytes: needed, freeBytes: free } }
    await (await rig.room.receive(expected(KIB))).close()
    expect(rig.room.status()).toMatchObject(told)
    await rig.room.look()
    expect(rig.room.status().freeBytes).toBeGreaterThan(0)
    rig.quota.bytes = 1000 * KIB
    await (await rig.room.receive(expected(needed))).close()
    expect(rig.room.status().turnedAway).toBeUndefined()
  })

  it('is not made of what is pinned, nor of what that builds on', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB, pins: ['name=image-2'] })
    const base = await rig.keep(1)
    const leaf = await rig.keep(2, { origin: base })
    const other = await rig.keep(3)
    expect(await rig.room.makeRoom(100 * KIB)).toBe(true)
    expect(rig.here(base, leaf, other)).toEqual([true, true, false])
    expect(await rig.room.makeRoom(200 * KIB)).toBe(false)
    expect(rig.room.status()).toMatchObject({ pinnedBytes: 200 * KIB, evictableBytes: 0, usedBytes: 200 * KIB })
  })

  it('is made of a leaf before its origin, however long ago that was used', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const base = await rig.keep(1)
    const leaf = await rig.keep(2, { origin: base })
    const younger = await rig.keep(3)
    expect(await rig.room.makeRoom(100 * KIB)).toBe(true)
    expect(rig.here(base, leaf, younger)).toEqual([true, false, true])
  })

  it('is not made of the origins of what is being fetched', async () => {
    const rig = await makeRig({ quotaBytes: 200 * KIB })
    const [base, other] = [await rig.keep(1), await rig.keep(2)]
    rig.underWay.push({ ...other.manifest, uuid: 'bbbbbbbb-0000-4000-8000-000000000009' as never, origin: base.uuid })
    expect(await rig.room.makeRoom(100 * KIB)).toBe(true)
    expect(rig.here(base, other)).toEqual([true, false])
  })

  it('is not made of what somebody reads; the next in the line goes', async () => {
    const rig = await makeRig({ quotaBytes: 200 * KIB })
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    const reader = await rig.store.blobs.open(a.sha256)
    await rig.use(b)
    expect(await rig.room.makeRoom(100 * KIB)).toBe(true)
    expect(rig.here(a, b)).toEqual([true, false])
    expect(rig.catalogue.held(a.uuid)).toBeDefined()
    expect(await rig.room.makeRoom(200 * KIB)).toBe(false)
    expect(rig.store.images.get(a.uuid)).toBeDefined()
    await reader?.close()
    expect(await rig.room.makeRoom(200 * KIB)).toBe(true)
  })

  it('is made of many by a plan or two, and not by looking at all that is kept for each of them', async () => {
    const rig = await makeRig({ quotaBytes: 800 * KIB })
    const made: Made[] = []
    for (let number = 1; number <= 8; number++) made.push(await rig.keep(number))
    expect(await rig.room.makeRoom(600 * KIB)).toBe(true)
    expect(rig.here(...made).filter(Boolean)).toHaveLength(2)
    expect(rig.asked.timesWanted).toBeLessThanOrEqual(2 * made.length)
  })

  it('is not made of what came to be pinned, needed or awaited while others left; the next in the line goes', async () => {
    for (const happen of [
      (rig: Rig) => rig.pins.push('name=image-2'),
      (rig: Rig, b: Made) => rig.underWay.push({ ...b.manifest, uuid: A_CHILD, origin: b.uuid }),
      (rig: Rig, b: Made) => rig.room.await(() => ({ sha256s: new Set([b.sha256]), manifests: [] })),
    ]) {
      const rig = await makeRig({ quotaBytes: 400 * KIB })
      const [a, b, c, d] = [await rig.keep(1), await rig.keep(2), await rig.keep(3), await rig.keep(4)]
      rig.leaving.tell = () => {
        rig.leaving.tell = () => {}
        happen(rig, b)
      }
      expect(await rig.room.makeRoom(200 * KIB)).toBe(true)
      expect(rig.here(a, b, c, d)).toEqual([false, true, false, true])
    }
  })

  it('tells what may leave and what stays, of images and of what is no image’s, without looking at each file', async () => {
    const rig = await makeRig({ pins: ['name=image-1'] })
    const [a, b, c] = [await rig.keep(1), await rig.keep(2), await rig.keep(3)]
    await rig.store.images.forget(c.uuid)
    rig.catalogue.letGo(c.uuid)
    expect(rig.room.status()).toMatchObject({ pinnedBytes: 100 * KIB, evictableBytes: 200 * KIB })
    rig.room.await(() => ({ sha256s: new Set([c.sha256, b.sha256]), manifests: [] }))
    expect(rig.room.status()).toMatchObject({ pinnedBytes: 200 * KIB, evictableBytes: 0 })
    expect(rig.here(a, b, c)).toEqual([true, true, true])
  })

  it('is made of a shared file only with the last image that has it', async () => {
    const bytes = randomBytes(100 * KIB)
    const rig = await makeRig({ quotaBytes: 200 * KIB, pins: ['name=image-2'] })
    const [a, b, c] = [await rig.keep(1, { bytes }), await rig.keep(2, { bytes }), await rig.keep(3)]
    expect(await rig.room.makeRoom(100 * KIB)).toBe(true)
    expect(rig.here(a, b, c)).toEqual([true, true, false])
    expect(await rig.room.makeRoom(200 * KIB)).toBe(false)
  })

  it('is made of unfinished downloads before images of the same age, but not of the one that goes on', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const left = randomBytes(100 * KIB)
    const suspend = async (bytes: Buffer) => {
      const partial = await rig.room.receive(expectedOf(bytes, 'sha1'))
      await partial.append(bytes.subarray(0, 60 * KIB))
      await partial.suspend()
    }
    await suspend(left)
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    expect(rig.room.status().usedBytes).toBeGreaterThanOrEqual(260 * KIB)
    const resumed = await rig.room.receive(expectedOf(left, 'sha1'))
    expect(resumed.receivedBytes).toBe(60 * KIB)
    await resumed.suspend()
    expect(rig.here(a, b)).toEqual([true, true])
    await rig.clock.advance(DAY_MS)
    await rig.use(a)
    await rig.use(b)
    expect(rig.room.whatWouldLeave(1)).toMatchObject([{ kind: 'leftover', uuid: undefined }])
    expect(await rig.room.makeRoom(100 * KIB)).toBe(true)
    expect([...rig.store.blobs.suspended()]).toEqual([])
    expect(rig.here(a, b)).toEqual([true, true])
  })

  it('is not made of the very download that it is made for, old as it is', async () => {
    const rig = await makeRig({ quotaBytes: 200 * KIB })
    const left = randomBytes(150 * KIB)
    const partial = await rig.room.receive(expectedOf(left, 'sha1'))
    await partial.append(left.subarray(0, 60 * KIB))
    await partial.suspend()
    const a = await rig.keep(1)
    const resumed = await rig.room.receive(expectedOf(left, 'sha1'))
    expect(resumed.receivedBytes).toBe(60 * KIB)
    expect(rig.here(a)).toEqual([false])
    await resumed.close()
  })

  it('is tidied: downloads that nobody went on with for a week go, and what a smaller quota has no room for', async () => {
    const rig = await makeRig()
    const partial = await rig.room.receive(expectedOf(randomBytes(100 * KIB), 'sha1'))
    await partial.append(randomBytes(10 * KIB))
    await partial.suspend()
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    await rig.room.tidy()
    expect([...rig.store.blobs.suspended()]).toHaveLength(1)
    await rig.clock.advance(8 * DAY_MS)
    rig.quota.bytes = 100 * KIB
    await rig.room.tidy()
    expect([...rig.store.blobs.suspended()]).toEqual([])
    expect(rig.here(a, b)).toEqual([false, true])
  })

  it('is made for a client of what is wanted too, when nothing else is left, but never for one another of the wanted', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const [a, b, c] = [await rig.keep(1), await rig.keep(2), await rig.keep(3)]
    rig.wanted
      .add(a.uuid)
      .add(b.uuid)
      .add(150 * KIB)
    expect(await refusal(rig.room.receive(expected(150 * KIB)))).toBe('STORE_FULL')
    expect(rig.here(a, b, c)).toEqual([true, true, true])
    await (await rig.room.receive(expected(100 * KIB))).close()
    expect(rig.here(a, b, c)).toEqual([true, true, false])
    await (await rig.room.receive(expected(250 * KIB))).close()
    expect(rig.here(a, b)).toEqual([false, false])
  })

  it('is made of unfinished downloads that are wanted last of all, and a week does not make them less so', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const begin = async (sizeBytes: number) => {
      const partial = await rig.room.receive(expected(sizeBytes))
      await partial.append(randomBytes(60 * KIB))
      await partial.suspend()
    }
    await begin(101 * KIB)
    rig.wanted.add(101 * KIB)
    await begin(102 * KIB)
    const a = await rig.keep(1)
    expect(rig.room.whatWouldLeave(220 * KIB).map(({ isWanted, kind }) => [kind, isWanted])).toEqual([
      ['leftover', false],
      ['image', false],
      ['leftover', true],
    ])
    const left = () => [...rig.store.blobs.suspended()].map(({ expected: { sizeBytes } }) => sizeBytes / KIB)
    expect(await rig.room.makeRoom(130 * KIB)).toBe(true)
    expect({ left: left(), a: rig.here(a) }).toEqual({ left: [101], a: [true] })
    await rig.clock.advance(8 * DAY_MS)
    await rig.room.tidy()
    expect(left()).toEqual([101])
    expect(await rig.room.makeRoom(299 * KIB)).toBe(true)
    expect(left()).toEqual([])
  })

  it('is never made of what is awaited from a medium: parts of files however old, whole files, and what they build on', async () => {
    const rig = await makeRig({ quotaBytes: 300 * KIB })
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    const left = randomBytes(100 * KIB)
    const partial = await rig.room.receive(expectedOf(left, 'sha256'))
    await partial.append(left.subarray(0, 50 * KIB))
    await partial.suspend()
    const child = { ...b.manifest, uuid: A_CHILD, origin: b.manifest.uuid }
    rig.room.await(() => ({ sha256s: new Set(sha256sOf(left)), manifests: [child] }))
    await rig.clock.advance(30 * DAY_MS)
    await rig.room.tidy()
    expect([...rig.store.blobs.suspended()]).toMatchObject([{ extents: [{ startBytes: 0, endBytes: 50 * KIB }] }])
    expect(await rig.room.makeRoom(140 * KIB)).toBe(true)
    expect(rig.here(a, b)).toEqual([false, true])
    expect(await rig.room.makeRoom(200 * KIB)).toBe(false)
    rig.room.await(() => ({ sha256s: new Set([...sha256sOf(left), ...sha256sOf(b.bytes)]), manifests: [] }))
    expect(await rig.room.makeRoom(200 * KIB)).toBe(false)
    rig.room.await(() => ({ sha256s: new Set(), manifests: [] }))
    expect(await rig.room.makeRoom(300 * KIB)).toBe(true)
  })

  it('is first made of bytes whose record went before a crash took us', async () => {
    const rig = await makeRig({ quotaBytes: 200 * KIB })
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    await rig.store.images.forget(b.uuid)
    await rig.reopen()
    expect(rig.here(a, b)).toEqual([true, true])
    const room = rig.makeRoom()
    // It is the younger one; used no more than the other, it would stay if it were an image's.
    expect(room.whatWouldLeave(200 * KIB).map(({ kind }) => kind)).toEqual(['image', 'stray'])
    expect(await room.makeRoom(200 * KIB)).toBe(true)
    expect(rig.here(a, b)).toEqual([false, false])
  })

  it('says what would leave without letting go of it', async () => {
    const rig = await makeRig()
    const a = await rig.keep(1)
    expect(rig.room.whatWouldLeave(1)).toEqual([
      {
        kind: 'image',
        uuid: a.uuid,
        sha256s: [a.sha256],
        sizeBytes: 100 * KIB,
        lastUsedMs: rig.clock.wallMs(),
        isWanted: false,
        why: 'unused longest',
      },
    ])
    expect(rig.here(a)).toEqual([true])
  })
})
