import type { ServerResponse } from 'node:http'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeDataset, makeImage, sha1, uuidOf } from '../support/made-up-images.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { answerJson, type TestServer } from '../support/upstreams/serve.js'
import { startSmartosImageServer } from '../support/upstreams/smartos-image-server.js'
import { Download, fileSha1, getJson, namesListed, statusOf } from './clients.js'

const IS_LIST = /^\/images(\?|$)/

function closing<Server extends TestServer>(server: Server): Server {
  onTestFinished(() => server.close())
  return server
}

/** An IMGAPI server whose list can be made to fail while everything else goes on. */
async function startFickle(images: ReturnType<typeof makeImage>[]) {
  let answerList: ((response: ServerResponse) => void) | undefined
  const server = closing(
    await startSdcImgapi({
      images,
      intercept: (request, response) => {
        if (!answerList || !IS_LIST.test(request.url!)) return false
        answerList(response)
        return true
      },
    }),
  )
  const lists = () => server.requests.filter(({ url }) => IS_LIST.test(url)).length
  return {
    url: server.url,
    lists,
    answerListsWith(answer: typeof answerList) {
      answerList = answer
    },
  }
}

const failing =
  (status: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse) =>
    answerJson(response, status, { code: 'Whatever', message: 'no' }, headers)

