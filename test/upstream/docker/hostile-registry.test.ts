import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, it } from 'vitest'
import type { UpstreamOptions } from '../../../src/upstream/make-upstream.js'
import { blobOf, dockerImage, gzipLayer, jsonBlob, type MadeBlob, TYPES } from '../../support/docker-images.js'
import { FakeClock } from '../../support/fake-clock.js'
import { serve, startTrap } from '../../support/upstreams/serve.js'
import { listOf, never, started } from '../upstream-under-test.js'
import { dockerAt, fileOf } from './docker-under-test.js'

const layer = gzipLayer('layer')
const image = dockerImage([layer])

type Answers = (request: IncomingMessage, response: ServerResponse, url: URL) => boolean

/** A registry with one image, `app:latest`, which answers as it should wherever `lie` does not answer first. */
function registryThat(lie: Answers = () => false, blobs: readonly MadeBlob[] = [image.manifest, image.config, layer]) {
  return started(
    serve((request, response, url) => {
      if (lie(request, response, url)) return
      const wanted = url.pathname.split('/').at(-1)
      const blob = wanted === 'latest' ? blobs[0] : blobs.find(({ digest }) => digest === wanted)
      if (url.pathname === '/v2/') response.writeHead(200).end('{}')
      else if (!blob) response.writeHead(404).end()
      else {
        response.writeHead(200, {
          'content-type': blob.mediaType,
          'content-length': String(blob.size),
          'docker-content-digest': blob.digest,
        })
        response.end(request.method === 'HEAD' ? undefined : blob.bytes)
      }
    }),
  )
}

const isBlob = (url: URL) => url.pathname.includes('/blobs/')
const isManifest = (url: URL) => url.pathname.includes('/manifests/')

async function reasonFor(lie: Answers, options: Partial<UpstreamOptions> = {}, images = ['app']): Promise<string> {
  const registry = await registryThat(lie)
  const listing = await listOf(dockerAt(registry.url, images, options))
  expect(listing.statements).toEqual([])
  return listing.setAside.map(({ reason }) => reason).join()
}

