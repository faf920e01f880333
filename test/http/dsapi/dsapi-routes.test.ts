import { createHash } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { serveMirror } from '../../support/imgapi-server.js'
import { KEPT_MS, wireOf } from '../../support/memory-mirror.js'
import { RawClient, splitResponse } from '../../support/raw-client.js'

const uuidOf = (place: number) => `aaaaaaaa-0000-4000-8000-${String(place).padStart(12, '0')}`
const UUID = uuidOf(1)
const BYTES = Buffer.from('payload of an image')

const jsonOf = async (url: string) => (await fetch(url)).json()

async function raw(url: string, ...lines: string[]) {
  const client = await RawClient.to(url)
  client.send(...lines, 'Connection: close', '', '')
  return splitResponse(await client.closed())
}

describe('GET /datasets', () => {
  it.each(['/datasets', '/datasets/', '/datasets?limit=1&marker=xyz&state=all'])(
    '%s is every image that DSAPI clients can install, one manifest to a line',
    async (path) => {
      const { url, mirror } = await serveMirror()
      mirror.add(wireOf(uuidOf(1), BYTES), [BYTES])
      mirror.add(wireOf(uuidOf(2), BYTES, { type: 'zvol' }), [BYTES])
      mirror.add(wireOf(uuidOf(3), BYTES, { origin: UUID }), [BYTES])
      mirror.add(wireOf(uuidOf(4), BYTES, { type: 'docker' }), [BYTES])
      mirror.add(wireOf(uuidOf(5), BYTES, { type: 'lx-dataset' }), [BYTES])
      mirror.add(wireOf(uuidOf(6), BYTES, { state: 'disabled', disabled: true }), [BYTES])
      const response = await fetch(url + path)
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toBe('application/json')
      const text = await response.text()
      const list = JSON.parse(text) as { uuid: string }[]
      expect(list.map(({ uuid }) => uuid)).toEqual([uuidOf(1), uuidOf(2)])
      expect(text.split('\n').slice(1, -1)).toEqual(
        list.map((dataset, at) => JSON.stringify(dataset) + (at < 1 ? ',' : '')),
      )
      expect(list).toEqual([await jsonOf(`${url}/datasets/${uuidOf(1)}`), await jsonOf(`${url}/datasets/${uuidOf(2)}`)])
    },
  )

  it('has incremental and other images too when it is told to', async () => {
    const { url, mirror } = await serveMirror({}, { dsapi: { list: 'all', creatorName: 'acme' } })
    mirror.add(wireOf(uuidOf(1), BYTES), [BYTES])
    mirror.add(wireOf(uuidOf(3), BYTES, { origin: UUID }), [BYTES])
    mirror.add(wireOf(uuidOf(5), BYTES, { type: 'lx-dataset' }), [BYTES])
    const list = (await jsonOf(`${url}/datasets`)) as { uuid: string; urn: string }[]
    expect(list.map(({ uuid }) => uuid)).toEqual([1, 3, 5].map(uuidOf))
    expect(list[0]?.urn).toBe('acme:acme:base:1.0.0')
  })

  it('is an empty list when there is nothing', async () => {
    const { url } = await serveMirror()
    expect(await (await fetch(`${url}/datasets`)).text()).toBe('[]')
  })

  it('finds what is restricted to an account', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(uuidOf(1), BYTES, { public: false, acl: [uuidOf(8), uuidOf(9)] }), [BYTES])
    mirror.add(wireOf(uuidOf(2), BYTES, { acl: [uuidOf(8)] }), [BYTES])
    const uuids = async (account: string) =>
      ((await jsonOf(`${url}/datasets?restricted_to_uuid=${account}`)) as { uuid: string }[]).map(({ uuid }) => uuid)
    expect(await uuids(uuidOf(8))).toEqual([uuidOf(1)])
    expect(await uuids(uuidOf(9))).toEqual([])
  })

  it('has a weak tag, which changes with the list and with the host whose urls are in it', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, BYTES), [BYTES])
    const tagFor = async (host: string, ...more: string[]) => {
      const { head } = await raw(url, 'GET /datasets HTTP/1.1', `Host: ${host}`, ...more)
      return { status: Number(head.split(' ')[1]), tag: /etag: (.*)/i.exec(head)?.[1] ?? '' }
    }
    const first = await tagFor('one')
    expect(first.tag).toMatch(/^W\/"[0-9a-f]{40}"$/)
    expect(await tagFor('one', `If-None-Match: ${first.tag}`)).toEqual({ status: 304, tag: first.tag })
    expect((await tagFor('other', `If-None-Match: ${first.tag}`)).status).toBe(200)
    mirror.add(wireOf(uuidOf(2), BYTES), [BYTES])
    expect((await tagFor('one', `If-None-Match: ${first.tag}`)).status).toBe(200)
  })

  it('travels compressed when asked to', async () => {
    const { url, mirror } = await serveMirror()
    for (let place = 0; place < 200; place += 1) mirror.add(wireOf(uuidOf(place), BYTES), [BYTES])
    const { head, body } = await raw(url, 'GET /datasets HTTP/1.1', 'Host: x', 'Accept-Encoding: gzip')
    expect(head).toContain('Content-Encoding: gzip')
    expect(JSON.parse(gunzipSync(Buffer.from(body, 'latin1')).toString())).toHaveLength(200)
  })

  it('is the same for all who ask at once', async () => {
    const { url, mirror } = await serveMirror()
    for (let place = 0; place < 5_000; place += 1) mirror.add(wireOf(uuidOf(place), BYTES), [BYTES])
    const texts = await Promise.all([1, 2, 3].map(async () => (await fetch(`${url}/datasets`)).text()))
    expect(new Set(texts).size).toBe(1)
  })
})

