import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { blobOf, dockerImage, gzipLayer, indexOf, jsonBlob, type MadeBlob, TYPES } from '../support/docker-images.js'
import { type MadeUpRegistry, sendBlob, startMadeUpRegistry, type Whim } from '../support/made-up-registry.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { canMount, mountSmallDisk } from '../support/small-disk.js'
import { blobPath, flipBit } from './keeping/damage.js'

const image = dockerImage([gzipLayer('base', randomBytes(300_000)), gzipLayer('top', randomBytes(200_000))])
const other = dockerImage([image.layers[0]!, gzipLayer('other')])
const arm64 = dockerImage([gzipLayer('arm64')], { architecture: 'arm64' })
const [base] = image.layers as [MadeBlob]

const upstreamAt = (registry: MadeUpRegistry, more: Record<string, unknown> = {}) => ({
  name: 'hub',
  type: 'docker',
  url: registry.url,
  images: ['app/web:*'],
  timeouts: { connect: '500ms' },
  ...more,
})

async function startWith(upstreams: readonly Record<string, unknown>[], settings: Record<string, unknown> = {}) {
  const mirror = await startMirror({ upstreams, refresh: '1h', ...settings })
  await mirror.settled()
  return mirror
}

async function makeRig(more: Record<string, unknown> = {}, settings: Record<string, unknown> = {}, whim?: Whim) {
  const registry = await startMadeUpRegistry(whim)
  registry.put('app/web', image, 'latest')
  return { registry, mirror: await startWith([upstreamAt(registry, more)], settings) }
}

/** As a client finds it, whole; `undefined` instead of bytes for what was cut. */
async function ask(mirror: RunningMirror, path: string, headers: Record<string, string> = {}, method = 'GET') {
  const answer = await fetch(`${mirror.url}/v2/${path}`, { method, headers })
  const bytes = await answer.arrayBuffer().then(Buffer.from, () => undefined)
  const isRefusal = answer.status >= 400 && method === 'GET'
  const code = isRefusal ? JSON.parse(String(bytes)).errors[0].code : undefined
  return { status: answer.status, headers: answer.headers, bytes, code }
}

/** Files are kept a moment after their last byte has left. */
const landed = (mirror: RunningMirror) => until(async () => (await mirror.status()).flights.length === 0)

const manifestPath = (reference = 'latest') => `app/web/manifests/${reference}`
const blobPathOf = ({ digest }: MadeBlob) => `app/web/blobs/${digest}`
const isManifest = (url: URL) => url.pathname.includes('/manifests/')
const isBlob = (url: URL) => url.pathname.includes('/blobs/')

async function expectImage(mirror: RunningMirror, { config, layers, manifest } = image): Promise<void> {
  for (const [path, { bytes }] of [
    [manifestPath(manifest.digest), manifest],
    ...[config, ...layers].map((blob) => [blobPathOf(blob), blob] as const),
  ] as const) {
    const answer = await ask(mirror, path)
    expect([path, answer.status, answer.bytes?.equals(bytes)]).toEqual([path, 200, true])
  }
}

