import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blobOf, dockerImage, gzipLayer, indexOf, type MadeDockerImage, TYPES } from '../support/docker-images.js'
import {
  type DockerRegistry,
  RegistryFiller,
  skopeo,
  startDockerRegistry,
  whyNoDockerRegistry,
} from '../support/docker-registry.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'

const reason = whyNoDockerRegistry()

const base = gzipLayer('base', randomBytes(300_000))
const amd64 = dockerImage([base, gzipLayer('amd64', randomBytes(200_000))], {}, true)
const arm64 = dockerImage([base, gzipLayer('arm64')], { architecture: 'arm64' }, true)
const multi = indexOf(
  [
    ['linux/arm64/v8', arm64.manifest],
    ['linux/amd64', amd64.manifest],
  ],
  true,
)
const plain = dockerImage([gzipLayer('one', randomBytes(100_000)), base])
const secret = dockerImage([gzipLayer('secret')])

/** What imgadm 3.9 asks with: two lines, no lists (drc 3.2). */
const IMGADM_ACCEPT = `${TYPES.schema2}, ${TYPES.ociManifest}`
/** containerd's and dockerd's. */
const DOCKER_ACCEPT = [TYPES.schema2, TYPES.list, TYPES.ociManifest, TYPES.ociIndex, '*/*'].join(', ')

