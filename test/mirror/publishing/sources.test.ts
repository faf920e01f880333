import { randomBytes } from 'node:crypto'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Uuid } from '../../../src/images/uuid.js'
import type { JsonObject } from '../../../src/parts/json-object.js'
import { makeUpstream, type UpstreamOptions } from '../../../src/upstream/make-upstream.js'
import { openUrl } from '../../../src/upstream/open-url.js'
import { uuid } from '../../images/manifests.js'
import { makeImage, sha1, uuidOf } from '../../support/made-up-images.js'
import { until } from '../../support/running-mirror.js'
import { makeCertificates } from '../../support/upstreams/certificates.js'
import { startRangeImgapi } from '../../support/upstreams/range-imgapi.js'
import type { ServedImage } from '../../support/upstreams/serve.js'
import { never, started, upstreamOptions } from '../../upstream/upstream-under-test.js'
import { by, makePublishingRig, manifestOf } from './publishing-rig.js'

const idOf = (image: ServedImage) => uuidOf(image) as Uuid

function optionsFor(url: URL, more: Partial<UpstreamOptions> = {}): UpstreamOptions {
  return upstreamOptions('imgapi', url, { name: `source ${url.host}`, ...more })
}

/** A mirror, and a server that it may fetch from. */
async function makeRig(images: readonly ServedImage[], more: Partial<UpstreamOptions> = {}) {
  const server = await started(startRangeImgapi(images))
  const origins = new Set([server.url])
  const sources = {
    origins,
    openSource: (url: URL) => makeUpstream(optionsFor(url, more)),
    openUrl: (url: URL, signal: AbortSignal) => openUrl(optionsFor(url, more), signal),
  }
  const rig = await makePublishingRig({ publishing: { mode: 'public', sources } })
  const ended = async (job: Uuid) => {
    const status = () => rig.mirror.status().imports!.find(({ jobUuid }) => jobUuid === job)!
    await until(() => status().state !== 'running')
    return status()
  }
  return { rig, server, origins, ended }
}

/** Base first. */
function makeChain(length: number): ServedImage[] {
  const chain: ServedImage[] = []
  for (let index = 0; index < length; index++) {
    const origin = chain.at(-1)
    chain.push(makeImage({ name: `link-${index}`, ...(origin && { origin: uuidOf(origin) }) }))
  }
  return chain
}

