import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { UNSET_OWNER, type Uuid } from '../../../src/images/uuid.js'
import type { JsonObject } from '../../../src/parts/json-object.js'
import { uuid } from '../../images/manifests.js'
import { makeImage, uuidOf } from '../../support/made-up-images.js'
import { startRangeImgapi } from '../../support/upstreams/range-imgapi.js'
import { started, upstreamAt } from '../../upstream/upstream-under-test.js'
import { by, makePublishingRig, manifestOf } from './publishing-rig.js'

const forAll = { ...by, forceAllChannels: false }
const icon = { contentType: 'image/gif', bytes: Buffer.from('GIF89a'), sha1: undefined } as const
const told = ({ json }: { readonly json: string }) => JSON.parse(json) as JsonObject

describe('an image that is created', () => {
  it('has a uuid of its own, and nobody for an owner unless somebody is named', async () => {
    const { publishing } = await makePublishingRig()
    const body = { name: 'a', version: '1', type: 'zone-dataset', os: 'smartos' }
    const [one, other] = [await publishing.create(body, by), await publishing.create(body, by)]
    expect(one.uuid).not.toBe(other.uuid)
    expect(told(one)).toMatchObject({ owner: UNSET_OWNER, public: true, state: 'unactivated', files: [] })
    const owned = await publishing.create(body, { ...by, account: uuid(7) })
    expect(owned.owner).toBe(uuid(7))
  })

  it.each([undefined, null, 'text', [], 5])('is refused when the body is %j', async (body) => {
    const { publishing } = await makePublishingRig()
    for (const failing of [publishing.create(body, by), publishing.import(uuid(1), body, by)]) {
      await expect(failing).rejects.toMatchObject({ code: 'MANIFEST_INVALID', fields: [{ field: 'body' }] })
    }
  })

  it('has no more to say than a megabyte', async () => {
    const rig = await makePublishingRig()
    const users = Array.from({ length: 100_000 }, (_, index) => ({ name: `user number ${index} of a great many` }))
    const manifest = manifestOf(uuid(1), { users })
    expect(JSON.stringify(manifest).length).toBeGreaterThan(4 * 1024 * 1024)
    await expect(rig.publishing.import(uuid(1), manifest, by)).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      message: expect.stringContaining('too long'),
    })
    await expect(rig.get(uuid(1))).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' })
  })

  it('names what is unknown, not at any length', async () => {
    const { publishing } = await makePublishingRig()
    const extras = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`${index}`.repeat(1000), 1]))
    const failure = await publishing.import(uuid(1), manifestOf(uuid(1), extras), by).catch((error) => error)
    expect(failure).toMatchObject({ code: 'QUERY_INVALID' })
    expect(failure.message.length).toBeLessThan(20_000)
    const hostile = JSON.parse(
      '{"__proto__":{"v":1},"constructor":1,"v":{"toString":1,"valueOf":2},"owner":{"toString":3},"acl":[{"toString":1}]}',
    )
    await expect(publishing.create(hostile, by)).rejects.toMatchObject({ code: 'QUERY_INVALID' })
    await expect(publishing.import(uuid(1), { uuid: { toString: 1 } }, by)).rejects.toMatchObject({
      code: 'QUERY_INVALID',
    })
    for (const origin of [{ toString: 1 }, 5, 'x'.repeat(1e6)]) {
      const failing = publishing.create({ origin }, by)
      await expect(failing).rejects.toMatchObject({ code: 'ORIGIN_UNKNOWN' })
    }
  })

  it('may be given as another server shows it, or as a v1 server had it', async () => {
    const { publishing } = await makePublishingRig()
    const shown = {
      ...manifestOf(uuid(1)),
      icon: true,
      state: 'active',
      disabled: false,
      files: [{ size: 1 }],
      channels: ['x'],
    }
    expect(told(await publishing.import(uuid(1), shown, by))).toMatchObject({ state: 'unactivated', files: [] })
    const old = {
      uuid: uuid(2),
      name: 'old',
      version: '1',
      type: 'zone-dataset',
      os: 'smartos',
      creator_uuid: uuid(9),
      published_at: '2011-04-11T08:45Z',
      disabled: 'false',
    }
    const upgraded = told(await publishing.import(uuid(2), old, by))
    expect(upgraded).toMatchObject({ v: 2, owner: UNSET_OWNER, disabled: false, published_at: '2011-04-11T08:45:00Z' })
  })

  it.each([null, 0, 1.5])('is refused with the version %j, which nobody could install', async (v) => {
    const { publishing } = await makePublishingRig()
    await expect(publishing.import(uuid(1), manifestOf(uuid(1), { v }), by)).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      fields: [{ field: 'v', code: 'Invalid' }],
    })
  })

  it.each([
    ['imgadm/3.7.3 (node/0.10.48)', false, undefined],
    ['imgadm/3.7.3 (node/0.10.48)', true, { '7.0': '20140101T000000Z' }],
    ['imgadm/3.10.0', true, { '7.0': '20200101T000000Z' }],
    [undefined, true, { '7.0': '20200101T000000Z' }],
  ])(
    'of lx has its platform from where %s should have taken it (with an origin: %s)',
    async (userAgent, hasOrigin, expected) => {
      const rig = await makePublishingRig()
      const min = (stamp: string) => ({ requirements: { min_platform: { '7.0': stamp } } })
      await rig.publishing.import(uuid(2), manifestOf(uuid(2), min('20140101T000000Z')), by)
      const lx = { type: 'lx-dataset', os: 'linux', ...min('20200101T000000Z'), ...(hasOrigin && { origin: uuid(2) }) }
      const made = await rig.publishing.import(uuid(1), manifestOf(uuid(1), lx), { ...by, userAgent })
      expect(told(made).requirements).toEqual(expected === undefined ? {} : { min_platform: expected })
    },
  )
})