const historyOf = async ({ dataDirectory }: RunningMirror) =>
  (await fs.readFile(join(dataDirectory, 'registry', 'tags.jsonl'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { seen?: { tag: string; digest: string }; lost?: { tag: string } })

describe('two registries that have the same repository', () => {
  async function makePair(second: Record<string, unknown> = {}) {
    const registries = [await startMadeUpRegistry(), await startMadeUpRegistry()] as const
    for (const registry of registries) registry.put('app/web', image, 'latest')
    const [one, two] = registries
    const mirror = await startWith([upstreamAt(one, { name: 'one' }), upstreamAt(two, { name: 'two', ...second })])
    return { mirror, one, two }
  }

  it('stand in for one another in the middle of a layer', async () => {
    const { mirror, one, two } = await makePair()
    one.whim = (_request, response, url) => {
      if (!isBlob(url)) return false
      response.writeHead(200, { 'content-length': String(base.size) })
      response.write(base.bytes.subarray(0, base.size / 2), () => setImmediate(() => response.destroy()))
      return true
    }
    const answer = await ask(mirror, blobPathOf(base))
    expect([answer.status, answer.bytes?.equals(base.bytes)]).toEqual([200, true])
    const ranges = two.requests.filter(({ url }) => url.includes(base.digest)).map(({ headers }) => headers.range)
    expect(ranges).toContainEqual(expect.stringMatching(/^bytes=[1-9]\d*-/))
  })

  it('stand in for one another where one is gone, for whole images', async () => {
    const { mirror, one } = await makePair()
    await one.close()
    await expectImage(mirror)
  })

  it('are not taken for one another where one may be anybody: what is pulled by name alone waits for the first', async () => {
    const [one, two] = [await startMadeUpRegistry(), await startMadeUpRegistry()]
    one.put('app/web', image, 'latest', 'new')
    two.put('app/web', other, 'new')
    const mirror = await startWith([
      upstreamAt(one, { name: 'one', images: [], pull: 'any' }),
      upstreamAt(two, { name: 'two', images: [], pull: 'any' }),
    ])
    await one.close()
    const refused = await ask(mirror, manifestPath('new'))
    expect([refused.status, refused.code]).toEqual([503, 'UNAVAILABLE'])
    expect(two.asked()).not.toContainEqual(expect.stringContaining('/manifests/new'))
    // Whoever says which one is meant gets it.
    expect((await ask(mirror, `${manifestPath('new')}?ns=${two.host}`)).bytes?.equals(other.manifest.bytes)).toBe(true)
  })
})

describe('a registry that will not or cannot', () => {
  const overLimit: Whim = (_request, response, url) =>
    isManifest(url) && response.writeHead(429, { 'retry-after': '30' }).end() !== undefined

  it('is over its limit: clients are told so, and when to come again', async () => {
    const { mirror, registry } = await makeRig({ images: [], pull: 'any' })
    registry.whim = overLimit
    for (let times = 0; times < 2; times++) {
      const answer = await ask(mirror, manifestPath())
      expect([answer.status, answer.code]).toEqual([429, 'TOOMANYREQUESTS'])
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(25)
      expect(Number(answer.headers.get('retry-after'))).toBeLessThanOrEqual(30)
    }
    expect(registry.asked().filter((asked) => asked.includes('/manifests/'))).toHaveLength(1)
  })

  it('is over its limit: what is held is answered, as stale', async () => {
    const { mirror, registry } = await makeRig({}, { refresh: '100ms' })
    registry.whim = overLimit
    await until(async () => (await ask(mirror, manifestPath())).headers.has('warning'))
    const answer = await ask(mirror, manifestPath())
    expect([answer.status, answer.bytes?.equals(image.manifest.bytes)]).toEqual([200, true])
    expect(answer.headers.get('warning')).toMatch(/^110 - /)
    expect(Number(answer.headers.get('age'))).toBeLessThan(60)
    // A digest means what it means: nothing about it is stale.
    expect((await ask(mirror, manifestPath(image.manifest.digest))).headers.has('warning')).toBe(false)
  })

  it('is away: that is no limit, also once it is not even asked any more', async () => {
    const { mirror, registry } = await makeRig({ images: [], pull: 'any' })
    await registry.close()
    const answers = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((tag) => ask(mirror, manifestPath(tag))))
    for (const { status, code } of answers) expect([status, code]).toEqual([503, 'UNAVAILABLE'])
    const notAsked = await ask(mirror, manifestPath())
    expect([notAsked.status, notAsked.code]).toEqual([503, 'UNAVAILABLE'])
    expect(notAsked.headers.has('retry-after')).toBe(true)
    expect(String(notAsked.bytes)).toContain('is not asked')
  })

  it('is away when the mirror starts: what is held is served, and the rest once it is back', async () => {
    const { mirror, registry } = await makeRig({}, { refresh: '100ms' })
    await expectImage(mirror)
    await mirror.close()
    registry.whim = (_request, response) => response.destroy() !== undefined
    const settings = { data: mirror.dataDirectory, upstreams: [upstreamAt(registry)], refresh: '100ms' }
    const again = await startMirror(settings)
    const stale = await ask(again, manifestPath())
    expect([stale.status, stale.bytes?.equals(image.manifest.bytes)]).toEqual([200, true])
    await expectImage(again)
    registry.put('app/web', other, 'next')
    expect((await ask(again, manifestPath('next'))).status).toBe(503)
    registry.whim = () => false
    await until(async () => (await ask(again, manifestPath('next'))).status === 200)
  })
})

describe('tags', () => {
  it('that move are counted, told, written down with what they meant, and answered anew', async () => {
    const { mirror, registry } = await makeRig({}, { refresh: '100ms' })
    expect((await ask(mirror, manifestPath())).headers.get('docker-content-digest')).toBe(image.manifest.digest)
    registry.put('app/web', other, 'latest')
    const { facts } = await mirror.log.line(({ message }) => /tag latest of .* has moved/.test(message))
    expect(facts).toMatchObject({ from: image.manifest.digest, to: other.manifest.digest })
    expect((await ask(mirror, manifestPath())).headers.get('docker-content-digest')).toBe(other.manifest.digest)
    // Who has the old manifest still gets its layers.
    await expectImage(mirror)
    const metrics = await (await fetch(`${mirror.operatorUrl}/metrics`)).text()
    expect(metrics).toMatch(/tag_moves_total\{upstream="hub"\} 1\n/)
    await mirror.close()
    const seen = (await historyOf(mirror)).flatMap((line) => line.seen?.digest ?? [])
    expect([...new Set(seen)]).toEqual([image.manifest.digest, other.manifest.digest])
  })

  it('that the list has no more are asked about, and are gone when the registry says so', async () => {
    const { mirror, registry } = await makeRig({}, { refresh: '100ms' })
    registry.put('app/web', other, 'other')
    await until(async () => (await ask(mirror, manifestPath('other'))).status === 200)
    registry.untag('app/web', 'other')
    await until(async () => (await historyOf(mirror)).some(({ lost }) => lost?.tag === 'other'))
    const gone = await ask(mirror, manifestPath('other'))
    expect([gone.status, gone.code]).toEqual([404, 'MANIFEST_UNKNOWN'])
    await until(async () => !String((await ask(mirror, 'app/web/tags/list')).bytes).includes('other'))
    expect((await ask(mirror, manifestPath())).status).toBe(200)
    // By digest it is there as long as it is kept: hosts run it.
    expect((await ask(mirror, manifestPath(other.manifest.digest))).status).toBe(200)
  })

  it('go on below the path that clients see', async () => {
    const { mirror, registry } = await makeRig({}, { publicUrl: 'http://images.example.com/mirror' })
    registry.put('app/web', other, 'other')
    const page = await ask(mirror, 'app/web/tags/list?n=1')
    expect(page.headers.get('link')).toBe('</mirror/v2/app/web/tags/list?last=latest&n=1>; rel="next"')
    const next = await fetch(`${mirror.url}/mirror/v2/app/web/tags/list?last=latest&n=1`)
    expect(await next.json()).toEqual({ name: 'app/web', tags: ['other'] })
  })
})

describe('clients that take no index', () => {
  it('get the member for the platform of the upstream, offline too', async () => {
    const registry = await startMadeUpRegistry()
    const index = indexOf([
      ['linux/amd64', image.manifest],
      ['linux/arm64/v8', arm64.manifest],
    ])
    for (const each of [image, arm64]) registry.put('app/web', each)
    registry.putManifest('app/web', index, 'latest')
    const upstream = upstreamAt(registry, { platform: 'linux/arm64' })
    const mirror = await startWith([upstream])
    const accept = { accept: TYPES.schema2 }
    const answer = await ask(mirror, manifestPath(), accept)
    expect(answer.headers.get('docker-content-digest')).toBe(arm64.manifest.digest)
    await expectImage(mirror, arm64)
    await mirror.close()
    const offline = await startMirror({ data: mirror.dataDirectory, upstreams: [upstream], offline: true })
    const remembered = await ask(offline, manifestPath(), accept)
    expect(remembered.bytes?.equals(arm64.manifest.bytes)).toBe(true)
    // Nobody asked what the tag means now.
    expect(remembered.headers.get('warning')).toMatch(/^110 /)
  })
})

describe('a client that goes on with a layer', () => {
  it('gets the rest only of what it has the beginning of', async () => {
    const { mirror } = await makeRig()
    const range = { range: 'bytes=1000-' }
    const current = { ...range, 'if-range': `"${base.digest}"` }
    // Not held yet: nothing vouches for the beginning.
    const cold = await ask(mirror, blobPathOf(base), current)
    expect([cold.status, cold.bytes?.equals(base.bytes)]).toEqual([200, true])
    await landed(mirror)
    const rest = await ask(mirror, blobPathOf(base), current)
    expect([rest.status, rest.bytes?.equals(base.bytes.subarray(1000))]).toEqual([206, true])
    const whole = await ask(mirror, blobPathOf(base), { ...range, 'if-range': '"sha256:other"' })
    expect([whole.status, whole.bytes?.equals(base.bytes)]).toEqual([200, true])
  })

  it('starts over after wrong bytes: they never come to an end, and nothing is put behind them', async () => {
    const wrong = Buffer.from(base.bytes)
    wrong[1000]! ^= 1
    const { mirror, registry } = await makeRig({}, { holdback: '1KiB' })
    registry.whim = (request, response, url) => {
      if (!url.pathname.endsWith(base.digest)) return false
      sendBlob(request, response, { ...base, bytes: wrong })
      return true
    }
    const first = await ask(mirror, blobPathOf(base))
    expect(first.bytes).toBeUndefined()
    registry.whim = () => false
    const rest = await ask(mirror, blobPathOf(base), { range: 'bytes=200000-' })
    expect(rest.status).toBe(503)
    const checked = await ask(mirror, blobPathOf(base), { range: 'bytes=200000-', 'if-range': `"${base.digest}"` })
    expect([checked.status, checked.bytes?.equals(base.bytes)]).toEqual([200, true])
  })
})

describe('a hostile registry', () => {
  const lies: [string, Whim, number][] = [
    [
      'a manifest under the digest of another',
      (request, response, url) => {
        if (!isManifest(url) || request.method === 'HEAD') return false
        sendBlob(request, response, { ...other.manifest, digest: image.manifest.digest })
        return true
      },
      503,
    ],
    [
      'a manifest without end',
      (request, response, url) => {
        if (!isManifest(url) || request.method === 'HEAD') return false
        response.writeHead(200, { 'content-type': TYPES.schema2 })
        const more = () => void response.write(Buffer.alloc(65536, 0x20), (error) => error ?? more())
        more()
        return true
      },
      503,
    ],
    [
      'a manifest that is none',
      (request, response, url) => {
        if (!isManifest(url)) return false
        sendBlob(request, response, blobOf(Buffer.from('[]'), TYPES.schema2))
        return true
      },
      503,
    ],
    [
      'one thing by HEAD and another by GET',
      (request, response, url) => {
        if (!isManifest(url)) return false
        sendBlob(request, response, request.method === 'HEAD' ? other.manifest : image.manifest)
        return true
      },
      503,
    ],
  ]

  it.each(lies)('cannot make us answer %s', async (_what, lie, status) => {
    const { mirror, registry } = await makeRig({ images: [], pull: 'any' })
    registry.whim = lie
    // A HEAD first: what it says is not believed by the GET behind it.
    await ask(mirror, manifestPath(), {}, 'HEAD')
    const answer = await ask(mirror, manifestPath())
    if (answer.status === 200) expect(answer.bytes?.equals(image.manifest.bytes)).toBe(true)
    else expect([answer.status, answer.code]).toEqual([status, 'UNAVAILABLE'])
    // And whatever is answered by digest has that digest.
    const byDigest = await ask(mirror, manifestPath(other.manifest.digest))
    if (byDigest.status === 200) expect(byDigest.bytes?.equals(other.manifest.bytes)).toBe(true)
  })

  it.each([
    ['a layer that is longer than its manifest says', Buffer.concat([base.bytes, Buffer.from('more')])],
    ['a layer that is shorter', base.bytes.subarray(0, -1)],
    ['a layer of other bytes', Buffer.alloc(base.size, 1)],
  ])('cannot make us end %s', async (_what, bytes) => {
    const { mirror, registry } = await makeRig()
    registry.whim = (request, response, url) => {
      if (!url.pathname.endsWith(base.digest)) return false
      sendBlob(request, response, { ...base, bytes })
      return true
    }
    const answer = await ask(mirror, blobPathOf(base))
    if (answer.status === 200) expect(answer.bytes).toBeUndefined()
    else expect([answer.status, answer.code]).toEqual([503, 'UNAVAILABLE'])
    await expect(fs.stat(blobPath(mirror.dataDirectory, bytes))).rejects.toThrow('ENOENT')
    registry.whim = () => false
    const again = await ask(mirror, blobPathOf(base))
    expect([again.status, again.bytes?.equals(base.bytes)]).toEqual([200, true])
  })

  it('cannot list names that would lead elsewhere', async () => {
    const { mirror, registry } = await makeRig({ images: [], pull: 'any' })
    registry.whim = (_request, response, url) => {
      if (!url.pathname.endsWith('/tags/list')) return false
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ name: '../x', tags: ['ok', '../../etc', 7, 'a b', '<script>'] }))
      return true
    }
    expect(JSON.parse(String((await ask(mirror, 'app/web/tags/list')).bytes))).toEqual({
      name: 'app/web',
      tags: ['ok'],
    })
  })
})

