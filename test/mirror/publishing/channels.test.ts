import { describe, expect, it, onTestFinished } from 'vitest'
import { makeClientApp } from '../../../src/http/client-app.js'
import { listen } from '../../../src/http/listener.js'
import type { Uuid } from '../../../src/images/uuid.js'
import type { Viewer } from '../../../src/images/viewer.js'
import { Channels } from '../../../src/mirror/channels.js'
import { vectors } from '../../support/vectors.js'
import { by, makePublishingRig, manifestOf } from './publishing-rig.js'

const CHANNELS = new Channels([
  { name: 'dev', description: '', isDefault: true },
  { name: 'staging', description: '', isDefault: false },
  { name: 'release', description: '', isDefault: false },
])

const [BASE, LEAF] = ['bbbbbbbb-0000-4000-8000-000000000001', 'bbbbbbbb-0000-4000-8000-000000000002'] as [Uuid, Uuid]

interface Step {
  readonly server: string
  readonly request: string
  readonly requestHeaders?: Record<string, string>
  readonly requestBody?: unknown
  readonly status: number
  readonly responseHeaders?: { readonly etag?: string }
  readonly body?: Record<string, unknown>
}

it('answers as sdc-imgapi with channels did, step by step', async () => {
  const { mirror, log } = await makePublishingRig({
    channels: CHANNELS,
    publishing: { mode: 'private', sources: undefined },
  })
  // As with authType none: nobody is known, and everything is for everybody.
  const admit = async ({ state }: { state: { viewer: Viewer } }) => {
    state.viewer = { isKnown: false, seesPrivate: true }
    return { name: 'builder' }
  }
  const authenticator = { user: admit, writer: admit, reader: admit, fileReader: admit }
  const writing = { publishing: mirror.publishing, authenticator }
  const app = makeClientApp({ mirror, authenticator, writing, log, version: '1.2.3', serverName: 'testhost' } as never)
  const { url, close } = await listen('127.0.0.1:0', app.callback())
  onTestFinished(() => close(0))

  const steps = vectors<{ steps: Step[] }>('imgapiWrites').steps.filter(({ server }) => server.includes('channels dev'))
  expect(steps.length).toBeGreaterThan(20)
  for (const { request, requestHeaders, requestBody, status, responseHeaders, body } of steps) {
    const [method, path] = request.split(' ')
    const isText = typeof requestBody === 'string'
    const answer = await fetch(`${url}${path}`, {
      method: method!,
      headers: {
        'Accept-Encoding': 'identity',
        ...(requestBody !== undefined && !isText && { 'Content-Type': 'application/json' }),
        ...requestHeaders,
      },
      ...(requestBody !== undefined && { body: isText ? requestBody : JSON.stringify(requestBody) }),
    })
    const text = await answer.text()
    const told = text === '' ? undefined : JSON.parse(text)
    // The server picks the uuid of a new image, and the date of one that is activated without.
    const isCreated = request.startsWith('POST /images?')
    const expected = isCreated ? { ...body, uuid: told.uuid } : body
    expect([request, answer.status, told]).toEqual([request, status, expected])
    if (expected && !Array.isArray(expected)) expect(Object.keys(told), request).toEqual(Object.keys(expected))
    const etag = isCreated ? undefined : responseHeaders?.etag
    if (etag && answer.status === 200) expect(answer.headers.get('etag'), request).toBe(`"${etag}"`)
  }
})

