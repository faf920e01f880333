import { randomUUID } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { TestServer } from '../support/upstreams/serve.js'
import { getJson, namesListed } from './clients.js'

function closing<Server extends TestServer>(server: Server): Server {
  onTestFinished(() => server.close())
  return server
}

function timesAsked(server: TestServer, uuid: string): number {
  return server.requests.filter(({ url }) => url.startsWith(`/images/${uuid}`) && !url.includes('/file')).length
}

/** An image as it is before activation or after its time: in no list, but answered by uuid. */
function unlisted(more: Record<string, unknown> = {}) {
  return makeImage({ state: 'disabled', disabled: true, ...more })
}

describe('an unknown uuid', () => {
  it('is asked for once, however many clients ask at the same time, and the answer is for all', async () => {
    const image = unlisted()
    const upstream = closing(await startSdcImgapi({ images: [image] }))
    const mirror = await startMirror({ upstreams: [{ name: 'u', url: upstream.url }] })
    await mirror.settled()
    const answers = await Promise.all(Array.from({ length: 30 }, () => getJson(mirror, `/images/${uuidOf(image)}`)))
    expect(answers.map(({ status }) => status)).toEqual(Array(30).fill(200))
    expect(timesAsked(upstream, uuidOf(image))).toBe(1)
  })

  it('is asked of all upstreams; the first in the configuration wins', async () => {
    const image = unlisted({ name: 'of-first' })
    const first = closing(await startSdcImgapi({ images: [image] }))
    const second = closing(
      await startSdcImgapi({ images: [{ ...image, manifest: { ...image.manifest, name: 'of-second' } }] }),
    )
    const mirror = await startMirror({
      upstreams: [first, second].map((server, index) => ({ name: `u${index}`, url: server.url })),
    })
    await mirror.settled()
    expect((await getJson(mirror, `/images/${uuidOf(image)}`)).body.name).toBe('of-first')
  })

  it('is not asked for again while the "no" of all is fresh', async () => {
    const uuid = randomUUID()
    const servers = [closing(await startSdcImgapi({ images: [] })), closing(await startSdcImgapi({ images: [] }))]
    const mirror = await startMirror({
      missTtl: '1h',
      upstreams: servers.map((server, index) => ({ name: `u${index}`, url: server.url })),
    })
    await mirror.settled()
    for (let time = 0; time < 3; time++) {
      const { status, body } = await getJson(mirror, `/images/${uuid}`)
      expect({ status, body }).toMatchObject({ status: 404, body: { code: 'ResourceNotFound' } })
    }
    expect(servers.map((server) => timesAsked(server, uuid))).toEqual([1, 1])
  })

  it('is asked for again when the "no" is old, and found once somebody has it', async () => {
    const image = unlisted()
    const images: ReturnType<typeof makeImage>[] = []
    const upstream = closing(await startSdcImgapi({ images }))
    const mirror = await startMirror({ missTtl: '50ms', upstreams: [{ name: 'u', url: upstream.url }] })
    await mirror.settled()
    expect((await getJson(mirror, `/images/${uuidOf(image)}`)).status).toBe(404)
    images.push(image)
    await until(async () => (await getJson(mirror, `/images/${uuidOf(image)}`)).status === 200)
  })

  it('is a 404 also when an upstream is down, but that "no" is not remembered', async () => {
    const uuid = randomUUID()
    const dead = await startSdcImgapi({ images: [] })
    await dead.close()
    const alive = closing(await startSdcImgapi({ images: [] }))
    const mirror = await startMirror({
      missTtl: '1h',
      upstreams: [
        { name: 'dead', url: dead.url },
        { name: 'alive', url: alive.url },
      ],
    })
    await mirror.settled()
    expect((await getJson(mirror, `/images/${uuid}`)).status).toBe(404)
    expect((await getJson(mirror, `/images/${uuid}`)).status).toBe(404)
    expect(timesAsked(alive, uuid)).toBe(2)
  })

  it('costs a bounded wait when an upstream hangs, and is had from the next one', async () => {
    const image = unlisted()
    const hanging = closing(
      await startSdcImgapi({ images: [], intercept: ({ url }) => url?.startsWith('/images/') === true }),
    )
    const alive = closing(await startSdcImgapi({ images: [image] }))
    const mirror = await startMirror({
      upstreams: [
        { name: 'hanging', url: hanging.url },
        { name: 'alive', url: alive.url },
      ],
    })
    await mirror.settled()
    expect((await getJson(mirror, `/images/${uuidOf(image)}`)).status).toBe(200)
  })
})

describe('an image that was only answered by uuid', () => {
  it('is not listed, and known from then on, also after a restart with its upstream dead', async () => {
    const image = unlisted({ name: 'inactive' })
    const upstream = await startSdcImgapi({ images: [image] })
    const settings = { upstreams: [{ name: 'u', url: upstream.url }] }
    const before = await startMirror(settings)
    await before.settled()
    expect((await getJson(before, `/images/${uuidOf(image)}`)).status).toBe(200)
    expect((await getJson(before, `/images/${uuidOf(image)}`)).status).toBe(200)
    expect(timesAsked(upstream, uuidOf(image))).toBe(1)
    expect(await namesListed(before)).toEqual([])
    await before.close()
    await upstream.close()
    const after = await startMirror({ ...settings, data: before.dataDirectory })
    expect((await getJson(after, `/images/${uuidOf(image)}`)).body.name).toBe('inactive')
  })

  it('is asked for again when it was heard longer ago than a list would have been', async () => {
    const image = unlisted({ name: 'before' })
    const upstream = closing(await startSdcImgapi({ images: [image] }))
    const mirror = await startMirror({ refresh: '200ms', upstreams: [{ name: 'u', url: upstream.url }] })
    await mirror.settled()
    expect((await getJson(mirror, `/images/${uuidOf(image)}`)).body.name).toBe('before')
    image.manifest.name = 'after'
    await until(async () => (await getJson(mirror, `/images/${uuidOf(image)}`)).body.name === 'after')
  })

  it('is gone when its upstream says so', async () => {
    const image = unlisted()
    const images = [image]
    const upstream = closing(await startSdcImgapi({ images }))
    const mirror = await startMirror({ refresh: '100ms', upstreams: [{ name: 'u', url: upstream.url }] })
    await mirror.settled()
    expect((await getJson(mirror, `/images/${uuidOf(image)}`)).status).toBe(200)
    images.pop()
    await until(async () => (await getJson(mirror, `/images/${uuidOf(image)}`)).status === 404)
  })
})
