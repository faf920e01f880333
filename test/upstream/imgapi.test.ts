import { createHash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import type { Statement } from '../../src/images/claim.js'
import { parseFilter } from '../../src/images/filter.js'
import type { Uuid } from '../../src/images/uuid.js'
import type { Upstream } from '../../src/upstream/upstream.js'
import { startDsapid } from '../support/upstreams/dsapid.js'
import { imageV2, sha1Of, uuidOf } from '../support/upstreams/images.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { answerJson, type ServedImage, serve } from '../support/upstreams/serve.js'
import { listOf, never, started, upstreamAt, uuidsOf } from './upstream-under-test.js'

const uuid = (number: number) => uuidOf(number) as Uuid
const range = (count: number) => Array.from({ length: count }, (_, index) => index)

/** What the upstream says of image `number`. */
async function statementOf(upstream: Upstream, number: number): Promise<Statement> {
  return (await upstream.getImage(uuid(number), never))!
}

async function fileOf(upstream: Upstream, number: number, more: { fileIndex?: number; startBytes?: number } = {}) {
  const statement = await statementOf(upstream, number)
  return upstream.openFile({ statement, fileIndex: 0, startBytes: 0, signal: never, ...more })
}

/** An image with two files, as lxd images have, and dsapid allows. */
function imageWithTwoFiles(
  number: number,
  files: Buffer[],
  extra: (bytes: Buffer) => object = () => ({}),
): ServedImage {
  const entries = files.map((bytes) => ({
    sha1: sha1Of(bytes),
    size: bytes.length,
    compression: 'none',
    ...extra(bytes),
  }))
  return { manifest: { ...imageV2(number).manifest, files: entries }, files }
}

describe('the list of an sdc-imgapi', () => {
  it('is asked for once, as imgadm does, and never with a query of a client', async () => {
    const server = await started(
      startSdcImgapi({ images: [imageV2(2), imageV2(1), imageV2(3, { manifest: { state: 'disabled' } })] }),
    )
    const listing = await listOf(upstreamAt('imgapi', server.url))
    expect(uuidsOf(listing)).toEqual([uuid(1), uuid(2)])
    expect(listing).toMatchObject({ setAside: [], listedCount: 2, validator: undefined, incomplete: undefined })
    expect(server.requests.map(({ method, url, headers }) => [method, url, headers['accept-version']])).toEqual([
      ['GET', '/images', '~2'],
    ])
  })

  it('is whole beyond 1,000 images, with pages cut at 1,000 and equal dates in any order', async () => {
    const images = range(2700).map((number) =>
      imageV2(number, { manifest: { published_at: new Date(Math.floor(number / 300) * 1000).toISOString() } }),
    )
    for (const options of [
      { listCap: 1000 },
      { listCap: 1000, isUnstable: true },
      { isUnstable: true },
      { listCap: 1000, marker: 'exclusive' as const },
      { ignoresLimit: true },
      { ignoresLimit: true, marker: 'ignored' as const },
    ]) {
      const server = await started(startSdcImgapi({ images, ...options }))
      const listing = await listOf(upstreamAt('imgapi', server.url))
      expect(uuidsOf(listing)).toEqual(images.map(({ manifest }) => manifest.uuid))
      expect(listing.incomplete).toBeUndefined()
      expect(server.requests[1]!.url).toMatch(/^\/images\?marker=[0-9a-f-]{36}&limit=1000$/)
    }
  })

  it('is whole when more images than a page holds share one date', async () => {
    const published_at = '2021-01-01T00:00:00Z'
    const images = range(2600).map((number) => imageV2(number, { manifest: number < 200 ? {} : { published_at } }))
    // The first answer is cut at 1,000, later ones at the limit asked for.
    let isFirst = true
    const server = await started(
      startSdcImgapi({
        images,
        isUnstable: true,
        intercept: (_request, response) => {
          if (!isFirst) return false
          isFirst = false
          answerJson(
            response,
            200,
            images.slice(0, 1000).map(({ manifest }) => manifest),
          )
          return true
        },
      }),
    )
    const listing = await listOf(upstreamAt('imgapi', server.url))
    expect(listing.statements).toHaveLength(2600)
    expect(listing.incomplete).toBeUndefined()
  })

  it('says that it is incomplete when one date cannot be got past', async () => {
    const published_at = '2021-01-01T00:00:00Z'
    const images = range(1500).map((number) => imageV2(number, { manifest: { published_at } }))
    const server = await started(startSdcImgapi({ images, listCap: 1000 }))
    const listing = await listOf(upstreamAt('imgapi', server.url))
    expect(listing.incomplete).toMatch('published_at')
    expect(listing.statements).toHaveLength(1000)
  })

  it('sets bad manifests aside, with a reason, and keeps the rest', async () => {
    const noFiles = imageV2(2, { manifest: { files: [] } })
    const nameless: ServedImage = { manifest: { state: 'active', published_at: '2021-01-01T00:00:00Z' }, files: [] }
    const server = await started(startSdcImgapi({ images: [imageV2(1), noFiles, nameless] }))
    const listing = await listOf(upstreamAt('imgapi', server.url))
    expect(uuidsOf(listing)).toEqual([uuid(1)])
    expect(listing.listedCount).toBe(3)
    expect(listing.setAside.map(({ what }) => what).sort()).toEqual(['#2', uuid(2)].sort())
    for (const { reason } of listing.setAside) expect(reason).not.toBe('')
  })

  it('keeps the first of two images with one uuid, and says so if they differ', async () => {
    const [first, other] = [imageV2(1), imageV2(1)]
    const manifests = [first, first, other].map(({ manifest }) => manifest)
    const server = await started(serve((_request, response) => answerJson(response, 200, manifests)))
    const listing = await listOf(upstreamAt('imgapi', server.url))
    expect(listing.statements.map(({ manifest }) => manifest.files[0]!.digests[0]!.hex)).toEqual([
      sha1Of(first.files[0]!),
    ])
    expect(listing.setAside).toEqual([{ what: uuid(1), reason: expect.stringContaining('twice') }])
    expect(listing.listedCount).toBe(1)
  })

  it('is narrowed by include and exclude, and still counts what was listed', async () => {
    const images = range(4).map((number) => imageV2(number, { manifest: { os: number % 2 ? 'linux' : 'smartos' } }))
    const server = await started(startSdcImgapi({ images }))
    const include = [parseFilter('os=linux'), parseFilter('name=image-0')]
    const upstream = upstreamAt('imgapi', server.url, { include, exclude: [parseFilter('name=image-3')] })
    const listing = await listOf(upstream)
    expect(uuidsOf(listing)).toEqual([uuid(0), uuid(1)])
    expect(listing.listedCount).toBe(4)
    expect(upstream.whyLeftOut(await statementOf(upstream, 3))).toBeDefined()
  })

  it('may have no more bytes than allowed', async () => {
    const server = await started(startSdcImgapi({ images: range(50).map((number) => imageV2(number)) }))
    const upstream = upstreamAt('imgapi', server.url, { limits: { listBytes: 10_000 } })
    await expect(listOf(upstream)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })

  it.each([401, 429, 500, 503])('fails for a %i, and is not empty', async (status) => {
    const server = await started(
      serve((_request, response) => answerJson(response, status, { code: 'X', message: 'no' })),
    )
    await expect(listOf(upstreamAt('imgapi', server.url))).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
  })
})

describe('a list with a validator', () => {
  it.each([{ listEtag: 'W/"7"' }, { listLastModified: 'Mon, 04 Jan 2021 12:34:00 GMT' }])(
    'costs a 304 while it is unchanged: %j',
    async (options) => {
      const server = await started(startSdcImgapi({ images: [imageV2(1)], ...options }))
      const { validator } = await listOf(upstreamAt('imgapi', server.url))
      const again = upstreamAt('imgapi', server.url)
      expect(await again.listImages({ validator, signal: never })).toBe('unchanged')
      // Read or narrowed in another way, the same list is another listing.
      const exclude = [parseFilter('name=image-1')]
      expect((await listOf(upstreamAt('imgapi', server.url, { exclude }), validator)).statements).toEqual([])
      expect((await listOf(upstreamAt('imgapi', server.url, { version: '0.0.2' }), validator)).statements).toHaveLength(
        1,
      )
      expect((await listOf(again, 'not one of ours')).statements).toHaveLength(1)
    },
  )

  it('is only trusted when the whole list came in one answer', async () => {
    const images = range(1500).map((number) => imageV2(number))
    const paged = await started(startSdcImgapi({ images, listCap: 1000, listEtag: '"7"' }))
    expect((await listOf(upstreamAt('imgapi', paged.url))).validator).toBeUndefined()
    const whole = await started(startSdcImgapi({ images, listEtag: '"7"' }))
    expect((await listOf(upstreamAt('imgapi', whole.url))).validator).toBeDefined()
  })
})

describe('channels and paths', () => {
  const images = ['release', 'dev'].map((channel, number) => imageV2(number, { manifest: { channels: [channel] } }))

  it.each([
    ['by the url', '?channel=dev', undefined],
    ['by the option', '', 'dev'],
    ['by the option rather than the url', '?channel=release', 'dev'],
  ])('go with every request, %s', async (_how, query, channel) => {
    const server = await started(startSdcImgapi({ images, channels: ['release', 'dev'] }))
    const upstream = upstreamAt('imgapi', server.url + query, { channel })
    expect(uuidsOf(await listOf(upstream))).toEqual([uuid(1)])
    expect(await upstream.getImage(uuid(0), never)).toBeUndefined()
    const { body } = await fileOf(upstream, 1)
    expect(await buffer(body)).toEqual(images[1]!.files[0])
    await upstream.getIcon(uuid(1), never)
    for (const { url } of server.requests) expect(url).toMatch(/\?channel=dev$/)
  })

  it('honours a path in front of /images, and shows no credentials', async () => {
    const server = await started(serve((_request, response) => answerJson(response, 200, [])))
    const upstream = upstreamAt('imgapi', `${server.url.replace('//', '//me:pw@')}/some/where/`)
    expect(upstream.url).toBe(`${server.url}/some/where`)
    await listOf(upstream)
    expect(server.requests[0]!.url).toBe('/some/where/images')
  })

  it('sends its credentials', async () => {
    const credentials = { username: 'me', password: 'secret' }
    const server = await started(startSdcImgapi({ images: [imageV2(1)], credentials }))
    expect((await listOf(upstreamAt('imgapi', server.url, credentials))).statements).toHaveLength(1)
    await expect(upstreamAt('imgapi', server.url).getImage(uuid(1), never)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
    })
  })
})

describe('one image', () => {
  it('is had in any state, and absent for a 404', async () => {
    const server = await started(
      startSdcImgapi({ images: [imageV2(1, { manifest: { state: 'disabled', disabled: true } })] }),
    )
    const upstream = upstreamAt('imgapi', server.url)
    expect((await statementOf(upstream, 1)).manifest).toMatchObject({ uuid: uuid(1), state: 'disabled' })
    expect(await upstream.getImage(uuid(2), never)).toBeUndefined()
  })

  it.each([
    ['another image', imageV2(2).manifest],
    ['a list', [imageV2(1).manifest]],
    ['a manifest without a name', { ...imageV2(1).manifest, name: undefined }],
    ['nothing', null],
  ])('is refused when the answer is %s', async (_what, body) => {
    const server = await started(serve((_request, response) => answerJson(response, 200, body)))
    await expect(upstreamAt('imgapi', server.url).getImage(uuid(1), never)).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
    })
  })
})

