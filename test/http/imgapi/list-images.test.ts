import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { IMGAPI_LIST } from '../../../src/http/imgapi/list-images.js'
import { ListBodies } from '../../../src/http/list-bodies.js'
import { serveMirror } from '../../support/imgapi-server.js'
import { MemoryMirror, wireOf } from '../../support/memory-mirror.js'
import { RawClient } from '../../support/raw-client.js'

const uuidOf = (place: number) => `aaaaaaaa-0000-4000-8000-${String(place).padStart(12, '0')}`
const description = 'Ein Abbild für SmartOS — with\nlines, "quotes" and ünïcode'

function fill(mirror: MemoryMirror, count: number): void {
  for (let place = 0; place < count; place += 1) {
    mirror.add(wireOf(uuidOf(place), Buffer.from('x'), { description, tags: { place } }))
  }
}

async function listOf(mirror: MemoryMirror) {
  const { manifests } = await mirror.listImages({ name: undefined, limit: undefined } as never)
  return manifests.map(({ json }) => JSON.parse(json))
}

describe('GET /images', () => {
  it.each([0, 1, 63, 64, 65, 200])('is the JSON of all %d images, indented by two', async (count) => {
    const { url, mirror } = await serveMirror()
    fill(mirror, count)
    const response = await fetch(`${url}/images`, { headers: { 'Accept-Encoding': 'identity' } })
    const text = await response.text()
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(response.headers.get('content-length')).toBe(String(Buffer.byteLength(text)))
    expect(response.headers.get('content-md5')).toBeNull()
    expect(text).toBe(JSON.stringify(await listOf(mirror), null, 2))
  })

  it('has a weak tag that answers 304 until the list changes', async () => {
    const { url, mirror } = await serveMirror()
    fill(mirror, 3)
    const first = await fetch(`${url}/images`)
    const tag = first.headers.get('etag') ?? ''
    expect(tag).toMatch(/^W\/"[0-9a-f]{40}"$/)
    const again = await fetch(`${url}/images`, { headers: { 'If-None-Match': tag } })
    expect(again.status).toBe(304)
    expect(again.headers.get('etag')).toBe(tag)
    mirror.add(wireOf(uuidOf(99), Buffer.from('x')))
    const changed = await fetch(`${url}/images`, { headers: { 'If-None-Match': tag } })
    expect(changed.status).toBe(200)
    expect(changed.headers.get('etag')).not.toBe(tag)
  })

  it.each([
    ['gzip', gunzipSync],
    ['br', brotliDecompressSync],
  ] as const)('travels as %s when asked to', async (encoding, unpack) => {
    const { url, mirror } = await serveMirror()
    fill(mirror, 200)
    for (const _run of ['rendered', 'from the cache']) {
      const client = await RawClient.to(url)
      client.send('GET /images HTTP/1.1', 'Host: x', `Accept-Encoding: ${encoding}`, 'Connection: close', '', '')
      const text = await client.closed()
      const [head = '', ...rest] = text.split('\r\n\r\n')
      expect(head).toContain(`Content-Encoding: ${encoding}`)
      expect(head).toContain('Vary: Accept-Encoding')
      const body = Buffer.from(rest.join('\r\n\r\n'), 'latin1')
      expect(head).toContain(`Content-Length: ${body.length}`)
      expect(JSON.parse(unpack(body).toString())).toEqual(await listOf(mirror))
    }
  })

  it('is described by HEAD with the length GET would have', async () => {
    const { url, mirror } = await serveMirror()
    fill(mirror, 100)
    const plain = { headers: { 'Accept-Encoding': 'identity' } }
    const got = await fetch(`${url}/images`, plain)
    const head = await fetch(`${url}/images`, { ...plain, method: 'HEAD' })
    expect(head.status).toBe(200)
    for (const name of ['content-length', 'etag', 'content-type']) {
      expect(head.headers.get(name)).toBe(got.headers.get(name))
    }
    await got.text()
  })

  it.each([
    ['limit=abc', 'limit'],
    ['state=nosuch', 'state'],
    ['public=maybe', 'public'],
    ['marker=xyz', 'marker'],
  ])('?%s is refused by its field', async (query, field) => {
    const { url } = await serveMirror()
    const response = await fetch(`${url}/images?${query}`)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ code: 'InvalidParameter', errors: [{ field }] })
  })
})