describe('what breaks here', () => {
  it('a byte of a layer that is held: nobody gets it, and it is put right', async () => {
    const { mirror } = await makeRig({}, { verifyOnRead: 'always' })
    await expectImage(mirror)
    await landed(mirror)
    await flipBit(blobPath(mirror.dataDirectory, base.bytes), 1000)
    const cut = await ask(mirror, blobPathOf(base))
    // It is seen before its first byte leaves: the client is told.
    expect([cut.status, cut.code]).toEqual([503, 'UNAVAILABLE'])
    await until(async () => (await ask(mirror, blobPathOf(base))).bytes?.equals(base.bytes) === true)
  })

  it('manifests that are deleted or damaged: they are fetched again, and what cannot be is told', async () => {
    const { mirror, registry } = await makeRig({}, { refresh: '300ms' })
    await expectImage(mirror)
    const objects = join(mirror.dataDirectory, 'registry', 'objects')
    await fs.rm(objects, { recursive: true })
    // The config is a blob to clients, and comes as one.
    await expectImage(mirror)
    expect((await ask(mirror, manifestPath())).bytes?.equals(image.manifest.bytes)).toBe(true)
    const path = join(objects, image.manifest.digest.slice(7, 9), image.manifest.digest.slice(7))
    await flipBit(path, 20)
    expect((await ask(mirror, manifestPath(image.manifest.digest))).bytes?.equals(image.manifest.bytes)).toBe(true)
    await flipBit(path, 20)
    registry.whim = (_request, response) => response.destroy() !== undefined
    const answer = await ask(mirror, manifestPath(image.manifest.digest))
    expect([answer.status, answer.code]).toEqual([503, 'UNAVAILABLE'])
    registry.whim = () => false
    await until(async () => (await ask(mirror, manifestPath(image.manifest.digest))).status === 200)
  })

  it.skipIf(!canMount)('a disk that is full: manifests and layers pass through, whole', async () => {
    const disk = await mountSmallDisk(8)
    const large = dockerImage([gzipLayer('large', randomBytes(9 * 1024 * 1024))])
    const registry = await startMadeUpRegistry()
    registry.put('app/web', large, 'latest')
    const mirror = await startWith([upstreamAt(registry, { images: [], pull: 'any' })], { data: disk })
    const filling = join(disk, 'filling')
    await fs.writeFile(filling, '')
    const filled = await fs.open(filling, 'a')
    try {
      for (;;) await filled.write(Buffer.alloc(64 * 1024))
    } catch (error) {
      expect(String(error)).toContain('ENOSPC')
    } finally {
      await filled.close()
    }
    expect((await ask(mirror, manifestPath())).bytes?.equals(large.manifest.bytes)).toBe(true)
    await expectImage(mirror, large)
    expect(mirror.log.lines.some(({ message }) => /could not be kept/.test(message))).toBe(true)
    await fs.rm(filling)
    expect((await ask(mirror, manifestPath())).status).toBe(200)
  })
})

