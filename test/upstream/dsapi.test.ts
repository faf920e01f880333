import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { parseFilter } from '../../src/images/filter.js'
import type { Uuid } from '../../src/images/uuid.js'
import type { UpstreamOptions } from '../../src/upstream/make-upstream.js'
import type { Upstream } from '../../src/upstream/upstream.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startDsapid } from '../support/upstreams/dsapid.js'
import { imageV1, imageV2, sha1Of, uuidOf } from '../support/upstreams/images.js'
import { answerJson, type ServedImage, serve, startTrap } from '../support/upstreams/serve.js'
import { startSmartosImageServer } from '../support/upstreams/smartos-image-server.js'
import { type StaticServerOptions, startStaticServer } from '../support/upstreams/static-server.js'
import { listOf, never, started, upstreamAt, uuidsOf } from './upstream-under-test.js'

const uuid = (number: number) => uuidOf(number) as Uuid

async function fileOf(upstream: Upstream, number: number, startBytes = 0, validator?: string) {
  const statement = (await upstream.getImage(uuid(number), never))!
  return upstream.openFile({ statement, fileIndex: 0, startBytes, validator, signal: never })
}

const bytesOf = async (upstream: Upstream, number: number) => buffer((await fileOf(upstream, number)).body)

/** Lays images out as a poor man's server has them: the list as `images/index.html`, files below `images/<uuid>/`. */
async function layOut(images: ServedImage[]): Promise<string> {
  const root = await temporaryDirectory()
  await mkdir(join(root, 'images'))
  await writeFile(join(root, 'images', 'index.html'), JSON.stringify(images.map(({ manifest }) => manifest)))
  for (const { manifest, files } of images) {
    const [{ path }] = manifest.files as [{ path: string }]
    const target = join(root, 'images', String(manifest.uuid), path)
    await mkdir(join(target, '..'), { recursive: true })
    await writeFile(target, files[0]!)
  }
  return root
}

async function staticUpstream(
  images: ServedImage[],
  options: StaticServerOptions = {},
  more: Partial<UpstreamOptions> = {},
) {
  const server = await started(startStaticServer(await layOut(images), options))
  return { server, upstream: upstreamAt('dsapi', `${server.url}/images`, more) }
}

describe('a smartos-image-server', () => {
  const startWith = async (images: ServedImage[]) => {
    const server = await started(startSmartosImageServer({ images }))
    return { server, upstream: upstreamAt('dsapi', `${server.url}/datasets`) }
  }

  it('has v1 manifests with holes, which become v2 without', async () => {
    const { creator_uuid: _, ...nobodys } = imageV1(2).manifest
    const zvol = { type: 'zvol', nic_driver: 'virtio', disk_driver: 'virtio', cpu_type: 'host', image_size: '10240' }
    const { upstream } = await startWith([
      imageV1(1),
      { ...imageV1(2), manifest: nobodys },
      imageV1(3, { manifest: zvol }),
    ])
    const listing = await listOf(upstream)
    expect(listing.setAside).toEqual([])
    expect(uuidsOf(listing)).toEqual([uuid(1), uuid(2), uuid(3)])
    for (const { manifest } of listing.statements) {
      expect(manifest).toMatchObject({ owner: uuidOf(0).replace('4', '0').replace('8', '0'), state: 'active' })
      expect(JSON.parse(manifest.json)).toMatchObject({
        v: 2,
        published_at: expect.stringMatching(/^2021-01-04T12:34:00/),
      })
      expect(manifest.files[0]!.compression).toBe('gzip')
    }
    expect(JSON.parse(listing.statements[2]!.manifest.json).image_size).toBe(10240)
  })

  it('says no with a string, and gives an image by uuid', async () => {
    const { server, upstream } = await startWith([imageV1(1)])
    expect((await upstream.getImage(uuid(1), never))!.manifest.uuid).toBe(uuid(1))
    expect(server.requests.map(({ url }) => url)).toEqual([`/datasets/${uuid(1)}`])
    expect(await upstream.getImage(uuid(2), never)).toBeUndefined()
  })

  it('makes urls of the Host it was asked by, with names that are not encoded', async () => {
    const path = 'my image 100%.zfs.gz'
    const image = imageV1(1, { file: { path } })
    const { server, upstream } = await startWith([image])
    expect(await bytesOf(upstream, 1)).toEqual(image.files[0])
    // Its url is tried first, and is no url: "100%.zfs" cannot be decoded. The path is encoded by us.
    expect(server.requests.slice(-2).map(({ url }) => url)).toEqual([
      `/datasets/${uuid(1)}/my%20image%20100%.zfs.gz`,
      `/datasets/${uuid(1)}/my%20image%20100%25.zfs.gz`,
    ])
  })

  it('knows no ranges: the whole comes', async () => {
    const image = imageV1(1)
    const { upstream } = await startWith([image])
    const file = await fileOf(upstream, 1, 500)
    expect(file).toMatchObject({ startBytes: 0, totalBytes: 1000, validator: undefined })
    expect(await buffer(file.body)).toEqual(image.files[0])
  })

  it('has no icons', async () => {
    const { upstream } = await startWith([imageV1(1)])
    expect(await upstream.getIcon(uuid(1), never)).toBeUndefined()
  })
})

