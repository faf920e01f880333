import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { makeImage, sha1, uuidOf } from '../support/made-up-images.js'
import { startPublishingMirror, TOKEN, tell } from '../support/publishing-mirror.js'
import { until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'
import { started } from '../upstream/upstream-under-test.js'

/** What imgadm has in the url of its source, and curl by -u. */
const BUILDER = ['-u', `builder:${TOKEN}`]

async function curl(url: string, ...args: string[]): Promise<{ status: number; bytes: Buffer; text: string }> {
  const { stdout } = await promisify(execFile)('curl', ['-s', '-w', '%{http_code}', url, ...args], {
    encoding: 'buffer',
  })
  const bytes = stdout.subarray(0, -3)
  return { status: Number(stdout.subarray(-3)), bytes, text: bytes.toString() }
}

interface Published {
  readonly uuid: string
  readonly bytes: Buffer
  readonly icon: Buffer
  readonly datasetFile: string
}

/** Published by the book, with an icon. */
async function publish(url: string, more: object): Promise<Published> {
  const [uuid, bytes] = [randomUUID(), randomBytes(50_000)]
  const manifest = { v: 2, uuid, name: `app-${uuid}`, version: '1.0.0', type: 'zone-dataset', os: 'smartos', ...more }
  const icon = Buffer.from(`not really a picture of ${uuid}`)
  for (const [method, path, body, headers] of [
    ['POST', '?action=import', manifest, {}],
    ['PUT', `/file?compression=none&sha1=${sha1(bytes)}`, bytes, {}],
    ['PUT', '/icon', icon, { 'content-type': 'image/png' }],
    ['POST', '?action=activate', undefined, {}],
  ] as const) {
    expect(await tell(url, method, `/images/${uuid}${path}`, body, headers)).toMatchObject({ status: 200 })
  }
  return { uuid, bytes, icon, datasetFile: await datasetFileOf(url, uuid) }
}

/** One that an upstream has, held by us, so that its chunks are known. */
async function pulled(url: string, image: ServedImage): Promise<Published> {
  const uuid = uuidOf(image)
  await curl(`${url}/images/${uuid}/file`, ...BUILDER)
  await until(async () => (await curl(`${url}/images/${uuid}/chunks`, ...BUILDER)).status === 200)
  return { uuid, bytes: image.files[0]!, icon: image.icon!.bytes, datasetFile: await datasetFileOf(url, uuid) }
}

async function datasetFileOf(url: string, uuid: string): Promise<string> {
  const { files } = JSON.parse((await curl(`${url}/datasets/${uuid}`, ...BUILDER)).text)
  return `/datasets/${uuid}/${files[0].path}`
}

/** Everything by which an image can be had, and what is there. */
function placesOf({ uuid, bytes, icon, datasetFile }: Published): [string, Buffer?][] {
  return [
    [`/images/${uuid}`],
    [`/images/${uuid}/file`, bytes],
    [`/images/${uuid}/icon`, icon],
    [`/images/${uuid}/chunks`],
    [`/datasets/${uuid}`],
    [`/datasets/${uuid}/`],
    [datasetFile, bytes],
  ]
}

const LISTS = ['/images', '/images?state=all', '/images?limit=10', '/datasets', '/datasets/', '/datasets/?search=app']

it('in private mode what is not public is there for users alone, by every way to it', async () => {
  const icon = { contentType: 'image/gif', bytes: Buffer.from('GIF89a') }
  const theirOpen = { ...makeImage({ icon: true }), icon }
  const theirClosed = { ...makeImage({ icon: true, public: false }), icon }
  const upstream = await started(startSdcImgapi({ images: [theirOpen, theirClosed] }))
  const upstreams = [{ name: 'upstream', url: upstream.url }]
  const mirror = await startPublishingMirror({ mode: 'private', upstreams })
  const { url } = mirror
  await mirror.settled()
  const open = await pulled(url, theirOpen)
  const shut = [await publish(url, { public: false }), await pulled(url, theirClosed)]
  for (const list of LISTS) {
    const [theirs, ours] = [await curl(url + list), await curl(url + list, ...BUILDER)]
    expect([theirs.status, ours.status], list).toEqual([200, 200])
    expect(theirs.text, list).toContain(open.uuid)
    expect(ours.text, list).toContain(open.uuid)
    const page = await curl(url + list, '-H', 'Accept: text/html')
    for (const { uuid } of shut) {
      expect(theirs.text + page.text, list).not.toContain(uuid)
      expect(ours.text, list).toContain(uuid)
    }
  }
  for (const [path, bytes] of placesOf(open)) {
    const theirs = await curl(url + path)
    expect(theirs.status, path).toBe(200)
    if (bytes) expect(theirs.bytes.equals(bytes), path).toBe(true)
  }
  for (const [path, bytes] of shut.flatMap(placesOf)) {
    const [theirs, ours] = [await curl(url + path), await curl(url + path, ...BUILDER)]
    expect([theirs.status, ours.status], path).toEqual([404, 200])
    if (bytes) expect(ours.bytes.equals(bytes), path).toBe(true)
  }
})

it('with "read: users" everything is for users alone, whatever the protocol; operators are asked for nothing', async () => {
  const { operatorUrl, url } = await startPublishingMirror({ read: 'users' })
  const image = await publish(url, {})
  const paths = ['/', '/ping', '/channels', ...LISTS, ...placesOf(image).map(([path]) => path)]
  for (const path of paths) {
    const [theirs, ours] = [await curl(url + path), await curl(url + path, ...BUILDER)]
    expect(theirs.status, path).toBe(401)
    expect(theirs.text, path).not.toContain(image.uuid)
    expect(ours.status, path).toBe(path === '/channels' ? 404 : 200)
  }
  for (const [path, bytes] of placesOf(image)) {
    if (bytes) expect((await curl(url + path, ...BUILDER)).bytes.equals(bytes), path).toBe(true)
  }

  // Who guesses is soon refused, and nobody else: not even from the same address.
  const statuses: number[] = []
  for (let place = 0; place < 22; place += 1) {
    statuses.push((await fetch(`${url}/ping`, { headers: { authorization: `Bearer ${place}` } })).status)
  }
  expect(statuses.slice(0, 20).every((status) => status === 401)).toBe(true)
  expect(statuses.at(-1)).toBe(429)
  expect((await fetch(`${url}/ping`, { headers: { authorization: `Bearer ${TOKEN}` } })).status).toBe(200)
  for (const path of ['/healthz', '/readyz', '/status', '/metrics']) {
    expect((await curl(operatorUrl + path, '-u', 'builder:wrong')).status, path).toBe(200)
  }
})