describe('GET /datasets/:id', () => {
  it('is the manifest in both versions, with a tag', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, BYTES, { origin: uuidOf(2) }), [BYTES])
    const response = await fetch(`${url}/datasets/${UUID}`)
    const text = await response.text()
    expect(response.headers.get('etag')).toBe(`"${createHash('sha1').update(text).digest('hex')}"`)
    expect(JSON.parse(text)).toMatchObject({
      v: 2,
      uuid: UUID,
      state: 'active',
      creator_uuid: '00000000-0000-0000-0000-000000000000',
      creator_name: 'sdc',
      platform_type: 'smartos',
      urn: 'sdc:sdc:base:1.0.0',
      origin: uuidOf(2),
      files: [{ path: 'base-1.0.0.zfs.gz', url: `${url}/datasets/${UUID}/base-1.0.0.zfs.gz`, compression: 'gzip' }],
    })
  })

  it.each([
    ['sdc:sdc:base:2.0.0', 3],
    ['sdc%3Asdc%3Abase%3A2.0.0', 3],
    ['my:own:base:1.0.0', 1],
    ['sdc:sdc:base:1.0.0', 2],
    ['other:cloud:base:1.0.0', 2],
    ['base:1.0.0', 2],
    ['cloud:creator:base', 4],
    ['base', 4],
    ['with%20blank:1%2F2', 5],
  ])('%s is known by name', async (id, place) => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(uuidOf(1), BYTES, { urn: 'my:own:base:1.0.0' }), [BYTES])
    mirror.add(wireOf(uuidOf(2), BYTES), [BYTES])
    mirror.add(wireOf(uuidOf(3), BYTES, { version: '2.0.0' }), [BYTES])
    mirror.add(wireOf(uuidOf(4), BYTES, { version: '3.0.0', urn: 'my:own:base:3.0.0' }), [BYTES])
    mirror.add(wireOf(uuidOf(5), BYTES, { name: 'with blank', version: '1/2' }), [BYTES])
    expect(await jsonOf(`${url}/datasets/${id}`)).toMatchObject({ uuid: uuidOf(place) })
    const { files } = (await jsonOf(`${url}/datasets/${id}`)) as { files: { path: string }[] }
    const file = await fetch(`${url}/datasets/${id}/${encodeURIComponent(files[0]!.path)}`)
    expect(await file.text()).toBe(BYTES.toString())
  })

  it.each(['nosuch', 'a:b:c:d:e', ':', '::', '~as', uuidOf(99), UUID.toUpperCase(), 'x'.repeat(2000), '..', '%00'])(
    '%s is nobody',
    async (id) => {
      const { url, mirror } = await serveMirror()
      mirror.add(wireOf(UUID, BYTES), [BYTES])
      const { head, body } = await raw(url, `GET /datasets/${id} HTTP/1.1`, 'Host: x')
      expect(head).toContain('HTTP/1.1 404')
      expect(head).toContain('Content-Type: application/json\r\n')
      expect(JSON.parse(body).code).toBe('ResourceNotFound')
      expect(body.length).toBeLessThan(3000)
    },
  )
})