describe('dsapid as a DSAPI', () => {
  it('is listed, asked by uuid, and read, though its urls lead elsewhere', async () => {
    const trap = await started(startTrap())
    const images = [imageV2(1), imageV2(2, { manifest: { owner: '00000000-0000-0000-0000-000000000000' } })]
    const server = await started(startDsapid({ images, baseUrl: `${trap.url}/` }))
    const upstream = upstreamAt('dsapi', `${server.url}/datasets`)
    const listing = await listOf(upstream)
    expect(uuidsOf(listing)).toEqual([uuid(1), uuid(2)])
    expect(listing.setAside).toEqual([])
    expect(await bytesOf(upstream, 2)).toEqual(images[1]!.files[0])
    expect(await upstream.getImage(uuid(3), never)).toBeUndefined()
    expect(trap.connectionCount).toBe(0)
  })

  it('gives ranges', async () => {
    const image = imageV2(1)
    const server = await started(startDsapid({ images: [image] }))
    const file = await fileOf(upstreamAt('dsapi', `${server.url}/datasets/`), 1, 300)
    expect(file).toMatchObject({ startBytes: 300, totalBytes: 1000, contentMd5: undefined })
    expect(await buffer(file.body)).toEqual(image.files[0]!.subarray(300))
  })
})

describe('a directory behind a web server', () => {
  it.each([
    ['that forbids to look into directories', { autoindex: false }],
    ['that shows directories as pages', { autoindex: true }],
  ])('%s is listed, read, and asked for images by its list', async (_what, options) => {
    const images = [imageV1(1, { file: { path: 'sub/dir/a b.zfs.bz2' } }), imageV1(2)]
    const { upstream } = await staticUpstream(images, options)
    const listing = await listOf(upstream)
    expect(uuidsOf(listing)).toEqual([uuid(1), uuid(2)])
    expect(await bytesOf(upstream, 1)).toEqual(images[0]!.files[0])
    expect(await upstream.getImage(uuid(3), never)).toBeUndefined()
    const statement = (await upstream.getImage(uuid(1), never))!
    expect(statement.manifest.files[0]!.compression).toBe('bzip2')
  })

  it('may have the list as a file of any name', async () => {
    const image = imageV1(1)
    const server = await started(startStaticServer(await layOut([image])))
    expect(await bytesOf(upstreamAt('dsapi', `${server.url}/images/index.html`), 1)).toEqual(image.files[0])
  })

  it('is asked for its list once by all who look for an image, and not again for a while', async () => {
    const { server, upstream } = await staticUpstream([imageV1(1)])
    const asked = Array.from({ length: 20 }, (_, number) => upstream.getImage(uuid(number), never))
    const leaving = new AbortController()
    const left = upstream.getImage(uuid(1), leaving.signal)
    leaving.abort(new Error('I am leaving'))
    await expect(left).rejects.toThrow('I am leaving')
    expect((await Promise.all(asked)).filter(Boolean)).toHaveLength(1)
    expect(await upstream.getImage(uuid(1), never)).toBeDefined()
    expect(server.requests.filter(({ url }) => url === '/images/')).toHaveLength(1)
  })

  it('tells unchanged for the price of a 304, and filters only the list', async () => {
    const more = { exclude: [parseFilter('name=image-1')] }
    const { upstream } = await staticUpstream([imageV1(1), imageV1(2)], {}, more)
    const listing = await listOf(upstream)
    expect(uuidsOf(listing)).toEqual([uuid(2)])
    expect(listing.listedCount).toBe(2)
    expect(await upstream.listImages({ validator: listing.validator, signal: never })).toBe('unchanged')
    expect((await upstream.getImage(uuid(1), never))!.manifest.uuid).toBe(uuid(1))
  })

  it('lets a file be resumed if it is still the same, and starts over if not', async () => {
    const image = imageV1(1)
    const { upstream } = await staticUpstream([image])
    const whole = await fileOf(upstream, 1)
    expect(whole.validator).toBeDefined()
    whole.body.destroy()
    const rest = await fileOf(upstream, 1, 600, whole.validator)
    expect(rest.startBytes).toBe(600)
    expect(await buffer(rest.body)).toEqual(image.files[0]!.subarray(600))
    const changed = await fileOf(upstream, 1, 600, '"of another file"')
    expect(changed.startBytes).toBe(0)
    changed.body.destroy()
  })

  it('that shows a page instead of a list is a clear error', async () => {
    const root = await temporaryDirectory()
    await mkdir(join(root, 'images'))
    const server = await started(startStaticServer(root, { autoindex: true }))
    await expect(listOf(upstreamAt('dsapi', `${server.url}/images`))).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
      message: expect.stringContaining('a page'),
    })
  })
})

