import * as fs from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { download } from '../support/download.js'
import { sha1, uuidOf } from '../support/made-up-images.js'
import { layerBytes, type MadeUpDockerImage, servedLayers } from '../support/made-up-layers.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { startRangeImgapi } from '../support/upstreams/range-imgapi.js'
import type { ServedImage } from '../support/upstreams/serve.js'
import { startTrap } from '../support/upstreams/serve.js'
import { fileSha1, getJson } from './clients.js'
import { blobPath, flipBit, operatorStatus } from './keeping/damage.js'

interface Wire {
  readonly uuid: string
  readonly origin?: string
  readonly files: readonly { readonly sha1?: string; readonly size: number; readonly compression: string }[]
  readonly tags: Record<string, unknown>
}

/** A mirror of an upstream that has pulled no layer yet, so that it knows no sha1 either. */
async function makeRig(
  layers: readonly Buffer[],
  more: MadeUpDockerImage = {},
  settings: Record<string, unknown> = {},
) {
  const images = servedLayers(layers, more)
  const upstream = await startRangeImgapi(images)
  onTestFinished(() => upstream.close())
  const configured = {
    refresh: '100ms',
    scrub: { every: 'never' },
    upstreams: [{ name: 'u', url: upstream.url }],
    ...settings,
  }
  const mirror = await startMirror(configured)
  await mirror.settled()
  return { images, upstream, mirror, configured, top: uuidOf(images.at(-1)!) }
}

async function wireOf(mirror: { url: string }, uuid: string): Promise<Wire & { readonly etag: string | null }> {
  const response = await fetch(`${mirror.url}/images/${uuid}`)
  expect(response.status).toBe(200)
  return { ...((await response.json()) as Wire), etag: response.headers.get('etag') }
}

async function listOf(mirror: { url: string }, query = ''): Promise<Wire[]> {
  return (await (await fetch(`${mirror.url}/images${query}`)).json()) as Wire[]
}

async function pull(mirror: RunningMirror, images: readonly ServedImage[]): Promise<void> {
  for (const image of images) {
    expect(await fileSha1(mirror, `/images/${uuidOf(image)}/file`)).toBe(sha1(image.files[0]!))
  }
  await until(async () => (await operatorStatus(mirror)).imagesHeld >= images.length)
}

describe('a Docker layer that nobody has pulled', () => {
  it('is listed and shown with all that imgadm needs, and without a sha1, which it does not', async () => {
    const layers = [layerBytes(), layerBytes()]
    const { images, mirror, top } = await makeRig(layers)
    expect((await listOf(mirror)).map(({ uuid }) => uuid).sort()).toEqual(images.map(uuidOf).sort())
    const { etag, ...shown } = await wireOf(mirror, top)
    expect(shown).toEqual({ ...images[1]!.manifest, files: [{ size: layers[1]!.length, compression: 'gzip' }] })
    expect(etag).toBeTruthy()
    expect((await operatorStatus(mirror)).imagesHeld).toBe(0)
  })

  it('is verified against its digest all the same: wrong bytes never come to an end', async () => {
    const layers = [layerBytes()]
    const { images, mirror, top } = await makeRig(layers)
    const wrong = Buffer.from(layers[0]!)
    wrong[100]! ^= 1
    images[0]!.files[0] = wrong
    const got = await download(mirror.url, top)
    expect(got.kind).not.toBe('complete')
    expect((await operatorStatus(mirror)).imagesHeld).toBe(0)
    images[0]!.files[0] = layers[0]!
    await until(async () => (await download(mirror.url, top)).bytes.equals(layers[0]!))
  })
})