describe('a hostile registry', () => {
  it.each([
    ['this machine', 'https://127.0.0.1:1/x'],
    ['the cloud it runs in', 'http://169.254.169.254/latest/meta-data'],
    ['the same, by https', 'https://169.254.169.254/x'],
    ['a neighbour', 'https://10.1.2.3/x'],
    ['a neighbour by IPv6', 'https://[fd00::1]/x'],
    ['an address in the dress of IPv6', 'https://[::ffff:127.0.0.1]/x'],
    ['a name that means this machine', 'https://localhost/x'],
    ['a public server without TLS', 'http://93.184.216.34/x'],
    ['another protocol', 'ftp://93.184.216.34/x'],
  ])('cannot send us to %s', async (_where, location) => {
    const lie: Answers = (_request, response, url) =>
      isBlob(url) && response.writeHead(307, { location }).end() !== undefined
    expect(await reasonFor(lie)).toMatch(/redirects to .*not allowed/)
  })

  it.each([
    ['by name', 'http://169.254.169.254/token'],
    ['by a name of this network', 'https://vault.internal/token'],
    ['in the open', 'http://93.184.216.34/token'],
    ['nowhere', 'https://%%/'],
  ])('cannot have us ask a token of whom it likes, %s', async (_how, realm) => {
    const lie: Answers = (_request, response, url) =>
      isManifest(url) &&
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="x"` }).end() !== undefined
    expect(await reasonFor(lie)).toMatch(/sends us to/)
  })

  it('gets credentials sent to nobody else', async () => {
    const trap = await started(startTrap())
    const lie: Answers = (_request, response) =>
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${trap.url}/t",service="x"` }).end() !== undefined
    const options = { username: 'u', password: 'secret' }
    expect(await reasonFor(lie, options)).toMatch(/may not get our credentials/)
    expect(trap.connectionCount).toBe(0)
  })

  it('is shown no credentials that it has not asked for, and no token of another repository', async () => {
    const asked: string[] = []
    const lie: Answers = (request, response, url) => {
      asked.push(request.headers.authorization ?? 'nothing')
      if (url.pathname === '/token') response.end(JSON.stringify({ token: url.searchParams.getAll('scope').join() }))
      else if (isManifest(url) && !request.headers.authorization?.startsWith('Bearer')) {
        const challenge = `Bearer realm="http://${request.headers.host}/token",scope="repository:victim:push,pull"`
        response.writeHead(401, { 'www-authenticate': challenge }).end()
      } else return false
      return true
    }
    const registry = await registryThat(lie)
    await listOf(dockerAt(registry.url, ['app'], { username: 'u', password: 'p' }))
    expect(asked.slice(0, 2)).toEqual(['nothing', 'nothing'])
    expect(asked).toContain('Bearer repository:app:pull')
  })

  const as = (blob: MadeBlob, bytes: Buffer): Answers => {
    return (request, response, url) => {
      if (!url.pathname.endsWith(blob.digest) || request.method === 'HEAD') return false
      response.writeHead(200, { 'content-type': blob.mediaType, 'content-length': String(bytes.length) }).end(bytes)
      return true
    }
  }
  const flipped = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.from('\n}')])

  it.each([
    ['manifest', as(image.manifest, flipped(image.manifest.bytes)), /promises sha256:/],
    ['config', as(image.config, flipped(image.config.bytes)), /more bytes|as the config/],
    ['config of the right length', as(image.config, Buffer.alloc(image.config.size, ' ')), /as the config/],
    ['huge manifest', as(image.manifest, Buffer.alloc(5 * 1024 * 1024, ' ')), /more bytes than we accept/],
    [
      'deep manifest',
      as(image.manifest, Buffer.from(`${'['.repeat(50_000)}${']'.repeat(50_000)}`)),
      /not an object|deep/,
    ],
    ['deep object', as(image.manifest, Buffer.from(`${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`)), /deep/],
    ['page instead of a manifest', as(image.manifest, Buffer.from('<html>')), /not JSON/],
  ])('cannot pass off a wrong %s', async (_what, lie, complaint) => {
    expect(await reasonFor(lie)).toMatch(complaint)
  })

  it('cannot pass off a layer of another length; one of other bytes is for its keeper to see', async () => {
    const registry = await registryThat((_request, response, url) => {
      if (!url.pathname.endsWith(layer.digest)) return false
      response.writeHead(200, { 'content-length': '3' }).end('abc')
      return true
    })
    const upstream = dockerAt(registry.url, ['app'])
    const [statement] = (await listOf(upstream)).statements
    expect(statement!.manifest.files[0]!.digests).toEqual([{ algorithm: 'sha256', hex: layer.digest.slice(7) }])
    await expect(fileOf(upstream, statement!)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
  })

  const tagPages = (answer: (page: number, response: ServerResponse, url: URL) => void): Answers => {
    let page = 0
    return (_request, response, url) => {
      if (!url.pathname.endsWith('/tags/list')) return false
      answer(page++, response, url)
      return true
    }
  }

  it.each([
    [
      'that only repeat themselves',
      (_page: number, response: ServerResponse, url: URL) => {
        response.writeHead(200, { link: `<${url.pathname}?last=a>; rel="next"` }).end('{"tags":["a"]}')
      },
      /without end/,
    ],
    [
      'that never end',
      (page: number, response: ServerResponse, url: URL) => {
        const tags = Array.from({ length: 5000 }, (_, index) => `t${page}-${index}`)
        response.writeHead(200, { link: `<${url.pathname}?last=a>; rel="next"` }).end(JSON.stringify({ tags }))
      },
      /more than 50000 tags/,
    ],
    [
      'that go on at another server',
      (_page: number, response: ServerResponse, url: URL) => {
        response.writeHead(200, { link: `<http://127.0.0.1:1${url.pathname}>; rel="next"` }).end('{"tags":["a"]}')
      },
      /which is not its own/,
    ],
    [
      'that go on in another repository',
      (_page: number, response: ServerResponse) => {
        response.writeHead(200, { link: '</v2/other/tags/list>; rel="next"' }).end('{"tags":["a"]}')
      },
      /which is not its own/,
    ],
    ['that are none', (_page: number, response: ServerResponse) => response.end('{"tags":"all"}'), /no list of tags/],
  ])('cannot hold us with pages of tags %s', async (_what, answer, complaint) => {
    expect(await reasonFor(tagPages(answer), {}, ['app:*'])).toMatch(complaint)
  })

  it('cannot name tags that would lead elsewhere', async () => {
    const names = ['../../../etc', 'a/b', '..', '%2e%2e', 'x'.repeat(200), '', 7, null, 'latest']
    const registry = await registryThat(tagPages((_page, response) => response.end(JSON.stringify({ tags: names }))))
    const listing = await listOf(dockerAt(registry.url, ['app:*']))
    expect(listing.tags!.map(({ tag }) => tag)).toEqual(['latest'])
    expect(registry.requests.every(({ url }) => url.startsWith('/v2/'))).toBe(true)
  })

  it('cannot hold us by falling silent', async () => {
    const registry = await registryThat((request, response, url) => {
      if (!isManifest(url) || request.method === 'HEAD') return false
      response.writeHead(200, { 'content-type': TYPES.schema2 }).write('{')
      return true
    })
    const timeouts = { connectMs: 1000, headersMs: 1000, stallMs: 50 }
    await expect(listOf(dockerAt(registry.url, ['app'], { timeouts }))).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
      message: expect.stringContaining('fell silent'),
    })
  })

  it('whose one tag fails does not take the others along, and loses none of them', async () => {
    const registry = await registryThat((_request, response, url) => {
      return url.pathname.endsWith('/broken') && response.writeHead(500).end() !== undefined
    })
    const listing = await listOf(dockerAt(registry.url, ['app:broken', 'app']))
    expect(listing).toMatchObject({ setAside: [], incomplete: expect.stringContaining('answered 500') })
    expect(listing.statements).toHaveLength(1)
  })

  it('offers foreign layers from public servers only', async () => {
    const foreign = {
      ...blobOf(layer.bytes, 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'),
    }
    const config = image.config
    const layers = [
      { mediaType: foreign.mediaType, size: foreign.size, digest: foreign.digest, urls: ['http://127.0.0.1:1/x'] },
    ]
    const manifest = jsonBlob(
      {
        schemaVersion: 2,
        mediaType: TYPES.schema2,
        config: { mediaType: config.mediaType, size: config.size, digest: config.digest },
        layers,
      },
      TYPES.schema2,
    )
    const registry = await registryThat(undefined, [manifest, config, foreign])
    const upstream = dockerAt(registry.url, ['app'])
    const [statement] = (await listOf(upstream)).statements
    // The place it names is not asked; the registry happens to have it.
    expect((await fileOf(upstream, statement!)).equals(layer.bytes)).toBe(true)
  })
})