describe('a list that', () => {
  it.each([
    ['is empty', (response: ServerResponse) => answerJson(response, 200, [])],
    ['is a 401', failing(401)],
    ['is a 404', failing(404)],
    ['is a 429', failing(429, { 'retry-after': '1' })],
    ['is a 500', failing(500)],
    ['is a page of HTML', (response: ServerResponse) => answerJson(response, 200, '<html></html>')],
  ])('%s takes nothing away, held or not, also after a restart', async (_what, answer) => {
    const [held, notHeld] = [makeImage({ name: 'held' }), makeImage({ name: 'not-held' })]
    const upstream = await startFickle([held, notHeld])
    const settings = { refresh: '100ms', upstreams: [{ name: 'u', url: upstream.url }] }
    const before = await startMirror(settings)
    await before.settled()
    await Download.whole(before, `/images/${uuidOf(held)}/file`)
    await until(async () => (await statusOf(before)).imagesHeld === 1)
    upstream.answerListsWith(answer)
    await until(async () => (await statusOf(before)).upstreams[0]!.state === 'failing')
    expect((await statusOf(before)).upstreams[0]!.lastError).toBeTruthy()
    expect((await namesListed(before)).sort()).toEqual(['held', 'not-held'])
    await before.close()

    const after = await startMirror({ ...settings, data: before.dataDirectory })
    await until(async () => (await statusOf(after)).upstreams[0]!.state === 'failing')
    expect((await namesListed(after)).sort()).toEqual(['held', 'not-held'])
    expect(await fileSha1(after, `/images/${uuidOf(held)}/file`)).toBe(sha1(held.files[0]!))
    expect((await getJson(after, `/images/${uuidOf(notHeld)}`)).status).toBe(200)
  })

  it('was empty from the start is believed', async () => {
    const upstream = closing(await startSdcImgapi({ images: [] }))
    const mirror = await startMirror({ upstreams: [{ name: 'u', url: upstream.url }] })
    await mirror.settled()
    expect((await statusOf(mirror)).upstreams[0]).toMatchObject({ state: 'reachable', images: 0 })
    expect(await namesListed(mirror)).toEqual([])
  })

  it('lacks an image withdraws it: from the list what is not held, from nothing what is', async () => {
    const [held, notHeld, other] = ['held', 'not-held', 'other'].map((name) => makeImage({ name }))
    const images = [held!, notHeld!, other!]
    const upstream = closing(await startSdcImgapi({ images }))
    const settings = { refresh: '100ms', upstreams: [{ name: 'u', url: upstream.url }] }
    const mirror = await startMirror(settings)
    await mirror.settled()
    await Download.whole(mirror, `/images/${uuidOf(held!)}/file`)
    await until(async () => (await statusOf(mirror)).imagesHeld === 1)
    images.splice(0, 2)
    await until(async () => (await namesListed(mirror)).length === 2)
    expect((await namesListed(mirror)).sort()).toEqual(['held', 'other'])
    expect(await fileSha1(mirror, `/images/${uuidOf(held!)}/file`)).toBe(sha1(held!.files[0]!))
    expect((await getJson(mirror, `/images/${uuidOf(notHeld!)}`)).status).toBe(404)
    await mirror.close()

    const hiding = await startMirror({ ...settings, withdrawn: 'hide', data: mirror.dataDirectory })
    expect(await namesListed(hiding)).toEqual(['other'])
    expect((await getJson(hiding, `/images/${uuidOf(held!)}`)).status).toBe(200)
  })

  it('has unusable manifests in it is told of in status, once in the log, and gives all the others', async () => {
    const good = makeImage({ name: 'good' })
    const bad = makeImage({ name: 'bad', files: [{ size: 10, compression: 'none' }] })
    const upstream = await startFickle([good, bad])
    const mirror = await startMirror({ refresh: '100ms', upstreams: [{ name: 'u', url: upstream.url }] })
    await mirror.settled()
    expect(await namesListed(mirror)).toEqual(['good'])
    const heard = upstream.lists()
    await until(() => upstream.lists() >= heard + 3)
    const { setAside, images } = (await statusOf(mirror)).upstreams[0]!
    expect(images).toBe(1)
    expect(setAside).toEqual([{ what: uuidOf(bad), reason: expect.stringContaining('no sha1') }])
    expect(mirror.log.lines.filter(({ message }) => message.includes('is set aside'))).toHaveLength(1)
    // Asked for by its uuid it is just as unusable.
    expect((await getJson(mirror, `/images/${uuidOf(bad)}`)).status).toBe(404)
  })

  it('claims another file than before is followed as long as nothing is held, and told in the log', async () => {
    const before = makeImage({ name: 'image' })
    const after = makeImage({ name: 'image', uuid: uuidOf(before) })
    const images = [before]
    const upstream = closing(await startSdcImgapi({ images }))
    const mirror = await startMirror({ refresh: '100ms', upstreams: [{ name: 'u', url: upstream.url }] })
    await mirror.settled()
    images[0] = after
    await mirror.log.line(({ message }) => /now claims another file/.test(message))
    await until(async () => {
      const { body } = await getJson(mirror, `/images/${uuidOf(before)}`)
      return (body.files as { sha1: string }[])[0]!.sha1 === sha1(after.files[0]!)
    })
    expect(await fileSha1(mirror, `/images/${uuidOf(before)}/file`)).toBe(sha1(after.files[0]!))
    expect((await statusOf(mirror)).conflicts).toEqual([])
  })

  it('claims another file for a held image changes nothing but the list of conflicts, also after a restart', async () => {
    const before = makeImage({ name: 'image' })
    const images = [before]
    const upstream = closing(await startSdcImgapi({ images }))
    const settings = { refresh: '100ms', upstreams: [{ name: 'u', url: upstream.url }] }
    const mirror = await startMirror(settings)
    await mirror.settled()
    await Download.whole(mirror, `/images/${uuidOf(before)}/file`)
    await until(async () => (await statusOf(mirror)).imagesHeld === 1)
    const shown = (await getJson(mirror, `/images/${uuidOf(before)}`)).body

    images[0] = makeImage({ name: 'lie', uuid: uuidOf(before) })
    await until(async () => (await statusOf(mirror)).conflicts.length === 1)
    const check = async (running: typeof mirror) => {
      expect((await getJson(running, `/images/${uuidOf(before)}`)).body).toEqual(shown)
      expect(await namesListed(running)).toEqual(['image'])
      expect(await fileSha1(running, `/images/${uuidOf(before)}/file`)).toBe(sha1(before.files[0]!))
      const { conflicts } = await statusOf(running)
      expect(conflicts).toMatchObject([{ uuid: uuidOf(before), winner: 'the held image', loser: 'u' }])
    }
    await check(mirror)
    await mirror.close()
    const after = await startMirror({ ...settings, data: mirror.dataDirectory })
    await check(after)
    const warnings = after.log.lines.filter(({ message }) => message.includes('disagree'))
    expect(warnings.map(({ facts }) => facts.winner)).toEqual(['the held image'])
  })
})