describe('list bodies', () => {
  const LARGE = 100_000

  it('render once for everybody who asks', async () => {
    const { url, mirror } = await serveMirror()
    fill(mirror, 300)
    const texts = await Promise.all(Array.from({ length: 20 }, async () => (await fetch(`${url}/images`)).text()))
    expect(new Set(texts).size).toBe(1)
  })

  it('are found again for an equal query at an equal revision, and only then', async () => {
    const mirror = new MemoryMirror()
    fill(mirror, 10)
    const list = await mirror.listImages({} as never)
    const bodies = new ListBodies()
    const body = await bodies.of(IMGAPI_LIST, 'all', list)
    expect(await bodies.of(IMGAPI_LIST, 'all', list)).toBe(body)
    expect(await bodies.of(IMGAPI_LIST, 'others', list)).not.toBe(body)
    const newer = await bodies.of(IMGAPI_LIST, 'all', { ...list, revision: list.revision + 1 })
    expect(newer).not.toBe(body)
    expect(await bodies.of(IMGAPI_LIST, 'all', list)).not.toBe(newer) // asked before, rendered late
  })

  it('that the cache has let go of are sent all the same, to the same bytes', async () => {
    const mirror = new MemoryMirror()
    fill(mirror, 300)
    const list = await mirror.listImages({} as never)
    const bodies = new ListBodies(1000) // holds nothing
    const body = await bodies.of(IMGAPI_LIST, 'all', list)
    const sent: Buffer[] = []
    for await (const slice of bodies.bytesOf(body, list)) sent.push(slice)
    const text = Buffer.concat(sent)
    expect(text.length).toBe(body.sizeBytes)
    expect(JSON.parse(text.toString())).toEqual(await listOf(mirror))
  })

  it('of 100,000 images let everybody else have their turn', { timeout: 120_000 }, async () => {
    const mirror = new MemoryMirror()
    fill(mirror, LARGE)
    const list = await mirror.listImages({} as never)
    const bodies = new ListBodies()
    let turns = 0
    let isOver = false
    const others = () => {
      turns += 1
      if (!isOver) setImmediate(others)
    }
    others()
    const body = await bodies.of(IMGAPI_LIST, 'all', list)
    isOver = true
    expect(body.sizeBytes).toBeGreaterThan(LARGE * 500)
    expect(turns).toBeGreaterThan(LARGE / 100)
  })

  it('made at once are bounded in number, and short ones pass a long one', async () => {
    const mirror = new MemoryMirror()
    fill(mirror, 20_000)
    const list = await mirror.listImages({} as never)
    const short = { ...list, manifests: list.manifests.slice(0, 10) }
    const bodies = new ListBodies()
    const done: string[] = []
    const make = async (key: string, of: typeof list) => {
      await bodies.of(IMGAPI_LIST, key, of)
      done.push(key)
    }
    await Promise.all([make('long', list), ...Array.from({ length: 20 }, (_, at) => make(`short ${at}`, short))])
    expect(done).toHaveLength(21)
    expect(done.at(-1)).toBe('long')
  })

  it('compressed are bounded in number, and plain beyond', async () => {
    const mirror = new MemoryMirror()
    fill(mirror, 100)
    const list = await mirror.listImages({} as never)
    const bodies = new ListBodies()
    const body = await bodies.of(IMGAPI_LIST, 'all', list)
    const taken = await Promise.all(Array.from({ length: 33 }, () => bodies.compressed(body, list, 'gzip')))
    expect(taken.filter((each) => each === undefined)).toHaveLength(1)
    taken[0]?.release()
    taken[0]?.release() // once is enough
    expect(await bodies.compressed(body, list, 'gzip')).toBeDefined()
    expect(await bodies.compressed(body, list, 'gzip')).toBeUndefined()
  })
})