describe('an image of our own', () => {
  it('is not listed before it is active, and is what it was after a restart, in any state', async () => {
    const rig = await makePublishingRig()
    const bytes = randomBytes(1000)
    await rig.publishing.import(uuid(1), manifestOf(uuid(1), { published_at: '2013-01-01T00:00:00Z' }), by)
    await rig.reopen()
    expect(await rig.listed()).toEqual([])
    await rig.publishing.addFile(uuid(1), rig.upload(bytes), by)
    await rig.publishing.setIcon(uuid(1), icon, by)
    await rig.reopen()
    expect(await rig.listed()).toEqual([])
    const active = await rig.publishing.activate(uuid(1), by)
    expect(active.publishedAt).toBe('2013-01-01T00:00:00Z')
    await rig.reopen()
    expect(await rig.listed()).toEqual([uuid(1)])
    expect((await rig.get(uuid(1))).json).toBe(active.json)
    expect((await rig.read(uuid(1))).equals(bytes)).toBe(true)
    expect((await rig.mirror.getIcon(uuid(1), new AbortController().signal)).bytes.toString()).toBe('GIF89a')
    await rig.publishing.disable(uuid(1), by)
    await rig.reopen()
    expect(await rig.listed()).toEqual([])
    expect(await rig.store.images.audit()).toEqual([])
    await rig.publishing.enable(uuid(1), by)
    expect(await rig.listed()).toEqual([uuid(1)])
  })

  it('is published when it is activated, unless it was before', async () => {
    const rig = await makePublishingRig()
    const before = Date.now()
    const { publishedAt } = await rig.publish(uuid(1), randomBytes(10))
    expect(Date.parse(publishedAt!)).toBeGreaterThanOrEqual(before)
    expect(publishedAt).toMatch(/\.\d{3}Z$/)
  })

  it('is complete offline', async () => {
    const rig = await makePublishingRig({ isOffline: true })
    const bytes = randomBytes(1000)
    await rig.publish(uuid(1), bytes)
    await rig.publishing.import(uuid(2), manifestOf(uuid(2), { origin: uuid(1) }), by)
    expect(await rig.listed()).toEqual([uuid(1)])
    expect((await rig.get(uuid(2))).state).toBe('unactivated')
    expect((await rig.read(uuid(1))).equals(bytes)).toBe(true)
  })

  it('says what an operator calls its state, and is listed by what it is', async () => {
    const rig = await makePublishingRig()
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    expect(told(await rig.publishing.update(uuid(1), { state: 'active' }, by)).state).toBe('active')
    expect(await rig.listed()).toEqual([])
    await rig.reopen()
    expect(await rig.listed()).toEqual([])
    await rig.publish(uuid(2), randomBytes(10))
    const failed = await rig.publishing.update(uuid(2), { state: 'failed', error: { message: 'x' } }, by)
    expect(told(failed)).toMatchObject({ state: 'failed', error: { message: 'x' } })
    expect(await rig.listed()).toEqual([uuid(2)])
  })

  it('is changed by one after the other, and by nobody whose precondition fails', async () => {
    const rig = await makePublishingRig()
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    const accounts = Array.from({ length: 20 }, (_, index) => uuid(100 + index))
    await Promise.all(accounts.map((account) => rig.publishing.addAcl(uuid(1), [account], by)))
    expect(told(await rig.get(uuid(1))).acl).toEqual(accounts)
    const stale = (current: { json: string }) => {
      if (current.json !== 'what I saw') throw new Error('412')
    }
    const failing = rig.publishing.update(uuid(1), { description: 'd' }, { ...by, precondition: stale })
    await expect(failing).rejects.toThrow('412')
    expect(told(await rig.get(uuid(1))).description).toBeUndefined()
  })

  it('remembers who made it and who changed it last', async () => {
    const rig = await makePublishingRig()
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    const other = { author: { ...by.author, user: 'other' } }
    await rig.publishing.update(uuid(1), { description: 'd' }, other)
    await rig.reopen()
    expect(rig.store.images.get(uuid(1))!.publication).toMatchObject({ createdBy: 'builder', changedBy: 'other' })
  })

  it('takes along its file, its icon and nothing else when it is given another uuid', async () => {
    const rig = await makePublishingRig()
    const bytes = randomBytes(1000)
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    await rig.publishing.addFile(uuid(1), rig.upload(bytes), by)
    await rig.publishing.setIcon(uuid(1), icon, by)
    await rig.publishing.import(uuid(3), manifestOf(uuid(3)), by)
    await expect(rig.publishing.update(uuid(1), { uuid: uuid(3) }, by)).rejects.toMatchObject({ code: 'IMAGE_EXISTS' })
    await rig.publishing.update(uuid(1), { uuid: uuid(2), name: 'renamed' }, by)
    await expect(rig.get(uuid(1))).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' })
    await rig.reopen()
    await rig.publishing.activate(uuid(2), by)
    expect((await rig.get(uuid(2))).name).toBe('renamed')
    expect((await rig.read(uuid(2))).equals(bytes)).toBe(true)
    expect((await rig.store.icons.get(uuid(2)))?.bytes.equals(icon.bytes)).toBe(true)
    expect(await rig.store.icons.get(uuid(1))).toBeUndefined()
    expect(rig.store.images.get(uuid(2))!.publication!.replaces).toBeUndefined()
  })

  it.each([
    [{ files: [] }],
    [{ files: 5 }],
    [{ files: [{ sha1: 'another' }] }],
    [{ files: [{ digest: { deep: {} } }] }],
  ])('keeps its files when an update says %j', async (body) => {
    const rig = await makePublishingRig()
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    await rig.publishing.addFile(uuid(1), rig.upload(randomBytes(10)), by)
    await expect(rig.publishing.update(uuid(1), body, by)).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
      fields: [{ field: 'files', code: 'NotAllowed' }],
    })
    const { json } = await rig.publishing.update(uuid(1), { files: [{ digest: 'sha256:x' }] }, by)
    expect(json).not.toContain('digest')
  })

  it('builds on no ring of origins', async () => {
    const rig = await makePublishingRig()
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    await rig.publishing.import(uuid(2), manifestOf(uuid(2), { origin: uuid(1) }), by)
    for (const origin of [uuid(1), uuid(2)]) {
      await expect(rig.publishing.update(uuid(1), { origin }, by)).rejects.toMatchObject({
        fields: [{ field: 'origin' }],
      })
    }
  })

  it.each([
    ['is empty', { ...icon, bytes: Buffer.alloc(0) }],
    ['is too large', { ...icon, bytes: Buffer.alloc(131_073) }],
    ['is another than was said', { ...icon, sha1: '0'.repeat(40) }],
  ])('takes no icon that %s', async (_what, wrong) => {
    const rig = await makePublishingRig()
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    await expect(rig.publishing.setIcon(uuid(1), wrong, by)).rejects.toMatchObject({ code: 'UPLOAD_REFUSED' })
    await expect(rig.publishing.deleteIcon(uuid(1), by)).rejects.toMatchObject({ code: 'ICON_UNKNOWN' })
  })

  it('is deleted with its file and its icon, but not while others build on it', async () => {
    const rig = await makePublishingRig()
    await rig.publish(uuid(1), randomBytes(1000))
    await rig.publishing.setIcon(uuid(1), icon, by)
    const children = Array.from({ length: 11 }, (_, index) => uuid(10 + index))
    for (const child of children) await rig.publishing.import(child, manifestOf(child, { origin: uuid(1) }), by)
    await expect(rig.publishing.delete(uuid(1), forAll)).rejects.toMatchObject({
      code: 'IMAGE_IN_USE',
      message: `image "${uuid(1)}" has 11 dependent incremental image(s): ${children.slice(0, 5).join(', ')}, and 6 more...`,
    })
    await Promise.all(children.map((child) => rig.publishing.delete(child, forAll)))
    await rig.publishing.delete(uuid(1), forAll)
    expect(rig.blobs()).toEqual([])
    expect(await rig.store.icons.get(uuid(1))).toBeUndefined()
    await rig.reopen()
    await expect(rig.get(uuid(1))).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' })
    await expect(rig.publishing.delete(uuid(1), forAll)).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' })
  })

  it('cannot get an origin that is being deleted', async () => {
    const rig = await makePublishingRig()
    await rig.publish(uuid(1), randomBytes(1000))
    const outcomes = await Promise.allSettled([
      rig.publishing.delete(uuid(1), forAll),
      rig.publishing.import(uuid(2), manifestOf(uuid(2), { origin: uuid(1) }), by),
    ])
    expect(outcomes.map(({ status }) => status)).toContain('rejected')
    expect(outcomes.map(({ status }) => status)).toContain('fulfilled')
  })
})

