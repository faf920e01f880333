import { describe, expect, it } from 'vitest'
import { makeImage, uuidOf } from '../support/made-up-images.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'
import { vectors } from '../support/vectors.js'
import { started } from '../upstream/upstream-under-test.js'
import { fileSha1, statusOf } from './clients.js'

const CHANNELS = [
  { name: 'dev', description: 'everything', default: true },
  { name: 'staging', description: 'to be tried' },
  { name: 'release', description: 'for all' },
]

const V2 = { 'Accept-Version': '~2' }

async function ask({ url }: { readonly url: string }, path: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${url}${path}`, { headers })
  const text = await response.text()
  return { status: response.status, etag: response.headers.get('etag')?.replaceAll('"', ''), body: JSON.parse(text) }
}

async function namesIn(mirror: { readonly url: string }, query = '', headers: Record<string, string> = {}) {
  const { body } = await ask(mirror, `/images${query}`, headers)
  return (body as { name: string }[]).map(({ name }) => name).sort()
}

function imageIn(name: string, ...channels: string[]): ServedImage {
  return makeImage({ name, channels })
}

/** A server with images in its channels; the first of those is its default. */
function serverWith(...images: ServedImage[]) {
  return started(startSdcImgapi({ images, channels: ['dev', 'staging', 'release'] }))
}

describe('a mirror with channels of a server with channels', () => {
  it('shows each image where the server has it, if it mirrors them all', async () => {
    const server = await serverWith(
      imageIn('one', 'dev'),
      imageIn('two', 'dev', 'staging'),
      imageIn('three', 'release'),
    )
    const mirror = await startMirror({
      channels: CHANNELS,
      upstreams: [{ name: 'server', url: server.url, channel: '*' }],
    })
    expect(await namesIn(mirror)).toEqual(['one', 'two'])
    expect(await namesIn(mirror, '?channel=')).toEqual(['one', 'two'])
    expect(await namesIn(mirror, '?channel=staging')).toEqual(['two'])
    expect(await namesIn(mirror, '?channel=release')).toEqual(['three'])
    expect(await namesIn(mirror, '?channel=*')).toEqual(['one', 'three', 'two'])
    expect((await ask(mirror, '/channels')).body).toEqual(CHANNELS)
  })

  it('tells channels last, to those who ask in version 2, with another tag', async () => {
    const image = imageIn('two', 'staging', 'dev')
    const server = await serverWith(image)
    const mirror = await startMirror({
      channels: CHANNELS,
      upstreams: [{ name: 'server', url: server.url, channel: '*' }],
    })
    await mirror.settled()
    const path = `/images/${uuidOf(image)}`
    const [first, second] = [await ask(mirror, path), await ask(mirror, path, V2)]
    expect(first.body).not.toHaveProperty('channels')
    expect(Object.entries(second.body).at(-1)).toEqual(['channels', ['staging', 'dev']])
    expect(second.etag).not.toBe(first.etag)
    for (const version of ['*', '2.0.0', '>=1', '^2']) {
      expect((await ask(mirror, path, { 'Accept-Version': version })).etag, version).toBe(second.etag)
      expect((await ask(mirror, path, { 'X-Api-Version': version })).etag, version).toBe(second.etag)
    }
    expect((await ask(mirror, path, { 'Accept-Version': '1.x' })).etag).toBe(first.etag)
    const unchanged = await fetch(`${mirror.url}${path}`, { headers: { ...V2, 'If-None-Match': first.etag! } })
    expect(unchanged.status).toBe(200)
    await unchanged.text()
    expect((await ask(mirror, '/images')).body).toEqual([first.body])
    expect((await ask(mirror, '/images', V2)).body).toEqual([second.body])
    expect((await ask(mirror, '/images')).body).toEqual([first.body])
  })

  it('says of an image outside of the channel that it is not found, at every endpoint', async () => {
    const image = imageIn('three', 'release')
    const server = await serverWith(image)
    const mirror = await startMirror({
      channels: CHANNELS,
      upstreams: [{ name: 'server', url: server.url, channel: '*' }],
    })
    await mirror.settled()
    for (const part of ['', '/file', '/icon', '/chunks']) {
      const { status, body } = await ask(mirror, `/images/${uuidOf(image)}${part}`)
      expect([part, status, body]).toEqual([part, 404, { code: 'ResourceNotFound', message: 'image not found' }])
    }
    const sha1 = (image.manifest.files as { sha1: string }[])[0]!.sha1
    expect(await fileSha1(mirror, `/images/${uuidOf(image)}/file?channel=release`)).toBe(sha1)
    expect(await fileSha1(mirror, `/images/${uuidOf(image)}/file?channel=*`)).toBe(sha1)
    // Held now, and still not for everybody.
    expect((await ask(mirror, `/images/${uuidOf(image)}/file`)).status).toBe(404)
  })

  it('refuses channels it does not have, before it looks at anything else', async () => {
    const mirror = await startMirror({ channels: CHANNELS })
    for (const path of ['/images?channel=nope&limit=abc', `/images/${uuidOf(makeImage())}?channel=nope&account=x`]) {
      const { status, body } = await ask(mirror, path)
      expect(status).toBe(422)
      expect(body).toEqual({
        code: 'ValidationFailed',
        message: 'unknown channel: nope',
        errors: [{ field: 'channel', code: 'Invalid' }],
      })
    }
    expect((await ask(mirror, '/images?channel=dev&channel=release')).body.message).toBe('unknown channel: dev,release')
  })

  it('wants a channel named where none is the default', async () => {
    const mirror = await startMirror({ channels: [{ name: 'release' }] })
    const { status, body } = await ask(mirror, '/images')
    expect(status).toBe(422)
    expect(body).toEqual({
      code: 'ValidationFailed',
      message: 'channel not specified and the server has no default channel',
      errors: [{ field: 'channel', code: 'MissingParameter' }],
    })
    expect((await ask(mirror, '/images?channel=*')).status).toBe(200)
  })

  it('takes a marker that lies in another channel', async () => {
    const marker = makeImage({ name: 'marker', channels: ['release'], published_at: '2020-01-01T00:00:00.000Z' })
    const before = makeImage({ name: 'before', channels: ['dev'], published_at: '2019-01-01T00:00:00.000Z' })
    const after = makeImage({ name: 'after', channels: ['dev'], published_at: '2021-01-01T00:00:00.000Z' })
    const server = await serverWith(marker, before, after)
    const mirror = await startMirror({
      channels: CHANNELS,
      upstreams: [{ name: 'server', url: server.url, channel: '*' }],
    })
    expect(await namesIn(mirror, `?marker=${uuidOf(marker)}`)).toEqual(['after'])
  })
})

it('fills the channel of the same name, or those it is told to, from one server that is an upstream twice', async () => {
  const image = imageIn('both', 'dev', 'release')
  const server = await serverWith(image, imageIn('raw', 'dev'), imageIn('ripe', 'release'))
  const mirror = await startMirror({
    channels: CHANNELS,
    upstreams: [
      { name: 'released', url: server.url, channel: 'release' },
      { name: 'newest', url: server.url, channel: 'dev', intoChannels: ['staging'] },
    ],
  })
  await mirror.settled()
  expect(await namesIn(mirror)).toEqual([])
  expect(await namesIn(mirror, '?channel=release')).toEqual(['both', 'ripe'])
  expect(await namesIn(mirror, '?channel=staging')).toEqual(['both', 'raw'])
  const { body } = await ask(mirror, `/images/${uuidOf(image)}?channel=*`, V2)
  expect(body.channels).toEqual(['release', 'staging'])
})

it('puts servers without channels into the default channel', async () => {
  const plain = await started(startSdcImgapi({ images: [makeImage({ name: 'plain' })] }))
  const server = await serverWith(imageIn('new', 'release'))
  const mirror = await startMirror({
    channels: CHANNELS,
    upstreams: [
      { name: 'plain', url: plain.url },
      { name: 'server', url: server.url, channel: 'release' },
    ],
  })
  await mirror.settled()
  expect(await namesIn(mirror)).toEqual(['plain'])
  expect(await namesIn(mirror, '?channel=release')).toEqual(['new'])
})

it('asks again for an image that was in other channels only, since it may have been promoted', async () => {
  const image = imageIn('promoted', 'dev')
  const server = await serverWith(image)
  const mirror = await startMirror({
    channels: CHANNELS,
    missTtl: '100ms',
    upstreams: [
      { name: 'newest', url: server.url, channel: 'dev' },
      { name: 'released', url: server.url, channel: 'release' },
    ],
  })
  await mirror.settled()
  const path = `/images/${uuidOf(image)}?channel=release`
  expect((await ask(mirror, path)).status).toBe(404)
  const asked = server.requests.length
  expect((await ask(mirror, path)).status, 'and remembers the "no" for a while').toBe(404)
  expect(server.requests.length).toBe(asked)
  ;(image.manifest.channels as string[]).push('release')
  await until(async () => (await ask(mirror, path)).status === 200)
  expect(await namesIn(mirror, '?channel=release'), 'listed, as it is listed in dev').toEqual(['promoted'])
})

it('hands channels on to a mirror of it, and remembers them offline', async () => {
  const ripe = imageIn('ripe', 'dev', 'release')
  const server = await serverWith(ripe, imageIn('raw', 'dev'))
  const first = await startMirror({
    channels: CHANNELS,
    upstreams: [{ name: 'server', url: server.url, channel: '*' }],
  })
  await first.settled()
  const settings = { channels: CHANNELS, upstreams: [{ name: 'first', url: first.url, channel: '*' }] }
  const second = await startMirror(settings)
  await second.settled()
  expect(await namesIn(second, '?channel=release')).toEqual(['ripe'])
  const path = `/images/${uuidOf(ripe)}?channel=release`
  const [one, other] = [await ask(first, path, V2), await ask(second, path, V2)]
  expect(other.etag).toBe(one.etag)
  expect(other.body).toEqual({ ...ripe.manifest, channels: ['dev', 'release'] })
  await fileSha1(second, `/images/${uuidOf(ripe)}/file?channel=release`)
  await until(async () => (await statusOf(second)).imagesHeld === 1)
  await second.close()

  const offline = await startMirror({ ...settings, offline: true, data: second.dataDirectory })
  expect(await namesIn(offline, '?channel=release')).toEqual(['ripe'])
  expect(await namesIn(offline, '?channel=staging')).toEqual([])
  expect((await ask(offline, path, V2)).etag).toBe(one.etag)
  await offline.close()

  const without = await startMirror({ offline: true, data: second.dataDirectory })
  expect(await namesIn(without, '?channel=whatever')).toEqual(['ripe'])
  expect((await ask(without, `/images/${uuidOf(ripe)}`, V2)).body).not.toHaveProperty('channels')
  expect((await ask(without, '/channels')).status).toBe(404)
})

interface Step {
  readonly server: string
  readonly request: string
  readonly requestHeaders?: Record<string, string>
  readonly status: number
  readonly responseHeaders?: { readonly etag?: string }
  readonly body?: unknown
}

it('answers what a reader of sdc-imgapi with channels was answered', async () => {
  const steps = vectors<{ steps: Step[] }>('imgapiWrites').steps.filter(({ server }) => server.includes('channels dev'))
  const images: ServedImage[] = []
  const server = await started(startSdcImgapi({ images, channels: ['dev', 'staging', 'release'] }))
  const told = (manifest: unknown) => {
    const { channels } = manifest as { channels?: string[] }
    if (channels) images.splice(0, 1, { manifest: manifest as Record<string, unknown>, files: [Buffer.from('12345')] })
  }
  let compared = 0
  for (const { request, requestHeaders, status, responseHeaders, body } of steps) {
    const [method, path] = request.split(' ')
    if (status === 204 && path!.includes('force_all_channels')) images.length = 0
    for (const manifest of Array.isArray(body) ? body : [body]) if (manifest) told(manifest)
    if (method !== 'GET') continue
    const mirror = await startMirror({
      channels: CHANNELS,
      upstreams: [{ name: 'server', url: server.url, channel: '*' }],
    })
    await mirror.settled()
    const answer = await ask(mirror, path!, requestHeaders)
    expect([request, answer.status, answer.body]).toEqual([request, status, body])
    if (responseHeaders?.etag) expect(answer.etag).toBe(responseHeaders.etag)
    compared += 1
    await mirror.close()
  }
  expect(compared).toBe(7)
})
