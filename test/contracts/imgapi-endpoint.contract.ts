import { createHash, randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { makeImage, sha1, uuidOf } from '../support/made-up-images.js'
import type { ServedImage } from '../support/upstreams/serve.js'

const OWNER = '352971aa-31ba-496c-9ade-a379feaecd52'
const PNG = Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), randomBytes(200)])

const published = (day: number) => `2024-03-0${day}T12:00:00.000Z`
const base = makeImage({ name: 'base-64', version: '15.4.1', published_at: published(1) }, randomBytes(300_000))
const leaf = makeImage({
  name: 'web',
  origin: uuidOf(base),
  published_at: published(2),
  tags: { role: 'www', tier: 2 },
})
const lx = makeImage({
  name: 'debian-12',
  version: '20240301',
  os: 'linux',
  type: 'lx-dataset',
  published_at: published(3),
})
const kvm = makeImage({
  name: 'debian-kvm',
  os: 'linux',
  type: 'zvol',
  published_at: published(3),
  nic_driver: 'virtio',
  disk_driver: 'virtio',
  cpu_type: 'host',
  image_size: 10240,
})
const withIcon = {
  ...makeImage({ name: 'pretty', icon: true, published_at: published(4) }),
  icon: { contentType: 'image/png', bytes: PNG },
}
const owned = makeImage({ name: 'owned', owner: OWNER, published_at: published(5) }, randomBytes(2_500_000))
const inactive = makeImage({ name: 'inactive', state: 'disabled', disabled: true, published_at: published(6) })

/** Images for the server at the far end of whatever is tested. Every file is asked for cold in exactly one test. */
export const contractImages: ServedImage[] = [base, leaf, lx, kvm, withIcon, owned, inactive]

/**
 * What any client of an IMGAPI endpoint can see of it, with `contractImages` behind it, however far behind.
 * `start` is called once; it answers when the catalogue has arrived.
 */
