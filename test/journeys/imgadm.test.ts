import { randomBytes } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { request } from 'undici'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { JsonObject } from '../../src/parts/json-object.js'
import { IMGADM_HEADERS } from '../support/imgadm-headers.js'
import { makeDataset, makeImage, sha1, uuidOf } from '../support/made-up-images.js'
import { layerBytes, servedLayers } from '../support/made-up-layers.js'
import { startMirror, until } from '../support/running-mirror.js'
import { startDsapid } from '../support/upstreams/dsapid.js'
import { startRangeImgapi } from '../support/upstreams/range-imgapi.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import type { TestServer } from '../support/upstreams/serve.js'
import { startSmartosImageServer } from '../support/upstreams/smartos-image-server.js'

async function imgadmGet(url: string, path: string) {
  const response = await request(`${url}${path}`, { headers: IMGADM_HEADERS })
  const bytes = Buffer.from(await response.body.arrayBuffer())
  const { statusCode: status, headers } = response
  return { status, headers, bytes, json: () => JSON.parse(bytes.toString()) }
}

/** What imgadm does with a source: looks for the image, walks its origins, and downloads all of them, checking each. */
async function imgadmImport(url: string, uuid: string): Promise<Buffer[]> {
  const chain = []
  for (let next: string | undefined = uuid; next; ) {
    const { status, json } = await imgadmGet(url, `/images/${next}`)
    expect(status).toBe(200)
    const manifest = json()
    expect(manifest.v).toBe(2)
    if (chain.length === 0) expect(manifest.state).toBe('active')
    chain.push(manifest)
    next = manifest.origin
  }
  return await Promise.all(
    chain.map(async (manifest) => {
      const [file] = manifest.files
      const { status, headers, bytes } = await imgadmGet(url, `/images/${manifest.uuid}/file`)
      expect(status).toBe(200)
      expect(typeof file.size).toBe('number')
      expect(['gzip', 'bzip2', 'xz', 'none']).toContain(file.compression)
      expect(headers['content-length']).toBe(String(file.size))
      expect(headers['transfer-encoding']).toBeUndefined()
      expect(headers['content-encoding']).toBeUndefined()
      // Of a Docker layer that nobody has pulled before it is not told; imgadm then goes by length and decompressor.
      if (manifest.type !== 'docker' || file.sha1) expect(sha1(bytes)).toBe(file.sha1)
      else gunzipSync(bytes)
      return bytes
    }),
  )
}

function closing<Server extends TestServer>(server: Server): Server {
  onTestFinished(() => server.close())
  return server
}