describe('a Docker layer that is held', () => {
  it('shows the sha1 we measured and the compression its bytes have, in lists too, and its Etag follows', async () => {
    const layers = [layerBytes(), Buffer.from('BZh91AY&SY and so on')]
    const { images, mirror, top } = await makeRig(layers)
    const before = await wireOf(mirror, top)
    expect(before.files[0]).toEqual({ size: layers[1]!.length, compression: 'gzip' })
    await pull(mirror, images)
    const shown = await wireOf(mirror, top)
    expect(shown.files).toEqual([{ sha1: sha1(layers[1]!), size: layers[1]!.length, compression: 'bzip2' }])
    expect(shown.etag).not.toBe(before.etag)
    const listed = await listOf(mirror)
    expect(listed.map(({ files }) => files[0]!.sha1).sort()).toEqual(layers.map(sha1).sort())
    expect({ ...shown, etag: undefined, files: before.files }).toEqual({ ...before, etag: undefined })
  })

  it('shows the same after a restart, though every upstream is dead, and offline', async () => {
    const layers = [layerBytes(), layerBytes()]
    const { images, mirror, configured, top, upstream } = await makeRig(layers)
    await pull(mirror, images)
    const shown = await wireOf(mirror, top)
    expect(shown.files[0]!.sha1).toBe(sha1(layers.at(-1)!))
    await mirror.close()
    await upstream.close()
    const again = await startMirror({ ...configured, data: mirror.dataDirectory })
    expect(await wireOf(again, top)).toEqual(shown)
    await again.close()
    const trap = await startTrap()
    onTestFinished(() => trap.close())
    const upstreams = [{ name: 'u', url: trap.url }]
    const offline = await startMirror({ ...configured, upstreams, offline: true, data: mirror.dataDirectory })
    expect(await wireOf(offline, top)).toEqual(shown)
    expect((await listOf(offline)).length).toBe(2)
    for (const image of images) {
      expect(await fileSha1(offline, `/images/${uuidOf(image)}/file`)).toBe(sha1(image.files[0]!))
    }
    expect(trap.requests).toEqual([])
  })

  it('follows its tags wherever they move, and keeps its sha1', async () => {
    const layers = [layerBytes()]
    const { images, mirror, configured, top } = await makeRig(layers, { tags: ['latest'] })
    await pull(mirror, images)
    const tagsOf = async (from: { url: string }) =>
      Object.keys((await wireOf(from, top)).tags).filter((key) => key.startsWith('docker:tag:'))
    expect(await tagsOf(mirror)).toEqual(['docker:tag:latest'])

    images.splice(0, 1, ...servedLayers(layers, { tags: ['latest', '1.37'] }))
    await until(async () => (await tagsOf(mirror)).length === 2)
    expect((await wireOf(mirror, top)).files[0]!.sha1).toBe(sha1(layers[0]!))

    images.splice(0, 1, ...servedLayers(layers, { tags: ['1.37'] }))
    await until(async () => (await tagsOf(mirror)).length === 1)
    const shown = await wireOf(mirror, top)
    expect(shown.tags['docker:tag:1.37']).toBe(true)
    expect(shown.files[0]!.sha1).toBe(sha1(layers[0]!))
    await mirror.close()
    const again = await startMirror({ ...configured, data: mirror.dataDirectory })
    expect(await wireOf(again, top)).toEqual(shown)
  })

  it('follows claims that know its sha1 as well as those that know only its digest, without a conflict or an alarm', async () => {
    const layers = [layerBytes()]
    const { images, mirror, top } = await makeRig(layers)
    await pull(mirror, images)
    const { manifest } = images[0]!
    // The upstream has pulled it now, and shows what we show.
    const files = [{ sha1: sha1(layers[0]!), size: layers[0]!.length, compression: 'gzip' }]
    images[0]!.manifest = { ...manifest, files, description: 'pulled' }
    await until(async () => (await getJson(mirror, `/images/${top}`)).body.description === 'pulled')
    images[0]!.manifest = { ...manifest, description: 'let go of' }
    await until(async () => (await getJson(mirror, `/images/${top}`)).body.description === 'let go of')
    expect((await wireOf(mirror, top)).files).toEqual(files)
    expect((await mirror.status()).conflicts).toEqual([])
    expect(mirror.log.lines.filter(({ message }) => /another file|disagree/.test(message))).toEqual([])
  })

  it('stays itself when an upstream claims other bytes for it', async () => {
    const layers = [layerBytes()]
    const { images, mirror, top } = await makeRig(layers)
    await pull(mirror, images)
    const shown = await wireOf(mirror, top)
    const { manifest } = images[0]!
    const tags = { ...(manifest.tags as object), 'docker:id': `sha256:${'f'.repeat(64)}` }
    images[0]!.manifest = { ...manifest, tags }
    await until(async () => (await mirror.status()).conflicts.length === 1)
    expect(await wireOf(mirror, top)).toEqual(shown)
  })

  it('knows its sha1 at the first question when its bytes came for another image', async () => {
    const [base, shared] = [layerBytes(), layerBytes()]
    const { images, mirror } = await makeRig([base, shared])
    const others = servedLayers([shared])
    images.push(...others)
    await pull(mirror, images.slice(0, 2))
    await until(async () => (await fetch(`${mirror.url}/images/${uuidOf(others[0]!)}`)).status === 200)
    expect((await wireOf(mirror, uuidOf(others[0]!))).files[0]!.sha1).toBe(sha1(shared))
    expect((await operatorStatus(mirror)).imagesHeld).toBe(3)
  })

  it('is offered no more, and said why, when its bytes are zstd, whatever its registry called them', async () => {
    const layers = [Buffer.concat([Buffer.from('28b52ffd', 'hex'), layerBytes()])]
    const { mirror, top } = await makeRig(layers)
    await download(mirror.url, top)
    await mirror.log.line(({ message }) => /is compressed with zstd, which imgadm cannot unpack/.test(message))
    const { body, status } = await getJson(mirror, `/images/${top}`)
    expect([status, body.message]).toEqual([404, expect.stringContaining('media type says otherwise')])
    expect((await getJson(mirror, '/images')).body).toEqual([])
  })

  it('is mended like any other when a bit of it goes bad, and shows the same before and after', async () => {
    const layers = [layerBytes(), layerBytes(3_000_000)]
    const { images, mirror, top } = await makeRig(layers, {}, { verifyOnRead: 'always' })
    await pull(mirror, images)
    const shown = await wireOf(mirror, top)
    await flipBit(blobPath(mirror.dataDirectory, layers[1]!), 2_000_000)
    expect((await download(mirror.url, top)).kind).not.toBe('complete')
    await mirror.log.line(({ message }) => message.endsWith('is good again'))
    expect(await wireOf(mirror, top)).toEqual(shown)
    expect((await download(mirror.url, top)).bytes.equals(layers[1]!)).toBe(true)
  })

  it('shows the same while its file is lost, and gets it back from whoever has it', async () => {
    const layers = [layerBytes()]
    const { images, mirror, configured, top, upstream } = await makeRig(layers)
    await pull(mirror, images)
    const shown = await wireOf(mirror, top)
    expect(shown.files[0]!.sha1).toBe(sha1(layers.at(-1)!))
    await mirror.close()
    await fs.rm(blobPath(mirror.dataDirectory, layers[0]!))
    upstream.requests.length = 0
    const again = await startMirror({ ...configured, data: mirror.dataDirectory })
    expect(await wireOf(again, top)).toEqual(shown)
    expect(await fileSha1(again, `/images/${top}/file`)).toBe(sha1(layers[0]!))
    expect(upstream.requests.some(({ url }) => url === `/images/${top}/file`)).toBe(true)
  })

  it('makes room from the top down: no layer goes before those that build on it', async () => {
    const layers = [layerBytes(400_000), layerBytes(400_000), layerBytes(400_000)]
    const other = layerBytes(400_000)
    const { images, mirror } = await makeRig(layers, {}, { quota: '1400KB' })
    await pull(mirror, images)
    const more = servedLayers([other], { localName: 'other' })
    images.push(...more)
    await until(async () => (await fetch(`${mirror.url}/images/${uuidOf(more[0]!)}`)).status === 200)
    expect(await fileSha1(mirror, `/images/${uuidOf(more[0]!)}/file`)).toBe(sha1(other))
    await mirror.log.line(({ message }) => /let go/.test(message))
    const shown = await Promise.all(images.slice(0, 3).map((image) => wireOf(mirror, uuidOf(image))))
    expect(shown.map(({ files }) => files[0]!.sha1)).toEqual([sha1(layers[0]!), sha1(layers[1]!), undefined])
    expect(await fileSha1(mirror, `/images/${uuidOf(images[2]!)}/file`)).toBe(sha1(layers[2]!))
  })
})