export function imgapiEndpointContract(name: string, start: () => Promise<{ url: string }>) {
  describe(`${name} as an IMGAPI endpoint`, () => {
    let url = ''
    beforeAll(async () => {
      url = (await start()).url
    })
    const get = async (path: string, headers: Record<string, string> = {}, method = 'GET') => {
      const response = await fetch(url + path, { headers, method })
      const bytes = Buffer.from(await response.arrayBuffer())
      return { status: response.status, headers: response.headers, bytes, json: () => JSON.parse(bytes.toString()) }
    }
    const names = async (query: string): Promise<string[]> =>
      (await get(`/images${query}`)).json().map((manifest: { name: string }) => manifest.name)
    /** In the order of publication; images of one instant by uuid. */
    const twins = [lx, kvm]
      .sort((a, b) => (uuidOf(a) < uuidOf(b) ? -1 : 1))
      .map(({ manifest }) => manifest.name as string)
    const all = ['base-64', 'web', ...twins, 'pretty', 'owned']

    it('answers /ping as imgadm wants it', async () => {
      const { status, headers, json } = await get('/ping', { 'x-request-id': 'contract-1' })
      expect(status).toBe(200)
      expect(json()).toMatchObject({ ping: 'pong', imgapi: true })
      expect(headers.get('x-request-id')).toBe('contract-1')
    })

    it('has no channels', async () => {
      expect((await get('/channels')).status).toBe(404)
    })

    describe('GET /images', () => {
      it('lists all active images, oldest first, with whole manifests', async () => {
        const { status, headers, json } = await get('/images')
        expect(status).toBe(200)
        expect(headers.get('content-type')).toBe('application/json')
        expect(json().map((manifest: { name: string }) => manifest.name)).toEqual(all)
        expect(json()[0]).toEqual(base.manifest)
      })

      it.each([
        ['?name=web', ['web']],
        ['?name=~debian', 'twins'],
        ['?version=~15.4', ['base-64']],
        ['?os=linux', 'twins'],
        ['?type=lx-dataset', ['debian-12']],
        ['?type=!zone-dataset', 'twins'],
        ['?os=linux&type=zvol', ['debian-kvm']],
        [`?owner=${OWNER}`, ['owned']],
        ['?tag.role=www', ['web']],
        ['?tag.tier=2', ['web']],
        ['?tag.role=db', []],
        ['?public=true&name=web', ['web']],
        ['?public=false', []],
        ['?state=all', 'all'],
        ['?state=disabled', []],
        ['?name=nosuch', []],
        ['?limit=2', ['base-64', 'web']],
        ['?sort=published_at.desc&limit=1', ['owned']],
      ])('understands %s', async (query, expected) => {
        expect(await names(query)).toEqual(expected === 'twins' ? twins : expected === 'all' ? all : expected)
      })

      it('pages by inclusive markers through everything, none missing, none twice', async () => {
        const seen: string[] = []
        for (let marker = ''; ; ) {
          const page = (await get(`/images?limit=3${marker && `&marker=${marker}`}`)).json() as {
            uuid: string
            name: string
          }[]
          const fresh = page.filter(({ name: each }) => !seen.includes(each))
          if (fresh.length === 0) break
          if (marker) expect(page[0]!.uuid).toBe(marker)
          seen.push(...fresh.map(({ name: each }) => each))
          marker = page.at(-1)!.uuid
        }
        expect(seen).toEqual(all)
      })

      it('takes a date as a marker', async () => {
        expect(await names(`?marker=${published(4)}`)).toEqual(['pretty', 'owned'])
      })

      it('does not know every marker, nor every parameter', async () => {
        const unknown = await get('/images?marker=00000000-1111-4222-8333-444444444444')
        expect(unknown.status).toBe(404)
        expect(unknown.json().code).toBe('ResourceNotFound')
        const invalid = await get('/images?limit=some')
        expect(invalid.status).toBe(422)
        expect(invalid.json()).toMatchObject({ code: 'InvalidParameter', errors: [{ field: 'limit' }] })
      })

      it('has a tag that spares the second transfer', async () => {
        const { headers } = await get('/images')
        expect((await get('/images', { 'if-none-match': headers.get('etag')! })).status).toBe(304)
      })

      it('answers HEAD with the headers of GET', async () => {
        const [whole, head] = [
          await get('/images', { 'accept-encoding': 'identity' }),
          await get('/images', { 'accept-encoding': 'identity' }, 'HEAD'),
        ]
        expect(head.bytes).toHaveLength(0)
        expect(head.headers.get('content-length')).toBe(String(whole.bytes.length))
        expect(head.headers.get('etag')).toBe(whole.headers.get('etag'))
      })
    })

    describe('GET /images/:uuid', () => {
      it.each(contractImages.map((image) => [image.manifest.name, image] as const))(
        'shows %s',
        async (_name, image) => {
          const { status, json } = await get(`/images/${uuidOf(image)}`)
          expect(status).toBe(200)
          expect(json()).toEqual(image.manifest)
        },
      )

      it('has a tag that spares the second transfer', async () => {
        const path = `/images/${uuidOf(leaf)}`
        const tag = (await get(path)).headers.get('etag')!
        expect((await get(path, { 'if-none-match': tag })).status).toBe(304)
        expect((await get(path, { 'if-none-match': '"other"' })).status).toBe(200)
      })

      it('says 404 of an unknown image, in words clients understand', async () => {
        for (const part of ['', '/file', '/icon']) {
          const { status, headers, json } = await get(`/images/00000000-1111-4222-8333-444444444444${part}`)
          expect(status).toBe(404)
          expect(headers.get('content-type')).toBe('application/json')
          expect(json()).toMatchObject({ code: 'ResourceNotFound', message: expect.stringContaining('not found') })
        }
      })

      it('says 404 of a path that is none, and 405 of a method that is none', async () => {
        expect((await get('/images/not-a-uuid')).status).toBe(404)
        expect((await get(`/images/${uuidOf(leaf)}`, {}, 'DELETE')).status).toBe(405)
      })
    })

    describe('GET /images/:uuid/file', () => {
      const fileOf = (image: ServedImage) => `/images/${uuidOf(image)}/file`
      /** Asks until it is held, which is a moment after its last byte. */
      const warm = async (image: ServedImage) => {
        for (;;) {
          await get(fileOf(image))
          if ((await get(fileOf(image), {}, 'HEAD')).headers.has('etag')) return
        }
      }

      it.each([
        ['a base', base],
        ['an incremental image', leaf],
        ['an inactive one', inactive],
      ])('gives the file of %s whole, with its length, plain', async (_what, image) => {
        const { status, headers, bytes } = await get(fileOf(image), { 'accept-encoding': 'gzip, br' })
        expect(status).toBe(200)
        expect(headers.get('content-type')).toBe('application/octet-stream')
        expect(headers.get('content-length')).toBe(String(image.files[0]!.length))
        expect(headers.get('content-encoding')).toBeNull()
        expect(sha1(bytes)).toBe(sha1(image.files[0]!))
      })

      it('gives parts of a file that nobody has fetched yet', async () => {
        const file = owned.files[0]!
        const { status, headers, bytes } = await get(fileOf(owned), { range: 'bytes=1000000-1999999' })
        expect(status).toBe(206)
        expect(headers.get('content-range')).toBe(`bytes 1000000-1999999/${file.length}`)
        expect(bytes.equals(file.subarray(1_000_000, 2_000_000))).toBe(true)
      })

      it.each([
        ['bytes=0-0', 0, 1],
        ['bytes=99000-', 99_000, 100_000],
        ['bytes=-10', 99_990, 100_000],
        ['bytes=5-999999', 5, 100_000],
      ])('gives %s of a held file', async (range, start, end) => {
        await warm(lx)
        const { status, headers, bytes } = await get(fileOf(lx), { range })
        expect(status).toBe(206)
        expect(headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/100000`)
        expect(bytes.equals(lx.files[0]!.subarray(start, end))).toBe(true)
      })

      it('gives several parts at once', async () => {
        await warm(lx)
        const { status, headers, bytes } = await get(fileOf(lx), { range: 'bytes=0-9,500-509' })
        expect(status).toBe(206)
        const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(headers.get('content-type')!)![1]!
        expect(bytes.toString('latin1').split(`--${boundary}`)).toHaveLength(4)
        for (const start of [0, 500]) expect(bytes.includes(lx.files[0]!.subarray(start, start + 10))).toBe(true)
      })

      it('refuses a part behind the end', async () => {
        const { status, headers } = await get(fileOf(lx), { range: 'bytes=100000-' })
        expect(status).toBe(416)
        expect(headers.get('content-range')).toBe('bytes */100000')
      })

      it('is described by HEAD, and once held spares what a client has', async () => {
        await warm(kvm)
        const head = await get(fileOf(kvm), {}, 'HEAD')
        expect(head.status).toBe(200)
        expect(head.bytes).toHaveLength(0)
        expect(head.headers.get('content-length')).toBe('100000')
        expect(head.headers.get('accept-ranges')).toBe('bytes')
        expect(head.headers.get('content-md5')).toBe(createHash('md5').update(kvm.files[0]!).digest('base64'))
        const tag = head.headers.get('etag')!
        expect(tag).toBe(`"${sha1(kvm.files[0]!)}"`)
        const modified = head.headers.get('last-modified')!
        expect((await get(fileOf(kvm), { 'if-none-match': tag })).status).toBe(304)
        expect((await get(fileOf(kvm), { 'if-modified-since': modified })).status).toBe(304)
        expect((await get(fileOf(kvm), { 'if-match': '"other"' })).status).toBe(412)
        expect((await get(fileOf(kvm), { range: 'bytes=0-9', 'if-range': tag })).status).toBe(206)
        expect((await get(fileOf(kvm), { range: 'bytes=0-9', 'if-range': '"other"' })).status).toBe(200)
      })

      it('has no second file where there is one', async () => {
        const { status, json } = await get(`${fileOf(lx)}?index=1`)
        expect(status).toBe(404)
        expect(json().code).toBe('ResourceNotFound')
      })
    })

    it('gives icons, and says 404 where there is none', async () => {
      const { status, headers, bytes } = await get(`/images/${uuidOf(withIcon)}/icon`)
      expect(status).toBe(200)
      expect(headers.get('content-type')).toBe('image/png')
      expect(headers.get('content-md5')).toBe(createHash('md5').update(PNG).digest('base64'))
      expect(bytes.equals(PNG)).toBe(true)
      expect((await get(`/images/${uuidOf(base)}/icon`)).status).toBe(404)
    })
  })
}