describe('an image brought from another server', () => {
  it('comes with all it builds on, verified, and is ours', async () => {
    const chain = makeChain(3)
    const { rig, ended, server } = await makeRig(chain)
    const { jobUuid } = await rig.publishing.importRemote(idOf(chain[2]!), server.url, by)
    expect(await ended(jobUuid)).toMatchObject({
      state: 'done',
      imported: 3,
      images: chain.map(idOf),
      source: server.url,
    })
    await server.close()
    expect(await rig.listed()).toHaveLength(3)
    for (const image of chain) {
      const { json, state } = await rig.get(idOf(image))
      expect(state).toBe('active')
      expect((JSON.parse(json) as JsonObject).files).toEqual(image.manifest.files)
      expect((await rig.read(idOf(image))).equals(image.files[0]!)).toBe(true)
    }
    const [extent] = rig.store.images.get(idOf(chain[0]!))!.files[0]!.extents
    expect(extent!.location).toBe(`${server.url}/images/${uuidOf(chain[0]!)}/file`)
    await expect(rig.publishing.importRemote(idOf(chain[2]!), server.url, by)).rejects.toMatchObject({
      code: 'IMAGE_EXISTS',
    })
  })

  it('goes on where it was when it is asked for again, after a restart too', async () => {
    const chain = makeChain(2)
    const good = chain[1]!.files[0]!
    // The file of the second one is not what its manifest says.
    const bad = { ...chain[1]!, files: [randomBytes(good.length)] }
    const images = [chain[0]!, bad]
    const { rig, ended, server } = await makeRig(images)
    const leaf = idOf(bad)
    const failed = await ended((await rig.publishing.importRemote(leaf, server.url, by)).jobUuid)
    expect(failed).toMatchObject({ state: 'failed', imported: 1, current: leaf })
    expect(failed.error).toContain('differs from what was promised')
    expect(await rig.listed()).toEqual([idOf(chain[0]!)])
    expect((await rig.get(leaf)).state).toBe('unactivated')
    await rig.reopen()
    images[1] = chain[1]!
    const again = await ended((await rig.publishing.importRemote(leaf, server.url, by)).jobUuid)
    expect(again).toMatchObject({ state: 'done', images: [leaf] })
    expect((await rig.read(leaf)).equals(good)).toBe(true)
    expect(rig.store.images.get(leaf)!.publication!.importingFrom).toBeUndefined()
  })

  it('is one job for all who ask for it', async () => {
    const chain = makeChain(2)
    const { rig, ended, server } = await makeRig(chain)
    const ask = () => rig.publishing.importRemote(idOf(chain[1]!), server.url, by)
    const jobs = await Promise.all([ask(), ask(), ask()])
    expect(new Set(jobs.map(({ jobUuid }) => jobUuid)).size).toBe(1)
    expect((await ended(jobs[0]!.jobUuid)).state).toBe('done')
    expect(server.requests.filter(({ url }) => url.endsWith('/file'))).toHaveLength(2)
  })

  it('shares what it builds on with others that are brought at the same time', async () => {
    const base = makeImage()
    const leaves = [1, 2, 3, 4].map((index) => makeImage({ name: `leaf-${index}`, origin: uuidOf(base) }))
    const { rig, ended, server } = await makeRig([base, ...leaves])
    const jobs = await Promise.all(leaves.map((leaf) => rig.publishing.importRemote(idOf(leaf), server.url, by)))
    for (const { jobUuid } of jobs) expect(await ended(jobUuid)).toMatchObject({ state: 'done', error: undefined })
    expect(server.requests.filter(({ url }) => url.endsWith(`${uuidOf(base)}/file`))).toHaveLength(1)
  })

  it('is refused when something it builds on is missing there, inactive, or a ring', async () => {
    const lost = makeImage({ origin: uuid(77) })
    const inactive = makeImage({ state: 'disabled', disabled: true })
    const onInactive = makeImage({ origin: uuidOf(inactive) })
    const [one, other] = [
      makeImage({ origin: uuid(71), uuid: uuid(70) }),
      makeImage({ origin: uuid(70), uuid: uuid(71) }),
    ]
    const { rig, server } = await makeRig([lost, inactive, onInactive, one, other])
    const ask = (image: ServedImage) => rig.publishing.importRemote(idOf(image), server.url, by)
    await expect(ask(lost)).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
      message: `Unable to get manifest for origin image ${uuid(77)}. Error from remote: image ${uuid(77)} not found`,
    })
    await expect(ask(onInactive)).rejects.toMatchObject({ code: 'ORIGIN_INACTIVE' })
    await expect(ask(one)).rejects.toMatchObject({ code: 'ANCESTRY_BROKEN' })
    expect(rig.mirror.status().imports).toEqual([])
    expect([...rig.store.images.all()]).toEqual([])
  })

  it('ends with the mirror, and goes on after the next start', async () => {
    const chain = makeChain(1)
    const { rig, ended, server } = await makeRig(chain)
    const { jobUuid } = await rig.publishing.importRemote(idOf(chain[0]!), server.url, by)
    expect(jobUuid).toMatch(/^[0-9a-f-]{36}$/)
    await rig.reopen()
    const exists = (await rig.listed()).length > 0
    if (!exists) await ended((await rig.publishing.importRemote(idOf(chain[0]!), server.url, by)).jobUuid)
    expect((await rig.read(idOf(chain[0]!))).equals(chain[0]!.files[0]!)).toBe(true)
  })

  it('may come in two steps: its manifest, then its file', async () => {
    const image = makeImage({ icon: true, owner: uuid(9) })
    const { rig, server } = await makeRig([image])
    const manifest = await rig.publishing.importManifestFrom(idOf(image), server.url, by)
    expect(manifest).toMatchObject({ state: 'unactivated', files: [], hasIcon: false })
    await rig.publishing.addFileFrom(idOf(image), `${server.url}/?channel=x`, by)
    await rig.publishing.activate(idOf(image), by)
    expect((await rig.read(idOf(image))).equals(image.files[0]!)).toBe(true)
    await expect(rig.publishing.importManifestFrom(uuid(5), server.url, by)).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
      message: `Unable to get manifest for image ${uuid(5)}. Error from remote: image ${uuid(5)} not found`,
    })
  })

  it('is fetched from nowhere that configuration does not name, and from nobody offline', async () => {
    const image = makeImage()
    const { rig, server } = await makeRig([image])
    const ask = (source: string) => rig.publishing.importRemote(idOf(image), source, by)
    const other = `http://localhost:${new URL(server.url).port}`
    for (const source of [other, 'nonsense', 'file:///etc/passwd', server.url.replace('//', '//a:b@'), '', '//x']) {
      await expect(ask(source)).rejects.toMatchObject({ code: 'QUERY_INVALID', fields: [{ field: 'source' }] })
    }
    expect(server.requests).toEqual([])
    const offline = await makePublishingRig({ isOffline: true })
    await expect(offline.publishing.importRemote(idOf(image), server.url, by)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
    })
  })

  it('is not looked for at an address that is not public, where a name leads there', async () => {
    const image = makeImage()
    const { rig, server, origins } = await makeRig([image], { isPublicOnly: true })
    const named = `http://localhost:${new URL(server.url).port}`
    origins.add(named)
    await expect(rig.publishing.importManifestFrom(idOf(image), named, by)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
      message: expect.stringContaining('no public address'),
    })
    // An address that configuration names is what the operator wants.
    await rig.publishing.importManifestFrom(idOf(image), server.url, by)
  })

  it('is not for accounts to bring', async () => {
    const { rig, server } = await makeRig([])
    const onBehalf = { ...by, account: uuid(9) }
    await expect(rig.publishing.importRemote(uuid(1), server.url, onBehalf)).rejects.toMatchObject({
      code: 'OPERATOR_ONLY',
      message: 'this endpoint may only be called by an operator',
    })
  })
})