describe('an image of our own', () => {
  it('is published into the channel that is named, and stays there over a restart', async () => {
    const rig = await makePublishingRig({ channels: CHANNELS })
    const staged = { ...by, channel: 'staging' }
    await rig.publishing.import(BASE, manifestOf(BASE), staged)
    await rig.publishing.addFile(BASE, rig.upload(Buffer.from('bytes')), staged)
    expect((await rig.publishing.activate(BASE, staged)).channels).toEqual(['staging'])
    await rig.reopen()
    await expect(rig.get(BASE)).rejects.toThrow('image not found')
    expect((await rig.mirror.getImage(BASE, new AbortController().signal, 'staging')).channels).toEqual(['staging'])
  })

  it('cannot be changed through a channel it is not in', async () => {
    const rig = await makePublishingRig({ channels: CHANNELS })
    await rig.publish(BASE, Buffer.from('bytes'))
    const elsewhere = { ...by, channel: 'release' }
    for (const change of [
      () => rig.publishing.disable(BASE, elsewhere),
      () => rig.publishing.update(BASE, { name: 'x' }, elsewhere),
      () => rig.publishing.addToChannel(BASE, { channel: 'staging' }, elsewhere),
      () => rig.publishing.delete(BASE, { ...elsewhere, forceAllChannels: true }),
    ]) {
      await expect(change()).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN', message: 'image not found' })
    }
    await expect(rig.publishing.disable(BASE, { ...by, channel: '*' })).rejects.toThrow('unknown channel: *')
    expect((await rig.get(BASE)).state).toBe('active')
  })

  it('leaves one channel and stays in the others, until the last one', async () => {
    const rig = await makePublishingRig({ channels: CHANNELS })
    await rig.publish(BASE, Buffer.from('bytes'))
    await rig.publishing.addToChannel(BASE, { channel: 'release' }, by)
    await rig.publishing.delete(BASE, { ...by, forceAllChannels: false })
    await expect(rig.get(BASE)).rejects.toThrow('image not found')
    expect(rig.blobs()).toHaveLength(1)
    await rig.publishing.delete(BASE, { ...by, channel: 'release', forceAllChannels: false })
    expect(rig.blobs()).toHaveLength(0)
  })

  it('may leave a channel that no image builds on it in, but not the last while any does', async () => {
    const rig = await makePublishingRig({ channels: CHANNELS })
    await rig.publish(BASE, Buffer.from('base'))
    await rig.publishing.addToChannel(BASE, { channel: 'release' }, by)
    await rig.publish(LEAF, Buffer.from('leaf'), { origin: BASE })
    const inRelease = { ...by, channel: 'release' }
    await expect(rig.publishing.delete(BASE, { ...by, forceAllChannels: false })).rejects.toThrow('dependent')
    await expect(rig.publishing.delete(BASE, { ...inRelease, forceAllChannels: true })).rejects.toThrow('dependent')
    await rig.publishing.delete(BASE, { ...inRelease, forceAllChannels: false })
    expect((await rig.get(BASE)).channels).toEqual(['dev'])
  })

  it('is not moved into channels that there are not, nor into none', async () => {
    const rig = await makePublishingRig({ channels: CHANNELS })
    await rig.publish(BASE, Buffer.from('bytes'))
    await expect(rig.publishing.update(BASE, { channels: ['nope'] }, by)).rejects.toThrow('unknown channel: nope')
    await expect(rig.publishing.update(BASE, { channels: [] }, by)).rejects.toMatchObject({ code: 'MANIFEST_INVALID' })
    await expect(rig.publishing.update(BASE, { channels: null }, by)).rejects.toMatchObject({
      code: 'MANIFEST_INVALID',
    })
    expect((await rig.publishing.update(BASE, { channels: ['release', 'dev'] }, by)).channels).toEqual([
      'release',
      'dev',
    ])
  })

  it('is seen, and can be changed, when channels come or go with the configuration', async () => {
    const more: { channels?: Channels } = {}
    const rig = await makePublishingRig(more)
    await rig.publish(BASE, Buffer.from('bytes'))
    expect(await rig.get(BASE)).not.toHaveProperty('channels')
    more.channels = CHANNELS
    const later = await makePublishingRig({ ...more, store: rig.store })
    expect((await later.get(BASE)).channels).toEqual(['dev'])
    await later.publishing.update(BASE, { name: 'renamed', channels: ['release'] }, by)
    const last = await makePublishingRig({ store: rig.store })
    expect((await last.publishing.update(BASE, { name: 'again' }, by)).name).toBe('again')
    const back = await makePublishingRig({ ...more, store: rig.store })
    expect((await back.mirror.getImage(BASE, new AbortController().signal, '*')).channels).toEqual(['release'])
  })
})