describe('upstreams that disagree', () => {
  it('make a conflict that is logged, counted and shown; the first one stands and is fetched from', async () => {
    const mine = makeImage({ name: 'mine' })
    const theirs = makeImage({ name: 'theirs', uuid: uuidOf(mine) })
    const first = closing(await startSdcImgapi({ images: [mine] }))
    const second = closing(await startSdcImgapi({ images: [theirs] }))
    const mirror = await startMirror({
      upstreams: [
        { name: 'first', url: first.url },
        { name: 'second', url: second.url },
      ],
    })
    await mirror.settled()
    await until(async () => (await statusOf(mirror)).conflicts.length === 1)
    const [conflict] = (await statusOf(mirror)).conflicts
    expect(conflict).toMatchObject({ uuid: uuidOf(mine), winner: 'first', loser: 'second' })
    expect(conflict!.differences[0]).toContain(sha1(theirs.files[0]!))
    expect((await mirror.log.line(({ message }) => message.includes('disagree'))).level).toBe('warn')
    const metrics = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
    expect(metrics).toMatch(/conflicts\S* [1-9]/)
    expect(await namesListed(mirror)).toEqual(['mine'])
    expect(await fileSha1(mirror, `/images/${uuidOf(mine)}/file`)).toBe(sha1(mine.files[0]!))
    expect(second.requests.some(({ url }) => url.includes('/file'))).toBe(false)
  })
})

describe('include and exclude', () => {
  it('narrow the list, but let the origins of what is included through', async () => {
    const base = makeImage({ name: 'base' })
    const leaf = makeImage({ name: 'leaf', origin: uuidOf(base) })
    const [unwanted, excluded] = [makeImage({ name: 'unwanted' }), makeImage({ name: 'leaf-beta' })]
    const upstream = closing(await startSdcImgapi({ images: [base, leaf, unwanted, excluded] }))
    const mirror = await startMirror({
      upstreams: [{ name: 'u', url: upstream.url, include: ['name=~leaf'], exclude: ['name=~beta'] }],
    })
    await mirror.settled()
    expect(await namesListed(mirror)).toEqual(['leaf'])
    expect((await getJson(mirror, `/images/${uuidOf(unwanted)}`)).status).toBe(404)
    expect((await getJson(mirror, `/images/${uuidOf(excluded)}`)).status).toBe(404)
    expect((await getJson(mirror, `/images/${uuidOf(base)}`)).status).toBe(200)
    expect(await fileSha1(mirror, `/images/${uuidOf(base)}/file`)).toBe(sha1(base.files[0]!))
  })

  it('let an origin through that was refused before anything built on it', async () => {
    const base = makeImage({ name: 'base' })
    const leaf = makeImage({ name: 'leaf', origin: uuidOf(base) })
    const images = [base]
    const upstream = closing(await startSdcImgapi({ images }))
    const settings = { name: 'u', url: upstream.url, include: ['name=leaf'] }
    const mirror = await startMirror({ refresh: '100ms', missTtl: '1h', upstreams: [settings] })
    await mirror.settled()
    expect((await getJson(mirror, `/images/${uuidOf(base)}`)).status).toBe(404)
    images.push(leaf)
    await until(async () => (await namesListed(mirror)).length === 1)
    expect((await getJson(mirror, `/images/${uuidOf(base)}`)).status).toBe(200)
  })

  it('apply to what earlier runs have heard, as they are configured now', async () => {
    const images = [makeImage({ name: 'one' }), makeImage({ name: 'two' })]
    const upstream = await startSdcImgapi({ images })
    const before = await startMirror({ upstreams: [{ name: 'u', url: upstream.url }] })
    await before.settled()
    expect(await namesListed(before)).toHaveLength(2)
    await before.close()
    await upstream.close()
    const settings = { name: 'u', url: upstream.url, exclude: ['name=one'] }
    const after = await startMirror({ data: before.dataDirectory, upstreams: [settings] })
    expect(await namesListed(after)).toEqual(['two'])
  })
})