describe('a file brought from a url', () => {
  const bytes = randomBytes(100_000)

  async function makeFileRig() {
    const { ca, server: pem } = await makeCertificates()
    const { rig, origins } = await makeRig([], { ca })
    const asked: string[] = []
    const server = createServer(pem, (request, response) => {
      asked.push(request.url!)
      if (request.url === '/moved') response.writeHead(302, { location: '/file' }).end()
      else if (request.url === '/zipped') response.writeHead(200, { 'content-encoding': 'gzip' }).end('x')
      else if (request.url === '/cut') {
        response
          .writeHead(200, { 'content-length': bytes.length })
          .write(bytes.subarray(0, 50_000), () => response.destroy())
      } else if (request.url === '/chunked') response.writeHead(200).end(bytes)
      else if (request.url === '/file') response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
      else response.writeHead(404).end('no')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    origins.add(origin)
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    const add = (path: string, sha?: string) =>
      rig.publishing.addFileFromUrl(
        uuid(1),
        { url: path.startsWith('/') ? origin + path : path, compression: 'none', sha1: sha, signal: never },
        by,
      )
    return { rig, add, asked, origin }
  }

  it("is the image's, and each fault leaves nothing", async () => {
    const { rig, add, asked, origin } = await makeFileRig()
    for (const [path, code, message] of [
      ['/moved', 'DOWNLOAD_REFUSED', 'HTTP 302 error attempting to download image'],
      ['/nowhere', 'DOWNLOAD_REFUSED', 'HTTP 404 error attempting to download image'],
      ['/zipped', 'DOWNLOAD_REFUSED', 'it is sent in an encoding'],
      ['/cut', 'DOWNLOAD_REFUSED', 'cut after'],
      [`${origin.replace('https', 'http')}/file`, 'QUERY_INVALID', 'Only URLs using the https: scheme are supported'],
      ['https://127.0.0.1:1/file', 'QUERY_INVALID', 'is not one that this mirror may fetch from'],
    ] as const) {
      await expect(add(path)).rejects.toMatchObject({ code, message: expect.stringContaining(message) })
      expect(await rig.partials()).toEqual([])
      expect(rig.blobs()).toEqual([])
    }
    expect(asked).toEqual(['/moved', '/nowhere', '/zipped', '/cut'])
    await expect(add('/file', '0'.repeat(40))).rejects.toMatchObject({ code: 'DOWNLOAD_REFUSED' })
    await add('/chunked', sha1(bytes))
    const { files } = await add('/file', sha1(bytes))
    expect(files).toMatchObject([{ sizeBytes: bytes.length, compression: 'none' }])
    await rig.publishing.activate(uuid(1), by)
    expect((await rig.read(uuid(1))).equals(bytes)).toBe(true)
  })
})