describe.skipIf(reason !== undefined)(`clients of Docker registries${reason ? ` (${reason})` : ''}`, () => {
  let workspace: string
  let registry: DockerRegistry

  beforeAll(async () => {
    workspace = await mkdtemp(join(tmpdir(), 'imgapi-mirror-docker-'))
    registry = await startDockerRegistry(workspace)
    const filler = new RegistryFiller(registry.url)
    await filler.image('library/multi', amd64)
    await filler.image('library/multi', arm64)
    await filler.manifest('library/multi', 'latest', multi)
    await filler.image('library/plain', plain, 'latest', '1.0', '1.1')
    await filler.image('library/plain', secret, 'secret')
    await filler.image('library/secret', secret, 'latest')
  }, 60_000)

  afterAll(async () => {
    await registry?.close()
    await rm(workspace, { recursive: true, force: true })
  })

  const upstreamOf = (more: Record<string, unknown> = {}, of: DockerRegistry = registry) => ({
    name: 'hub',
    type: 'docker',
    url: of.url,
    images: ['library/multi:latest', 'library/plain:latest', 'library/plain:1.*'],
    ...more,
  })
  const start = async (settings: Record<string, unknown> = {}, more: Record<string, unknown> = {}) => {
    const mirror = await startMirror({ upstreams: [upstreamOf(more)], ...settings })
    await mirror.settled()
    return mirror
  }
  const get = (mirror: RunningMirror, path: string, headers: Record<string, string> = {}, method = 'GET') =>
    fetch(`${mirror.url}${path}`, { method, headers })
  /** A registry of its own, with the same things in it, to be closed in the middle. */
  const another = () => startDockerRegistry(workspace, { storage: registry.storage })

  async function copied(mirror: RunningMirror, name: string, ...options: string[]) {
    const directory = await temporaryDirectory()
    const from = `docker://${new URL(mirror.url).host}/${name}`
    await skopeo(workspace, 'copy', '--src-tls-verify=false', ...options, from, `dir:${directory}`)
    return {
      manifest: await readFile(join(directory, 'manifest.json')),
      blob: (digest: string) => readFile(join(directory, digest.slice('sha256:'.length))),
    }
  }
  async function expectImage(mirror: RunningMirror, name: string, { config, layers, manifest }: MadeDockerImage) {
    const copy = await copied(mirror, name)
    expect(copy.manifest.equals(manifest.bytes)).toBe(true)
    for (const { bytes, digest } of [config, ...layers]) expect((await copy.blob(digest)).equals(bytes)).toBe(true)
  }

  it('withholds from Docker clients what it withholds as images, by tag, by digest and blob by blob', async () => {
    const mirror = await start({
      conflicts: { quorum: 2 },
      conflictOverrides: { 'tags.docker:repo=~multi': 'prefer-order' },
    })
    const [layer] = plain.layers
    for (const path of ['manifests/1.0', `manifests/${plain.manifest.digest}`, `blobs/${layer!.digest}`]) {
      const refused = await get(mirror, `/v2/library/plain/${path}`)
      expect([refused.status, await refused.text()], path).toEqual([404, expect.stringContaining('withheld')])
    }
    expect(await (await get(mirror, '/v2/library/plain/tags/list')).json()).toMatchObject({ tags: [] })
    // Its base is also a layer of what is withheld, and is given all the same.
    await expectImage(mirror, 'library/multi:latest', amd64)
  })

  it('skopeo copies images digest by digest, cold, warm, and when the registry is dead', async () => {
    const own = await another()
    const mirror = await startMirror({
      upstreams: [upstreamOf({ timeouts: { connect: '500ms' } }, own)],
      refresh: '1s',
    })
    await mirror.settled()
    await expectImage(mirror, 'library/multi:latest', amd64)
    await expectImage(mirror, 'library/plain:1.0', plain)
    const kept = await mirror.status()
    await expectImage(mirror, 'library/multi:latest', amd64)
    expect(await mirror.status()).toMatchObject({ imagesListed: kept.imagesListed })
    await own.close()
    await expectImage(mirror, 'library/multi:latest', amd64)
    await expectImage(mirror, 'library/plain:1.0', plain)
    await until(async () => (await get(mirror, '/v2/library/plain/manifests/1.0')).headers.has('warning'))
    const stale = await get(mirror, '/v2/library/plain/manifests/1.0')
    expect(stale.status).toBe(200)
    expect(stale.headers.get('warning')).toMatch(/^110 /)
    expect(Number(stale.headers.get('age'))).toBeGreaterThanOrEqual(0)
    expect(await (await get(mirror, '/v2/library/plain/tags/list')).json()).toMatchObject({
      tags: ['1.0', '1.1', 'latest'],
    })
  })

  it('skopeo copies a whole index, all platforms of it', async () => {
    const mirror = await start()
    const { manifest } = await copied(mirror, 'library/multi:latest', '--all')
    expect(manifest.equals(multi.bytes)).toBe(true)
  })

  it('offline has those tags that are held whole, and no others', async () => {
    const mirror = await start()
    await expectImage(mirror, 'library/plain:latest', plain)
    await mirror.close()
    const offline = await startMirror({ data: mirror.dataDirectory, upstreams: [upstreamOf()], offline: true })
    await expectImage(offline, 'library/plain:latest', plain)
    expect(await (await get(offline, '/v2/_catalog')).json()).toEqual({ repositories: ['library/plain'] })
    const answer = await get(offline, '/v2/library/multi/manifests/latest')
    expect(answer.status).toBe(404)
    expect(await answer.json()).toMatchObject({ errors: [{ code: 'MANIFEST_UNKNOWN' }] })
  })

  it('containerd says of which registry it wants something', async () => {
    const mirror = await start()
    const ns = `?ns=${registry.host}`
    const head = await get(mirror, `/v2/library/multi/manifests/latest${ns}`, { accept: DOCKER_ACCEPT }, 'HEAD')
    expect(head.status).toBe(200)
    expect(head.headers.get('oci-namespace')).toBe(registry.host)
    expect(head.headers.get('docker-content-digest')).toBe(multi.digest)
    expect(head.headers.get('content-length')).toBe(String(multi.size))
    const index = await get(mirror, `/v2/library/multi/manifests/${multi.digest}${ns}`, { accept: DOCKER_ACCEPT })
    expect(Buffer.from(await index.arrayBuffer()).equals(multi.bytes)).toBe(true)
    const member = await get(mirror, `/v2/library/multi/manifests/${arm64.manifest.digest}${ns}`)
    expect(Buffer.from(await member.arrayBuffer()).equals(arm64.manifest.bytes)).toBe(true)
    const blob = await get(mirror, `/v2/library/multi/blobs/${base.digest}${ns}`, { range: 'bytes=1000-' })
    expect(blob.status).toBe(206)
    expect(Buffer.from(await blob.arrayBuffer()).equals(base.bytes.subarray(1000))).toBe(true)
    expect((await get(mirror, '/v2/library/multi/manifests/latest?ns=ghcr.io')).status).toBe(404)
  })

  it('imgadm imports HOST:PORT/name:tag, which knows no lists', async () => {
    const mirror = await start()
    const ping = await get(mirror, '/v2/', { accept: 'application/json' })
    expect(ping.status).toBe(200)
    expect(ping.headers.get('docker-distribution-api-version')).toBe('registry/2.0')
    const answer = await get(mirror, '/v2/library/multi/manifests/latest', { accept: IMGADM_ACCEPT })
    expect(answer.headers.get('content-type')).toBe(TYPES.ociManifest)
    expect(answer.headers.get('docker-content-digest')).toBe(amd64.manifest.digest)
    expect(answer.headers.get('vary')).toContain('Accept')
    expect(Buffer.from(await answer.arrayBuffer()).equals(amd64.manifest.bytes)).toBe(true)
    for (const { bytes, digest } of [amd64.config, ...amd64.layers]) {
      const blob = await get(mirror, `/v2/library/multi/blobs/${digest}`)
      expect(blob.headers.get('docker-content-digest')).toBe(digest)
      expect(Buffer.from(await blob.arrayBuffer()).equals(bytes)).toBe(true)
    }
  })

  it('a layer pulled over /v2/ is there for IMGAPI, and the other way round', async () => {
    const own = await another()
    const mirror = await startMirror({ upstreams: [upstreamOf({ timeouts: { connect: '500ms' } }, own)] })
    await mirror.settled()
    const images = (await (await get(mirror, '/images?type=docker')).json()) as {
      uuid: string
      tags: Record<string, unknown>
    }[]
    const imageOf = (digest: string) => images.find(({ tags }) => tags['docker:id'] === digest)!.uuid
    const [, top] = amd64.layers
    await (await get(mirror, `/v2/library/multi/blobs/${base.digest}`)).arrayBuffer()
    await (await get(mirror, `/images/${imageOf(top!.digest)}/file`)).arrayBuffer()
    await until(async () => (await mirror.status()).flights.length === 0)
    await own.close()
    const asFile = await get(mirror, `/images/${imageOf(base.digest)}/file`)
    expect(Buffer.from(await asFile.arrayBuffer()).equals(base.bytes)).toBe(true)
    const asBlob = await get(mirror, `/v2/library/multi/blobs/${top!.digest}`)
    expect(Buffer.from(await asBlob.arrayBuffer()).equals(top!.bytes)).toBe(true)
  })

  it('nothing is there that configuration does not let through', async () => {
    const mirror = await start()
    for (const [path, code] of [
      ['/v2/library/secret/manifests/latest', 'NAME_UNKNOWN'],
      ['/v2/library/secret/tags/list', 'NAME_UNKNOWN'],
      ['/v2/library/plain/manifests/secret', 'MANIFEST_UNKNOWN'],
      [`/v2/library/plain/manifests/${secret.manifest.digest}`, 'MANIFEST_UNKNOWN'],
      [`/v2/library/plain/blobs/${secret.layers[0]!.digest}`, 'BLOB_UNKNOWN'],
      [`/v2/library/plain/blobs/${amd64.layers[1]!.digest}`, 'BLOB_UNKNOWN'],
      [`/v2/library/plain/blobs/${blobOf(Buffer.from('x'), 'x').digest}`, 'BLOB_UNKNOWN'],
    ]) {
      const answer = await get(mirror, path!)
      expect([path, answer.status, await answer.json()]).toMatchObject([path, 404, { errors: [{ code }] }])
    }
    expect(await (await get(mirror, '/v2/library/plain/tags/list')).json()).toEqual({
      name: 'library/plain',
      tags: ['1.0', '1.1', 'latest'],
    })
  })

  it('pull: any lets everything through, with nothing followed', async () => {
    const mirror = await start({}, { images: [], pull: 'any' })
    await expectImage(mirror, 'library/secret:latest', secret)
    await expectImage(mirror, `library/plain@${plain.manifest.digest}`, plain)
    expect(await (await get(mirror, '/v2/_catalog')).json()).toEqual({ repositories: ['library/secret'] })
  })

  it('what is no name, tag, digest or number is refused before it is looked for', async () => {
    const mirror = await start()
    for (const [path, status, code] of [
      ['/v2/Library/x/manifests/latest', 400, 'NAME_INVALID'],
      ['/v2/..%2f..%2fetc/manifests/latest', 400, 'NAME_INVALID'],
      ['/v2/library/plain/manifests/sha256:abc', 400, 'DIGEST_INVALID'],
      ['/v2/library/plain/blobs/latest', 400, 'DIGEST_INVALID'],
      ['/v2/library/plain/manifests/-x', 400, 'TAG_INVALID'],
      ['/v2/library/plain/tags/list?n=x', 400, 'PAGINATION_NUMBER_INVALID'],
      ['/v2/nowhere', 404, 'NAME_UNKNOWN'],
    ] as const) {
      const answer = await get(mirror, path)
      expect([path, answer.status, await answer.json()]).toMatchObject([path, status, { errors: [{ code }] }])
      expect(answer.headers.get('docker-distribution-api-version')).toBe('registry/2.0')
    }
  })

  it('says what it can and cannot do', async () => {
    const mirror = await start()
    const post = await get(mirror, '/v2/library/plain/blobs/uploads/', {}, 'POST')
    expect([post.status, await post.json()]).toMatchObject([405, { errors: [{ code: 'UNSUPPORTED' }] }])
    const page = await get(mirror, '/v2/library/plain/tags/list?n=2')
    expect(await page.json()).toMatchObject({ tags: ['1.0', '1.1'] })
    expect(page.headers.get('link')).toBe('</v2/library/plain/tags/list?last=1.1&n=2>; rel="next"')
    expect(await (await get(mirror, '/v2/library/plain/tags/list?last=1.1&n=2')).json()).toMatchObject({
      tags: ['latest'],
    })
    const referrers = await get(mirror, `/v2/library/plain/referrers/${plain.manifest.digest}`)
    expect(await referrers.json()).toMatchObject({ manifests: [] })
    const etag = `"${plain.manifest.digest}"`
    const again = await get(mirror, '/v2/library/plain/manifests/latest', { 'if-none-match': etag })
    expect([again.status, again.headers.get('etag')]).toEqual([304, etag])
    const beyond = await get(mirror, `/v2/library/plain/blobs/${base.digest}`, { range: `bytes=${base.size}-` })
    expect([beyond.status, await beyond.json()]).toMatchObject([416, { errors: [{ code: 'RANGE_INVALID' }] }])
  })
})