describe('the limit of a registry', () => {
  const limited = (remaining: () => number): Answers => {
    return (_request, response, url) => {
      if (isManifest(url)) response.setHeader('ratelimit-limit', '100;w=21600')
      if (isManifest(url)) response.setHeader('ratelimit-remaining', `${remaining()};w=21600`)
      return false
    }
  }

  it('is kept to before it is reached: what is left is for clients, and shown', async () => {
    let remaining = 10
    const registry = await registryThat(limited(() => remaining))
    const upstream = dockerAt(registry.url, ['app'])
    await expect(listOf(upstream)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
      message: expect.stringContaining('lets us have 10 more manifests'),
      retryAfterMs: expect.any(Number),
    })
    expect(upstream.health()).toMatchObject({ breaker: 'closed', pullLimit: { limit: 100, remaining: 10 } })
    expect(registry.requests.filter(({ method, url }) => method === 'GET' && url.includes('manifests'))).toEqual([])
    expect(await upstream.registry!.getManifest('app', 'latest', never)).toBeDefined()
    remaining = 0
    expect(await upstream.registry!.headManifest('app', 'latest', never)).toBeDefined()
    await expect(upstream.registry!.getManifest('app', 'latest', never)).rejects.toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
    })
    // Blobs are not counted.
    expect(await upstream.registry!.headBlob('app', layer.digest, never)).toBe(layer.size)
    remaining = 100
    await upstream.registry!.headManifest('app', 'latest', never)
    expect((await listOf(upstream)).statements).toHaveLength(1)
  })

  it.each([
    ['as long as it says', { 'retry-after': '7' }, 7_000],
    ['for a minute if it does not say', {}, 60_000],
  ])('once reached, has us wait %s', async (_how, headers, waitMs) => {
    const clock = new FakeClock()
    let isOver = true
    const registry = await registryThat((_request, response, url) => {
      return isOver && isManifest(url) && response.writeHead(429, headers as Record<string, string>).end() !== undefined
    })
    const upstream = dockerAt(registry.url, ['app'], { clock })
    await expect(listOf(upstream)).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE', retryAfterMs: waitMs })
    isOver = false
    const asked = registry.requests.length
    await expect(upstream.registry!.headManifest('app', 'latest', never)).rejects.toMatchObject({
      retryAfterMs: waitMs,
    })
    expect(registry.requests).toHaveLength(asked)
    await clock.advance(waitMs)
    expect((await listOf(upstream)).statements).toHaveLength(1)
    expect(upstream.health().breaker).toBe('closed')
  })
})
