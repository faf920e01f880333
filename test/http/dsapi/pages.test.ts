import { describe, expect, it } from 'vitest'
import { html } from '../../../src/parts/html.js'
import { serveMirror } from '../../support/imgapi-server.js'
import { wireOf } from '../../support/memory-mirror.js'

const uuidOf = (place: number) => `aaaaaaaa-0000-4000-8000-${String(place).padStart(12, '0')}`
const UUID = uuidOf(1)
const BYTES = Buffer.from('x'.repeat(2000))
/** As Firefox sends it. */
const BROWSER = { Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }

const pageOf = async (url: string) => {
  const response = await fetch(url, { headers: BROWSER })
  return { response, text: await response.text() }
}
const linksOf = (text: string) =>
  [...text.matchAll(/href="([^"]*)"/g)].map(([, href]) => href!.replaceAll('&amp;', '&'))

describe('the poor man’s view', () => {
  it('is for those who prefer HTML; everybody else gets JSON', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, BYTES), [BYTES])
    for (const path of ['/', '/datasets', '/datasets/', `/datasets/${UUID}/`]) {
      const { response } = await pageOf(url + path)
      expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
      expect(response.headers.get('vary')).toContain('Accept')
      for (const Accept of ['*/*', 'application/json', 'image/png', 'application/json, text/html;q=0.5']) {
        const other = await fetch(url + path, { headers: { Accept } })
        expect([other.status, other.headers.get('content-type')]).toEqual([200, 'application/json'])
        await other.json()
      }
    }
    const manifest = await fetch(`${url}/datasets/${UUID}`, { headers: BROWSER })
    expect(manifest.headers.get('content-type')).toBe('application/json')
  })

  it.each(['/', '/datasets', '/datasets/'])('leads from %s to every manifest and file', async (start) => {
    const { url, mirror } = await serveMirror()
    for (const place of [1, 2]) mirror.add(wireOf(uuidOf(place), BYTES, { name: `a b/${place}` }), [BYTES])
    const seen = new Map<string, string>()
    const queue = [url + start]
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      if (seen.has(next)) continue
      const { response, text } = await pageOf(next)
      expect(response.status, next).toBe(200)
      seen.set(next, text)
      if (response.headers.get('content-type')?.startsWith('text/html')) {
        queue.push(...linksOf(text).map((href) => new URL(href, next).href))
      }
    }
    for (const place of [1, 2]) {
      expect(JSON.parse(seen.get(`${url}/datasets/${uuidOf(place)}`) ?? '')).toMatchObject({ uuid: uuidOf(place) })
      expect(seen.get(`${url}/datasets/${uuidOf(place)}/a_b_${place}-1.0.0.zfs.gz`)).toBe(BYTES.toString())
    }
  })

  it('works below a path that a proxy puts before ours', async () => {
    const { url, mirror } = await serveMirror()
    mirror.add(wireOf(UUID, BYTES, { origin: uuidOf(2) }), [BYTES])
    for (const path of ['/', '/datasets', '/datasets/', `/datasets/${UUID}/`]) {
      const { text } = await pageOf(url + path)
      expect(linksOf(text).filter((href) => href.startsWith('/') || href.startsWith('http'))).toEqual([])
    }
  })

  it('lets nothing that images say become more than text', async () => {
    const { url, mirror } = await serveMirror({}, { dsapi: { list: 'all', creatorName: 'sdc' } })
    const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;`
    const all = {
      name: evil,
      version: evil,
      description: evil,
      os: evil,
      type: evil,
      urn: evil,
      tags: { [evil]: evil },
    }
    mirror.add(wireOf(UUID, BYTES, { ...all, published_at: evil, homepage: `javascript:alert(1)//${evil}` }), [BYTES])
    for (const path of [
      '/datasets/',
      `/datasets/${UUID}/`,
      `/datasets?search=${encodeURIComponent(evil)}&${evil}=1&page=0`,
    ]) {
      const { response, text } = await pageOf(url + path)
      expect(text).toContain('&lt;script&gt;')
      const tags = new Set([...text.matchAll(/<([a-z0-9]+)/g)].map(([, tag]) => tag))
      for (const tag of ['script', 'img']) expect([...tags]).not.toContain(tag)
      expect(text).not.toMatch(/href="javascript:/i)
      expect(text.replace(/"[^"]*"/g, '""')).not.toMatch(/<[^>]*\sonerror=/)
      expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
      expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    }
  })

  it('shows many images page by page, the newest first, and finds them by name and uuid', async () => {
    const { url, mirror } = await serveMirror()
    for (let place = 0; place < 250; place += 1)
      mirror.add(wireOf(uuidOf(place), BYTES, { version: `1.0.${place}` }), [BYTES])
    const uuidsOn = async (query: string) => {
      const { text } = await pageOf(`${url}/datasets/${query}`)
      return {
        uuids: linksOf(text).flatMap((href) => /^([0-9a-f-]{36})\/$/.exec(href)?.[1] ?? []),
        links: linksOf(text),
      }
    }
    const pages = await Promise.all(['', '?page=2', '?page=3'].map(uuidsOn))
    const newestFirst = Array.from({ length: 250 }, (_, place) => uuidOf(249 - place))
    expect(pages.flatMap(({ uuids }) => uuids)).toEqual(newestFirst)
    expect(pages[0]?.links.at(-1)).toBe('?page=2')
    expect((await uuidsOn('?page=99')).uuids).toEqual(pages[2]?.uuids)
    expect((await uuidsOn('?search=1.0.24')).uuids).toEqual(
      [24, 249, 248, 247, 246, 245, 244, 243, 242, 241, 240].map(uuidOf).sort().reverse(),
    )
    expect((await uuidsOn(`?search=${uuidOf(7)}`)).uuids).toEqual([uuidOf(7)])
    expect((await uuidsOn('?search=nosuch')).uuids).toEqual([])
  })

  it('tells at / what this is and how to use it', async () => {
    const { url } = await serveMirror()
    const { text } = await pageOf(`${url}/`)
    expect(text).toContain(`imgadm sources -a ${url}`)
    expect(text).toContain('imgapi-mirror 1.2.3')
    expect(await (await fetch(`${url}/`)).json()).toMatchObject({ name: 'imgapi-mirror', version: '1.2.3' })
  })
})

it('html escapes every value but HTML', () => {
  const { text } =
    html`<a title="${`"<&>'`}">${1}${html`<b>${'<i>'}</b>`}${['x', '<'].map((each) => html`${each}`)}</a>`
  expect(text).toBe('<a title="&quot;&lt;&amp;&gt;&#39;">1<b>&lt;i&gt;</b>x&lt;</a>')
})