describe('the file of an sdc-imgapi', () => {
  it('comes with its MD5, and from the start when the rest was asked for', async () => {
    const image = imageV2(1)
    const server = await started(startSdcImgapi({ images: [image] }))
    const upstream = upstreamAt('imgapi', server.url)
    const md5 = createHash('md5').update(image.files[0]!).digest('hex')
    for (const startBytes of [0, 500]) {
      const file = await fileOf(upstream, 1, { startBytes })
      // Its Etag is not quoted: no validator for If-Range.
      expect(file).toMatchObject({ startBytes: 0, totalBytes: 1000, contentMd5: { hex: md5 }, validator: undefined })
      expect(file.location).toBe(`${server.url}/images/${uuid(1)}/file`)
      expect(await buffer(file.body)).toEqual(image.files[0])
    }
    expect(server.requests.at(-1)!.headers.range).toBe('bytes=500-999')
  })

  it('that is shorter than it should be costs the stall limit', async () => {
    const image = imageV2(1)
    image.files[0] = image.files[0]!.subarray(0, 900)
    const server = await started(startSdcImgapi({ images: [image] }))
    const upstream = upstreamAt('imgapi', server.url, {
      timeouts: { connectMs: 5000, headersMs: 60_000, stallMs: 300 },
    })
    const { body } = await fileOf(upstream, 1)
    await expect(buffer(body)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
  })

  it('that is missing fails soon, though the body of the 500 never comes', async () => {
    const image = { ...imageV2(1), files: [undefined] }
    const server = await started(startSdcImgapi({ images: [image] }))
    const upstream = upstreamAt('imgapi', server.url, {
      timeouts: { connectMs: 5000, headersMs: 60_000, stallMs: 60_000 },
    })
    await expect(fileOf(upstream, 1)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
  })

  it('that is longer than it should be ends at its length and spoils no other answer', async () => {
    const image = imageV2(1)
    const promised = image.files[0]!
    image.files[0] = Buffer.concat([promised, Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}')])
    const server = await started(startSdcImgapi({ images: [image] }))
    const upstream = upstreamAt('imgapi', server.url)
    const { body } = await fileOf(upstream, 1)
    expect(await buffer(body)).toEqual(promised)
    expect((await statementOf(upstream, 1)).manifest.uuid).toBe(uuid(1))
  })

  it('may be one of several', async () => {
    const files = [Buffer.from('the first'), Buffer.from('the second')]
    const server = await started(startSdcImgapi({ images: [imageWithTwoFiles(1, files)] }))
    const { body } = await fileOf(upstreamAt('imgapi', server.url), 1, { fileIndex: 1 })
    expect((await buffer(body)).toString()).toBe('the second')
    expect(server.requests.at(-1)!.url).toBe(`/images/${uuid(1)}/file?index=1`)
  })
})

describe('dsapid as an IMGAPI', () => {
  it('lists everything whatever is asked, newest first, chunked', async () => {
    for (const count of [3, 1000, 1001, 2500]) {
      const images = range(count).map((number) => imageV2(number))
      const server = await started(startDsapid({ images }))
      const listing = await listOf(upstreamAt('imgapi', server.url))
      expect(listing.statements).toHaveLength(count)
      expect(listing.incomplete).toBeUndefined()
      expect(server.requests.length).toBeLessThanOrEqual(3)
    }
  })

  it('repeats what is wrong with its list, which is told once', async () => {
    const images = [...range(1200).map((number) => imageV2(number)), imageV2(0, { manifest: { uuid: 'none' } })]
    const server = await started(startDsapid({ images }))
    const listing = await listOf(upstreamAt('imgapi', server.url))
    expect(server.requests.length).toBeGreaterThan(1)
    expect(listing.setAside).toHaveLength(1)
    expect(listing.listedCount).toBe(1201)
  })

  it('may say an owner of "", states of its own, and dates with nine digits', async () => {
    const images = [
      imageV2(1, { manifest: { owner: '00000000-0000-0000-0000-000000000000', state: 'deprecated' } }),
      imageV2(2, { manifest: { state: 'nuked' } }),
    ]
    const server = await started(startDsapid({ images }))
    const upstream = upstreamAt('imgapi', server.url)
    const listing = await listOf(upstream)
    expect(listing.setAside).toEqual([])
    expect(listing.statements[0]!.manifest).toMatchObject({
      owner: '00000000-0000-0000-0000-000000000000',
      state: 'active',
    })
    expect(listing.statements[0]!.manifest.files[0]!.digests.map(({ algorithm }) => algorithm)).toEqual(['sha1', 'md5'])
    expect((await statementOf(upstream, 2)).manifest.state).toBe('unactivated')
  })

  it('says no with something that is no JSON but labelled so', async () => {
    const server = await started(startDsapid({ images: [] }))
    expect(await upstreamAt('imgapi', server.url).getImage(uuid(1), never)).toBeUndefined()
  })

  it('gives ranges, with the MD5 of the whole, which is not taken for that of the part', async () => {
    const image = imageV2(1)
    const server = await started(startDsapid({ images: [image] }))
    const file = await fileOf(upstreamAt('imgapi', server.url), 1, { startBytes: 400 })
    expect(file).toMatchObject({ startBytes: 400, totalBytes: 1000, contentMd5: undefined })
    expect(await buffer(file.body)).toEqual(image.files[0]!.subarray(400))
  })

  it('may send an empty Content-Md5', async () => {
    const server = await started(startDsapid({ images: [imageV2(1)], knowsMd5: false }))
    const file = await fileOf(upstreamAt('imgapi', server.url), 1)
    expect(file.contentMd5).toBeUndefined()
    file.body.destroy()
  })

  it.each([
    ['of another length', [Buffer.from('the first'), Buffer.from('the second')], 0],
    ['of the same length', [Buffer.from('file no. 1'), Buffer.from('file no. 2')], 0],
    ['the rest of it', [Buffer.from('the first'), Buffer.from('the second')], 4],
  ])('ignores ?index=, so the second file is found under its own name: %s', async (_what, files, startBytes) => {
    const server = await started(startDsapid({ images: [imageWithTwoFiles(1, files)] }))
    const { body } = await fileOf(upstreamAt('imgapi', server.url), 1, { fileIndex: 1, startBytes })
    expect((await buffer(body)).toString()).toBe(files[1]!.toString().slice(startBytes))
    expect(server.requests.at(-1)!.url).toBe(`/images/${uuid(1)}/file1`)
  })
})

describe('an icon', () => {
  const png = Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), Buffer.alloc(100)])
  const iconFrom = async (bytes: Buffer, headers: Record<string, string> = {}) => {
    const server = await started(serve((_request, response) => response.writeHead(200, headers).end(bytes)))
    return upstreamAt('imgapi', server.url).getIcon(uuid(1), never)
  }

  it('is what its bytes are', async () => {
    const server = await started(
      startSdcImgapi({ images: [{ ...imageV2(1), icon: { contentType: 'image/png', bytes: png } }, imageV2(2)] }),
    )
    const upstream = upstreamAt('imgapi', server.url)
    expect(await upstream.getIcon(uuid(1), never)).toEqual({ contentType: 'image/png', bytes: png })
    expect(await upstream.getIcon(uuid(2), never)).toBeUndefined()
    expect(await iconFrom(Buffer.from('GIF89a'), { 'content-type': 'text/html' })).toMatchObject({
      contentType: 'image/gif',
    })
    expect(await iconFrom(Buffer.from([0xff, 0xd8, 0xff, 0xe0]))).toMatchObject({ contentType: 'image/jpeg' })
  })

  it.each([
    ['a script', Buffer.from('<svg onload="alert(1)">'), { 'content-type': 'image/png' }],
    ['too large', Buffer.concat([png, Buffer.alloc(128 * 1024)]), {}],
    ['not what its Content-MD5 says', png, { 'content-md5': 'ofY3z5vjdjCYtkOuSvdPGg==' }],
  ])('is refused when it is %s', async (_what, bytes, headers) => {
    await expect(iconFrom(bytes, headers)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })
})