describe('a list of Docker images', () => {
  it('finds all layers of a repository, or only the top of a tag', async () => {
    const layers = [layerBytes(), layerBytes(), layerBytes()]
    const { images, mirror, top } = await makeRig(layers, { tags: ['latest', '1.37'] })
    const other = servedLayers([layers[0]!, layerBytes()], { localName: 'quay.io/foo/bar', tags: ['v1'] })
    images.push(other[1]!)
    await until(async () => (await listOf(mirror)).length === 4)
    const count = async (query: string) => (await listOf(mirror, query)).length
    expect(await count('?type=docker')).toBe(4)
    expect(await count('?type=!docker')).toBe(0)
    expect(await count('?name=docker-layer')).toBe(4)
    expect(await count('?name=busybox')).toBe(0)
    expect(await count('?tag.docker:repo=busybox')).toBe(3)
    expect(await count('?tag.docker:repo=quay.io/foo/bar')).toBe(1)
    expect(await count('?tag.docker%3Arepo=quay.io%2Ffoo%2Fbar')).toBe(1)
    const tops = await listOf(mirror, '?tag.docker:repo=busybox&tag.docker:tag:1.37=true')
    expect(tops.map(({ uuid }) => uuid)).toEqual([top])
    const byId = await listOf(mirror, `?tag.docker:id=${tops[0]!.tags['docker:id']}`)
    expect(byId.map(({ uuid }) => uuid)).toEqual([top])
  })
})

describe('a mirror of a mirror', () => {
  it('takes layers that neither has pulled, and both know the sha1 once one has', async () => {
    const layers = [layerBytes(), layerBytes()]
    const { images, mirror: first, top } = await makeRig(layers)
    const second = await startMirror({ refresh: '100ms', upstreams: [{ name: 'first', url: first.url }] })
    await second.settled()
    expect((await wireOf(second, top)).files[0]!.sha1).toBeUndefined()
    await pull(second, images)
    expect((await wireOf(second, top)).files[0]!.sha1).toBe(sha1(layers[1]!))
    await until(async () => (await wireOf(first, top)).files[0]!.sha1 === sha1(layers[1]!))
  })
})
