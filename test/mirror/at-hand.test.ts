import { get } from 'node:http'
import { expect, it } from 'vitest'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'
import { started } from '../upstream/upstream-under-test.js'

/*
 * The list and the manifests are answered on a short way where the mirror has them at hand (src/http/hot-path.ts). Whoever sends a
 * header that is not known there goes the long way: both must say the same, whatever the state of the mirror.
 */

interface Answer {
  readonly status: number | undefined
  readonly body: string
  readonly etag: string | undefined
}

function ask({ url }: { readonly url: string }, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get(url + path, { headers, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text
      })
      response.on('end', () => resolve({ status: response.statusCode, body, etag: response.headers.etag }))
    }).on('error', reject)
  })
}

const LONG_WAY = { 'X-Unknown': 'here' }

async function expectTheSame(mirror: RunningMirror, images: readonly ServedImage[]): Promise<(number | undefined)[]> {
  const statuses: (number | undefined)[] = []
  for (const path of ['/images', ...images.map((image) => `/images/${uuidOf(image)}`)]) {
    // In this order: what the long way finds out would be at hand for the short one.
    const [short, long] = [await ask(mirror, path), await ask(mirror, path, LONG_WAY)]
    expect(short, path).toEqual(long)
    expect(await ask(mirror, path), path).toEqual(long)
    statuses.push(long.status)
  }
  return statuses
}

/** A base, one upon it, one whose base nobody has, and one that no list shows. */
function aFewImages() {
  const base = makeImage({ name: 'base' })
  const leaf = makeImage({ name: 'leaf', origin: uuidOf(base) })
  const orphan = makeImage({ name: 'orphan', origin: uuidOf(makeImage()) })
  const retired = makeImage({ name: 'retired', state: 'disabled' })
  return { base, leaf, orphan, retired, all: [base, leaf, orphan, retired] }
}

it('says the same on both ways: listed, unlisted, unknown, and of an image whose base nobody has', async () => {
  const { all } = aFewImages()
  const server = await started(startSdcImgapi({ images: all }))
  const mirror = await startMirror({ upstreams: [{ name: 'u', url: server.url }] })
  await mirror.settled()
  expect(await expectTheSame(mirror, [...all, makeImage()])).toEqual([200, 200, 200, 200, 200, 404])
})

it('asks again for what no list shows, once its answer is as old as a list would be', async () => {
  const { retired, all } = aFewImages()
  const server = await started(startSdcImgapi({ images: all }))
  const mirror = await startMirror({ refresh: '200ms', upstreams: [{ name: 'u', url: server.url }] })
  await mirror.settled()
  expect((await ask(mirror, `/images/${uuidOf(retired)}`)).status).toBe(200)
  all.splice(all.indexOf(retired), 1)
  await until(async () => (await ask(mirror, `/images/${uuidOf(retired)}`)).status === 404)
})

it('says the same offline: of what is held, of what lacks its base, and of what was only heard of', async () => {
  const { base, leaf, all } = aFewImages()
  const server = await started(startSdcImgapi({ images: all }))
  const upstreams = [{ name: 'u', url: server.url }]
  const online = await startMirror({ upstreams })
  await online.settled()
  await ask(online, `/images/${uuidOf(leaf)}/file`)
  await until(async () => (await online.status()).imagesHeld === 1)
  await online.close()
  const offline = await startMirror({ data: online.dataDirectory, offline: true, upstreams })
  expect(await expectTheSame(offline, [base, leaf])).toEqual([200, 404, 404])
  await offline.close()

  const again = await startMirror({ data: online.dataDirectory, upstreams })
  await again.settled()
  await ask(again, `/images/${uuidOf(base)}/file`)
  await until(async () => (await again.status()).imagesHeld === 2)
  await again.close()
  const whole = await startMirror({ data: online.dataDirectory, offline: true, upstreams })
  expect(await expectTheSame(whole, [base, leaf])).toEqual([200, 200, 200])
})

it('says the same where two upstreams disagree, before and after a reload that withholds what is disputed', async () => {
  const { base, leaf, orphan, all } = aFewImages()
  const disputed = makeImage({ uuid: uuidOf(base) })
  const [one, two] = [
    await started(startSdcImgapi({ images: all })),
    await started(startSdcImgapi({ images: [disputed] })),
  ]
  const upstreams = [
    { name: 'one', url: one.url },
    { name: 'two', url: two.url },
  ]
  const mirror = await startMirror({ upstreams })
  await mirror.settled()
  expect(await expectTheSame(mirror, [base, leaf, orphan])).toEqual([200, 200, 200, 200])
  await mirror.reconfigure({ upstreams, conflicts: 'withhold' })
  expect(await expectTheSame(mirror, [base, leaf, orphan])).toEqual([200, 404, 404, 200])
})

it.each([true, false])('says the same on a mirror with channels of which one is the default: %s', async (isDefault) => {
  const images = [
    makeImage({ name: 'seen', channels: ['dev'] }),
    makeImage({ name: 'elsewhere', channels: ['release'] }),
  ]
  const server = await started(startSdcImgapi({ images, channels: ['dev', 'release'] }))
  const mirror = await startMirror({
    channels: [
      { name: 'dev', description: 'everything', ...(isDefault && { default: true }) },
      { name: 'release', description: 'for all' },
    ],
    upstreams: [{ name: 'server', url: server.url, channel: '*' }],
  })
  await mirror.settled()
  expect(await expectTheSame(mirror, images)).toEqual(isDefault ? [200, 200, 404] : [422, 422, 422])
  const [image] = images
  for (const version of ['~1', '~2', '*']) {
    const headers = { 'Accept-Version': version }
    const path = `/images/${uuidOf(image!)}`
    expect(await ask(mirror, path, headers)).toEqual(await ask(mirror, path, { ...headers, ...LONG_WAY }))
  }
})

it('waits for the first answer of an upstream on the short way too', async () => {
  const { all } = aFewImages()
  const server = await started(startSdcImgapi({ images: all }))
  const mirror = await startMirror({ upstreams: [{ name: 'u', url: server.url }] })
  expect(JSON.parse((await ask(mirror, '/images')).body)).toHaveLength(3)
})