describe('imgadm with the mirror as its only source', () => {
  it('adds the source: GET /ping is 200 with a true imgapi', async () => {
    const mirror = await startMirror()
    const { status, headers, json } = await imgadmGet(mirror.url, '/ping')
    expect(status).toBe(200)
    expect(json().imgapi).toBe(true)
    expect(headers['content-type']).toBe('application/json')
    expect(headers['x-request-id']).toBe(IMGADM_HEADERS['x-request-id'])
  })

  it('sees in avail what all upstreams have together, the first one winning', async () => {
    const [one, two] = [makeImage({ name: 'one' }), makeDataset({ name: 'two' })]
    const alsoOne = makeImage({ uuid: uuidOf(one), name: 'one-of-the-second' }, one.files[0])
    const first = closing(await startSdcImgapi({ images: [one] }))
    const second = closing(await startSdcImgapi({ images: [alsoOne] }))
    const third = closing(await startSmartosImageServer({ images: [two] }))
    const mirror = await startMirror({
      upstreams: [
        { name: 'first', url: first.url },
        { name: 'second', url: second.url },
        { name: 'third', type: 'dsapi', url: `${third.url}/datasets` },
      ],
    })
    await mirror.settled()
    const images = (await imgadmGet(mirror.url, '/images')).json()
    expect(images.map((image: { name: string }) => image.name)).toEqual(['two', 'one'])
    expect(images.every((image: { state: string; v: number }) => image.state === 'active' && image.v === 2)).toBe(true)
  })

  it('imports a Docker image at the first try, layer by layer, though nobody has pulled one before', async () => {
    const layers = [layerBytes(), layerBytes(), layerBytes()]
    const images = servedLayers(layers)
    const { url } = closing(await startRangeImgapi(images))
    const mirror = await startMirror({ upstreams: [{ name: 'registry', url }] })
    await mirror.settled()
    const listed = (await imgadmGet(mirror.url, '/images')).json()
    expect(listed.every(({ tags }: { tags: JsonObject }) => typeof tags['docker:id'] === 'string')).toBe(true)
    const imported = await imgadmImport(mirror.url, uuidOf(images[2]!))
    expect(imported.map(sha1)).toEqual(layers.toReversed().map(sha1))
    // Its last byte leaves when it is verified, which is before it is written down as held.
    await until(async () => (await mirror.status()).imagesHeld === 3)
    for (const [index, image] of images.entries()) {
      const { files } = (await imgadmGet(mirror.url, `/images/${uuidOf(image)}`)).json()
      expect(files).toEqual([{ sha1: sha1(layers[index]!), size: layers[index]!.length, compression: 'gzip' }])
    }
    expect((await imgadmImport(mirror.url, uuidOf(images[2]!))).map(sha1)).toEqual(imported.map(sha1))
  })

  it('imports an image from a DSAPI server, repaired into what it needs', async () => {
    const dataset = makeDataset({ creator_uuid: '' })
    const server = closing(await startSmartosImageServer({ images: [dataset] }))
    const mirror = await startMirror({ upstreams: [{ name: 'old', type: 'dsapi', url: `${server.url}/datasets` }] })
    expect(await imgadmImport(mirror.url, uuidOf(dataset))).toEqual([dataset.files[0]])
    const manifest = (await imgadmGet(mirror.url, `/images/${uuidOf(dataset)}`)).json()
    expect(manifest.files[0].compression).toBe('gzip')
    expect(manifest.published_at).toBe('2011-04-11T08:45:00Z')
  })

  it('imports a chain of three whose origins live on other upstreams, one inactive and in no list', async () => {
    const base = makeImage({ name: 'base' }, randomBytes(300_000))
    const middle = makeImage({ name: 'middle', origin: uuidOf(base), state: 'disabled', disabled: true })
    const leaf = makeImage({ name: 'leaf', origin: uuidOf(middle) })
    const [a, b, c] = [
      closing(await startSdcImgapi({ images: [leaf] })),
      closing(await startSdcImgapi({ images: [middle] })),
      closing(await startDsapid({ images: [base] })),
    ]
    const mirror = await startMirror({
      upstreams: [a, b, c].map((server, index) => ({ name: `u${index}`, url: server.url })),
    })
    await mirror.settled()
    expect((await imgadmGet(mirror.url, '/images')).json()).toHaveLength(2)
    expect(await imgadmImport(mirror.url, uuidOf(leaf))).toEqual([leaf, middle, base].map(({ files }) => files[0]))
  })

  it('has the manifests of the origins ready as soon as the leaf is asked for', async () => {
    const base = makeImage({ state: 'disabled', disabled: true })
    const leaf = makeImage({ origin: uuidOf(base) })
    const server = closing(await startSdcImgapi({ images: [leaf, base] }))
    const mirror = await startMirror({ upstreams: [{ name: 'u', url: server.url }] })
    await imgadmGet(mirror.url, `/images/${uuidOf(leaf)}`)
    await server.close()
    expect((await imgadmGet(mirror.url, `/images/${uuidOf(base)}`)).status).toBe(200)
  })

  it('updates: one GET per installed image, known or not', async () => {
    const image = makeImage()
    const server = closing(await startSdcImgapi({ images: [image] }))
    const mirror = await startMirror({ upstreams: [{ name: 'u', url: server.url }] })
    expect((await imgadmGet(mirror.url, `/images/${uuidOf(image)}`)).json().uuid).toBe(uuidOf(image))
    const unknown = await imgadmGet(mirror.url, `/images/${uuidOf(makeImage())}`)
    expect(unknown.status).toBe(404)
    expect(unknown.json().code).toBe('ResourceNotFound')
  })

  it('is spared the dead source: lists, shows and imports with one upstream refusing connections', async () => {
    const image = makeImage()
    const dead = await startSdcImgapi({ images: [] })
    await dead.close()
    const alive = closing(await startSdcImgapi({ images: [image] }))
    const mirror = await startMirror({
      upstreams: [
        { name: 'dead', url: dead.url },
        { name: 'alive', url: alive.url },
      ],
    })
    await mirror.settled()
    expect((await imgadmGet(mirror.url, '/images')).json()).toHaveLength(1)
    expect(await imgadmImport(mirror.url, uuidOf(image))).toEqual(image.files)
    expect((await imgadmGet(mirror.url, `/images/${uuidOf(makeImage())}`)).status).toBe(404)
    const warning = mirror.log.lines.find(({ facts }) => facts.upstream === 'dead')
    expect(warning?.message).toMatch(/trying again at \d{4}-/)
  })

  it('is answered from what is held when every upstream is dead, also after a restart, and without the index', async () => {
    const base = makeImage({ name: 'base' })
    const leaf = makeImage({ name: 'leaf', origin: uuidOf(base) })
    const server = closing(await startSdcImgapi({ images: [leaf, base] }))
    const settings = { upstreams: [{ name: 'u', url: server.url }] }
    const before = await startMirror(settings)
    await imgadmImport(before.url, uuidOf(leaf))
    await server.close()
    expect(await imgadmImport(before.url, uuidOf(leaf))).toEqual([leaf, base].map(({ files }) => files[0]))
    const listed = (await imgadmGet(before.url, '/images')).bytes.toString()
    await before.close()

    const after = await startMirror({ ...settings, data: before.dataDirectory })
    expect((await imgadmGet(after.url, '/images')).bytes.toString()).toBe(listed)
    expect(await imgadmImport(after.url, uuidOf(leaf))).toEqual([leaf, base].map(({ files }) => files[0]))
    await after.close()

    const { rm } = await import('node:fs/promises')
    await rm(`${before.dataDirectory}/index`, { recursive: true })
    const rebuilt = await startMirror({ ...settings, data: before.dataDirectory })
    expect((await imgadmGet(rebuilt.url, '/images')).bytes.toString()).toBe(listed)
    expect(await imgadmImport(rebuilt.url, uuidOf(leaf))).toEqual([leaf, base].map(({ files }) => files[0]))
  })
})