describe('GET /datasets/:id/:path', () => {
  const path = `/datasets/${UUID}/base-1.0.0.zfs.gz`

  it('is the file, with its length and checksums', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, BYTES), [BYTES])
    const response = await fetch(url + path)
    expect(Buffer.from(await response.arrayBuffer()).equals(BYTES)).toBe(true)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': String(BYTES.length),
      'content-md5': createHash('md5').update(BYTES).digest('base64'),
      etag: `"${createHash('sha1').update(BYTES).digest('hex')}"`,
      'last-modified': new Date(KEPT_MS).toUTCString(),
      'accept-ranges': 'bytes',
    })
  })

  it('is described by HEAD, given in parts, and not sent twice', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, BYTES), [BYTES])
    const head = await fetch(url + path, { method: 'HEAD' })
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(BYTES.length)])
    const part = await fetch(url + path, { headers: { Range: 'bytes=8-9' } })
    expect([part.status, await part.text()]).toEqual([206, 'of'])
    const again = await fetch(url + path, { headers: { 'If-None-Match': head.headers.get('etag') ?? '' } })
    expect(again.status).toBe(304)
  })

  it('answers an absolute-form target, whatever host it names', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, BYTES), [BYTES])
    const { head, body } = await raw(url, `GET http://other.host${path} HTTP/1.1`, 'Host: x')
    expect(head).toContain('HTTP/1.1 200')
    expect(body).toBe(BYTES.toString())
  })

  it('finds the second file by its own name', async () => {
    const { url, mirror } = await serveMirror()
    const second = Buffer.from('another')
    const wire = wireOf(UUID, BYTES)
    const files = [...(wire.files as object[]), { sha1: 'x', size: second.length, compression: 'none' }]
    mirror.add({ ...wire, files }, [BYTES, second])
    expect(await (await fetch(`${url}/datasets/${UUID}/base-1.0.0-1.zfs`)).text()).toBe('another')
  })

  it.each(['nosuch', 'base-1.0.0.zfs', 'manifest.json', '..%2f..%2fetc%2fpasswd', 'base-1.0.0.zfs.gz/', '%00'])(
    '%s is no file',
    async (name) => {
      const { url, mirror } = await serveMirror()
      mirror.add(wireOf(UUID, BYTES), [BYTES])
      const { head } = await raw(url, `GET /datasets/${UUID}/${name} HTTP/1.1`, 'Host: x')
      expect(head).toContain('HTTP/1.1 404')
    },
  )

  it('is cut short of its length when the bytes turn out to be wrong', async () => {
    const { url, mirror } = await serveMirror()
    const { conduct } = mirror.add(wireOf(UUID, BYTES), [BYTES])
    Object.assign(conduct, { isHeld: false, failsAfterBytes: 5 })
    await expect(fetch(url + path).then((response) => response.text())).rejects.toThrow()
  })
})

describe('file urls', () => {
  async function urlFor(options: Parameters<typeof serveMirror>[1], ...headers: string[]): Promise<string> {
    const { url, mirror } = await serveMirror({}, options)
    mirror.add(wireOf(UUID, BYTES), [BYTES])
    const { body } = await raw(url, `GET /datasets/${UUID} HTTP/1.1`, ...headers)
    return JSON.parse(body).files[0].url.replace(`/datasets/${UUID}/base-1.0.0.zfs.gz`, '')
  }

  const forwarded = ['Host: inner', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: images.example.com, second']
  const publicUrl = new URL('https://public.example.com/mirror/')

  it.each([
    ['the host that was asked', undefined, ['Host: Mirror.Example.com:8080'], 'http://mirror.example.com:8080'],
    ['an IPv6 host', undefined, ['Host: [::1]:8080'], 'http://[::1]:8080'],
    ['nobody, when the host is no host', undefined, ['Host: "><script>'], ''],
    ['nobody, when the host has a path', undefined, ['Host: a/b'], ''],
    ['nobody, when the host has credentials', undefined, ['Host: a:b@c'], ''],
    ['the host that was asked, whatever strangers forward', undefined, forwarded, 'http://inner'],
    ['what a trusted proxy forwards', { trustedProxies: ['127.0.0.0/8'] }, forwarded, 'https://images.example.com'],
    [
      'nobody, when a proxy forwards nonsense',
      { trustedProxies: ['127.0.0.1'] },
      ['Host: x', 'X-Forwarded-Proto: ftp'],
      '',
    ],
    [
      'the host that was asked, when another proxy is trusted',
      { trustedProxies: ['10.0.0.0/8'] },
      forwarded,
      'http://inner',
    ],
    [
      'the configured url, whoever says what',
      { publicUrl, trustedProxies: ['127.0.0.1'] },
      forwarded,
      'https://public.example.com/mirror',
    ],
  ])('lead to %s', async (_what, address, headers, base) => {
    expect(await urlFor({ address }, ...headers)).toBe(base)
  })
})