describe('the place of a DSAPI file', () => {
  /** A list with one image whose file entry is `file`, and `answer` for everything else. */
  async function startListing(file: Record<string, unknown>, bytes: Buffer, files: Record<string, Buffer>) {
    const image = imageV1(1, { file, bytes })
    return started(
      serve((request, response) => {
        const found = files[request.url!]
        if (request.url === '/datasets') answerJson(response, 200, [image.manifest])
        else if (found) response.writeHead(200, { 'content-length': String(found.length) }).end(found)
        else response.writeHead(404).end('Not found')
      }),
    )
  }
  const bytes = Buffer.from('the right bytes')

  it('is its url on a listed host, and gets no credentials', async () => {
    const host = await started(serve((_request, response) => response.end(bytes)))
    const server = await startListing({ url: `${host.url}/f.gz` }, bytes, {})
    const upstream = upstreamAt('dsapi', `${server.url}/datasets`, {
      fileHosts: [host.url],
      username: 'me',
      password: 'pw',
    })
    const file = await fileOf(upstream, 1)
    expect(file.location).toBe(`${host.url}/f.gz`)
    expect(await buffer(file.body)).toEqual(bytes)
    expect(host.requests[0]!.headers.authorization).toBeUndefined()
    expect(server.requests[0]!.headers.authorization).toBeDefined()
  })

  it.each([
    ['leads to a host that is not listed', undefined],
    ['is dead', 404],
    ['has something of another length', 200],
  ])('is below the list when its url %s', async (_what, status) => {
    const host = await started(
      serve((_request, response) => response.writeHead(status ?? 200, { 'content-length': '1' }).end('x')),
    )
    const path = 'a.zfs.gz'
    const server = await startListing({ url: `${host.url}/f.gz`, path }, bytes, {
      [`/datasets/${uuid(1)}/${path}`]: bytes,
    })
    const upstream = upstreamAt('dsapi', `${server.url}/datasets`, { fileHosts: status ? [host.url] : [] })
    expect(await bytesOf(upstream, 1)).toEqual(bytes)
    if (!status) expect(host.connectionCount).toBe(0)
  })

  it('is told with both failures when it is nowhere', async () => {
    const server = await startListing({ url: '/f.gz', path: 'p.gz' }, bytes, {})
    await expect(fileOf(upstreamAt('dsapi', `${server.url}/datasets`), 1)).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
      message: expect.stringMatching(/\/f\.gz: answered 404; then .*\/p\.gz: answered 404/),
    })
  })

  it.each([
    ['nothing', { path: undefined, url: undefined }],
    ['a path that climbs', { path: '../../../etc/passwd', url: undefined }],
  ])('is nowhere when the manifest says %s, and nobody is asked', async (_what, file) => {
    const server = await startListing(file, bytes, {})
    const upstream = upstreamAt('dsapi', `${server.url}/datasets`)
    const statement = (await upstream.getImage(uuid(1), never))!
    const before = server.requests.length
    const opening = upstream.openFile({ statement, fileIndex: 0, startBytes: 0, signal: never })
    await expect(opening).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
      message: expect.stringContaining(uuid(1)),
    })
    expect(server.requests.length).toBe(before)
  })

  it('is not followed to another origin by redirects either', async () => {
    const trap = await started(startTrap())
    const server = await started(
      serve((request, response) => {
        if (request.url === '/datasets') answerJson(response, 200, [imageV1(1, { bytes }).manifest])
        else response.writeHead(302, { location: `${trap.url}${request.url}` }).end()
      }),
    )
    const upstream = upstreamAt('dsapi', `${server.url}/datasets`)
    // By uuid it is "not here"; in the list it is.
    expect((await upstream.getImage(uuid(1), never))!.manifest.files[0]!.digests[0]!.hex).toBe(sha1Of(bytes))
    await expect(fileOf(upstream, 1)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    expect(trap.connectionCount).toBe(0)
  })
})

describe('an image of a DSAPI', () => {
  it('must be the one asked for', async () => {
    const server = await started(serve((_request, response) => answerJson(response, 200, imageV1(2).manifest)))
    await expect(upstreamAt('dsapi', `${server.url}/datasets`).getImage(uuid(1), never)).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
    })
  })

  it('is looked up in the list when every path answers the list', async () => {
    const server = await started(serve((_request, response) => answerJson(response, 200, [imageV1(1).manifest])))
    const upstream = upstreamAt('dsapi', `${server.url}/datasets`)
    expect((await upstream.getImage(uuid(1), never))!.manifest.uuid).toBe(uuid(1))
    expect(await upstream.getImage(uuid(2), never)).toBeUndefined()
  })

  it.each([401, 429, 500, 503])('is not denied by a %i', async (status) => {
    const server = await started(serve((_request, response) => response.writeHead(status).end()))
    await expect(upstreamAt('dsapi', `${server.url}/datasets`).getImage(uuid(1), never)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
    })
  })

  it('is not denied when the list that would tell cannot be had', async () => {
    const server = await started(
      serve((request, response) => response.writeHead(request.url === '/datasets' ? 503 : 404).end()),
    )
    await expect(upstreamAt('dsapi', `${server.url}/datasets`).getImage(uuid(1), never)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
    })
  })
})