describe('beside upstreams', () => {
  async function makeRig(image = makeImage(), isOffline = false) {
    const server = await started(startRangeImgapi([image]))
    const upstream = upstreamAt('imgapi', server.url, { name: 'up' })
    const rig = await makePublishingRig({
      precedence: ['up'],
      upstreams: isOffline ? [] : [upstream],
      isOffline,
      refreshMs: 100,
    })
    const knows = async (expected: boolean) => {
      while ((await rig.listed()).includes(uuidOf(image) as Uuid) !== expected) await new Promise(setImmediate)
    }
    return { rig, image, server, id: uuidOf(image) as Uuid, knows }
  }

  it('an image that only they have is not ours to change', async () => {
    const { rig, id, knows } = await makeRig()
    await knows(true)
    const { publishing } = rig
    for (const failing of [
      publishing.update(id, { name: 'n' }, by),
      publishing.addFile(id, rig.upload(randomBytes(10)), by),
      publishing.delete(id, forAll),
      publishing.activate(id, by),
    ]) {
      await expect(failing).rejects.toMatchObject({ code: 'NOT_OURS' })
    }
    await expect(publishing.import(id, manifestOf(id), by)).rejects.toMatchObject({ code: 'IMAGE_EXISTS' })
    const child = await publishing.import(uuid(5), manifestOf(uuid(5), { origin: id }), by)
    expect(child.origin).toBe(id)
  })

  it('ours stands when they claim the same uuid, which is told; once it is deleted, theirs shows', async () => {
    const image = makeImage({ name: 'theirs' })
    const id = uuidOf(image) as Uuid
    const images: (typeof image)[] = []
    const server = await started(startRangeImgapi(images))
    const rig = await makePublishingRig({
      precedence: ['up'],
      upstreams: [upstreamAt('imgapi', server.url, { name: 'up' })],
      refreshMs: 50,
    })
    const bytes = randomBytes(1000)
    await rig.publish(id, bytes)
    images.push(image)
    while (rig.mirror.status().conflicts.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(rig.mirror.status().conflicts).toMatchObject([{ uuid: id, winner: 'the image published here', loser: 'up' }])
    expect((await rig.get(id)).name).toBe('ours')
    expect((await rig.read(id)).equals(bytes)).toBe(true)
    await rig.publishing.delete(id, forAll)
    expect((await rig.get(id)).name).toBe('theirs')
    expect((await rig.read(id)).equals(image.files[0]!)).toBe(true)
  })

  it('offline, an image that was only heard of may be brought by hand', async () => {
    const { rig, id, image, knows } = await makeRig()
    await knows(true)
    await rig.mirror.close()
    await rig.store.close()
    const offline = await makePublishingRig({ precedence: ['up'], isOffline: true, directory: rig.directory })
    await expect(offline.get(id)).rejects.toMatchObject({ code: 'IMAGE_INCOMPLETE' })
    await offline.publish(id, image.files[0]!)
    expect(await offline.listed()).toEqual([id])
    expect((await offline.read(id)).equals(image.files[0]!)).toBe(true)
  })

  it('what was published here stays when room is made, and so does what it builds on', async () => {
    const base = makeImage({}, randomBytes(200 * 1024))
    const other = makeImage({}, randomBytes(200 * 1024))
    const server = await started(startRangeImgapi([base, other]))
    const rig = await makePublishingRig({
      precedence: ['up'],
      upstreams: [upstreamAt('imgapi', server.url, { name: 'up' })],
      keeping: { quotaBytes: async () => 500 * 1024, pins: [], scrub: undefined, verifyOnRead: 'never' },
    })
    const [baseId, otherId] = [uuidOf(base) as Uuid, uuidOf(other) as Uuid]
    await rig.read(baseId)
    await rig.read(otherId)
    while (rig.mirror.status().imagesHeld < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    await rig.publish(uuid(1), randomBytes(200 * 1024), { origin: baseId })
    expect(rig.mirror.status().keeping.room.evictedBytes).toBe(200 * 1024)
    expect(rig.store.images.get(baseId)).toBeDefined()
    expect(rig.store.images.get(otherId)).toBeUndefined()
  })
})