describe('the first list', () => {
  /** A server whose list does not come before it is told to. */
  async function startSlow(name: string) {
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const image = makeImage({ name })
    const server = closing(
      await startSdcImgapi({
        images: [image],
        intercept: (request, response) => {
          if (!IS_LIST.test(request.url!)) return false
          void released.then(() => answerJson(response, 200, [image.manifest]))
          return true
        },
      }),
    )
    return { url: server.url, release, requests: server.requests }
  }

  it('waits for the first upstream to answer', async () => {
    const slow = await startSlow('slow')
    const mirror = await startMirror({ firstAnswerWait: '1h', upstreams: [{ name: 'slow', url: slow.url }] })
    let isAnswered = false
    const list = namesListed(mirror).finally(() => {
      isAnswered = true
    })
    await until(() => slow.requests.length > 0)
    expect(isAnswered).toBe(false)
    slow.release()
    expect(await list).toEqual(['slow'])
  })

  it('waits for the first one only, not for all', async () => {
    const slow = await startSlow('slow')
    const quick = closing(await startSdcImgapi({ images: [makeImage({ name: 'quick' })] }))
    const mirror = await startMirror({
      firstAnswerWait: '1h',
      upstreams: [
        { name: 'slow', url: slow.url },
        { name: 'quick', url: quick.url },
      ],
    })
    expect(await namesListed(mirror)).toEqual(['quick'])
  })

  it('waits no longer than it is told to', async () => {
    const slow = await startSlow('slow')
    const mirror = await startMirror({ firstAnswerWait: '100ms', upstreams: [{ name: 'slow', url: slow.url }] })
    expect(await namesListed(mirror)).toEqual([])
  })

  it('does not wait when all upstreams have failed', async () => {
    const dead = await startSdcImgapi({ images: [] })
    await dead.close()
    const mirror = await startMirror({ firstAnswerWait: '1h', upstreams: [{ name: 'dead', url: dead.url }] })
    expect(await namesListed(mirror)).toEqual([])
  })

  it('does not wait when an earlier run has heard the upstream, but does for one under a new name', async () => {
    const quick = await startSdcImgapi({ images: [makeImage({ name: 'quick' })] })
    const before = await startMirror({ upstreams: [{ name: 'old', url: quick.url }] })
    expect(await namesListed(before)).toEqual(['quick'])
    await before.close()
    await quick.close()

    const slow = await startSlow('slow')
    const again = await startMirror({
      firstAnswerWait: '1h',
      data: before.dataDirectory,
      upstreams: [{ name: 'old', url: slow.url }],
    })
    expect(await namesListed(again)).toEqual(['quick'])
    await again.close()

    const renamed = await startMirror({
      firstAnswerWait: '1h',
      data: before.dataDirectory,
      upstreams: [{ name: 'new', url: slow.url }],
    })
    const list = namesListed(renamed)
    slow.release()
    expect(await list).toEqual(['slow'])
  })
})

it('brings all claims back after a restart with every upstream dead', async () => {
  const [one, two] = [makeImage({ name: 'one' }), makeDataset({ name: 'two' })]
  const imgapi = await startSdcImgapi({ images: [one] })
  const dsapi = await startSmartosImageServer({ images: [two] })
  const settings = {
    upstreams: [
      { name: 'imgapi', url: imgapi.url },
      { name: 'dsapi', type: 'dsapi', url: `${dsapi.url}/datasets` },
    ],
  }
  const before = await startMirror(settings)
  await before.settled()
  const listed = await (await fetch(`${before.url}/images`)).text()
  expect(JSON.parse(listed)).toHaveLength(2)
  const heardAt = (await statusOf(before)).upstreams.map(({ lastHeardAt }) => lastHeardAt)
  await before.close()
  await Promise.all([imgapi.close(), dsapi.close()])

  const after = await startMirror({ ...settings, data: before.dataDirectory })
  expect(await (await fetch(`${after.url}/images`)).text()).toBe(listed)
  expect((await statusOf(after)).upstreams.map(({ lastHeardAt }) => lastHeardAt)).toEqual(heardAt)
  // Known, but its file cannot be had now: 503, and the next one may have it.
  const file = await getJson(after, `/images/${uuidOf(one)}/file`)
  expect(file).toMatchObject({ status: 503, body: { code: 'RemoteSourceError' } })
})