describe('room for layers', () => {
  it('is made by Docker images as wholes, what was pulled longest ago first, and offline has those that are whole', async () => {
    const registry = await startMadeUpRegistry()
    const images = ['a', 'b', 'c'].map((name) =>
      dockerImage(
        [`${name}1`, `${name}2`].map((each) => gzipLayer(each, randomBytes(300_000))),
        { author: name },
      ),
    )
    for (const [place, each] of images.entries()) registry.put('app/web', each, `v${place}`)
    const upstream = upstreamAt(registry, { images: [], pull: 'any' })
    const mirror = await startWith([upstream], { quota: '1500KB' })
    for (const [place, each] of images.entries()) {
      expect((await ask(mirror, manifestPath(`v${place}`))).status).toBe(200)
      await expectImage(mirror, each)
      await landed(mirror)
      // The first is used once more.
      if (place === 1) await expectImage(mirror, images[0]!)
    }
    await mirror.close()
    const offline = await startMirror({ data: mirror.dataDirectory, upstreams: [upstream], offline: true })
    expect(JSON.parse(String((await ask(offline, 'app/web/tags/list')).bytes)).tags).toEqual(['v0', 'v2'])
    await expectImage(offline, images[0]!)
    await expectImage(offline, images[2]!)
    expect((await ask(offline, manifestPath('v1'))).code).toBe('MANIFEST_UNKNOWN')
  })
})

describe('schema 1', () => {
  it('comes through as it is, with layers whose sizes it does not say', async () => {
    const { mirror, registry } = await makeRig({ images: ['app/web:latest'], pull: 'any' })
    const layers = [...image.layers].reverse()
    const old = jsonBlob(
      {
        schemaVersion: 1,
        name: 'app/web',
        tag: 'old',
        architecture: 'amd64',
        fsLayers: layers.map(({ digest }) => ({ blobSum: digest })),
        history: layers.map((_, place) => ({ v1Compatibility: JSON.stringify({ id: `${place}`.padStart(64, '0') }) })),
      },
      'application/vnd.docker.distribution.manifest.v1+json',
    )
    registry.putManifest('app/web', old, 'old')
    const answer = await ask(mirror, manifestPath('old'))
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, old.mediaType])
    expect(answer.bytes?.equals(old.bytes)).toBe(true)
    for (const blob of layers) {
      const head = await ask(mirror, blobPathOf(blob), {}, 'HEAD')
      expect(head.headers.get('content-length')).toBe(String(blob.size))
      expect((await ask(mirror, blobPathOf(blob))).bytes?.equals(blob.bytes)).toBe(true)
    }
  })
})
