import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { blobOf, dockerImage, gzipLayer, indexOf, type MadeDockerImage, TYPES } from '../support/docker-images.js'
import {
  type DockerRegistry,
  RegistryFiller,
  skopeo,
  startDockerRegistry,
  whyNoDockerRegistry,
} from '../support/docker-registry.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { RawClient, splitResponse } from '../support/raw-client.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { basic, HASH_OF_GEHEIM } from '../support/users.js'

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

  async function copied(mirror: { url: string }, name: string, ...options: string[]) {
    const directory = await temporaryDirectory()
    const from = `docker://${new URL(mirror.url).host}/${name}`
    await skopeo(workspace, 'copy', '--src-tls-verify=false', ...options, from, `dir:${directory}`)
    return {
      manifest: await readFile(join(directory, 'manifest.json')),
      blob: (digest: string) => readFile(join(directory, digest.slice('sha256:'.length))),
    }
  }
  async function expectImage(mirror: { url: string }, name: string, { config, layers, manifest }: MadeDockerImage) {
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

  it('skopeo copies schema 1 through us, as the registry made it', async () => {
    const own = await startDockerRegistry(workspace)
    const [from, to] = [`docker://${registry.host}/library/plain:latest`, `docker://${own.host}/library/old:latest`]
    await skopeo(workspace, 'copy', '--src-tls-verify=false', '--dest-tls-verify=false', '--format', 'v2s1', from, to)
    const mirror = await startMirror({ upstreams: [upstreamOf({ images: ['library/old'] }, own)] })
    await mirror.settled()
    const accept = { accept: 'application/vnd.docker.distribution.manifest.v1+prettyjws' }
    const direct = await fetch(`${own.url}/v2/library/old/manifests/latest`, { headers: accept })
    const ours = await get(mirror, '/v2/library/old/manifests/latest', accept)
    for (const name of ['content-type', 'docker-content-digest']) {
      expect(ours.headers.get(name)).toBe(direct.headers.get(name))
    }
    expect(ours.headers.get('content-type')).toContain('manifest.v1')
    // 2.8 signs it anew whenever it is asked; the digest is of what is signed.
    const unsigned = async (answer: Response) => ({ ...((await answer.json()) as object), signatures: [] })
    expect(await unsigned(ours)).toEqual(await unsigned(direct))
    const { blob } = await copied(mirror, 'library/old:latest')
    for (const layer of plain.layers) expect((await blob(layer.digest)).equals(layer.bytes)).toBe(true)
    await own.close()
  })

  it('an open mirror wants nobody, but tells who logs in with a wrong password', async () => {
    const mirror = await start({ publish: { users: [{ name: 'alice', passwordHash: HASH_OF_GEHEIM }] } })
    for (const path of ['/v2/', '/v2/library/plain/manifests/latest', `/v2/library/plain/blobs/${base.digest}`]) {
      expect((await get(mirror, path)).status).toBe(200)
      expect((await get(mirror, path, basic('alice', 'geheim'))).status).toBe(200)
      const refused = await get(mirror, path, basic('alice', 'wrong'))
      expect([path, refused.status]).toEqual([path, 401])
      expect(await refused.json()).toMatchObject({ errors: [{ code: 'UNAUTHORIZED' }] })
    }
  })

  it('a closed mirror wants a user, and skopeo is one', async () => {
    const mirror = await start({ read: 'users', publish: { users: [{ name: 'alice', passwordHash: HASH_OF_GEHEIM }] } })
    for (const path of ['/v2/', '/v2/_catalog', '/v2/library/plain/manifests/latest', '/v2/nowhere/tags/list']) {
      for (const headers of [{}, basic('alice', 'wrong')]) {
        const refused = await get(mirror, path, headers)
        expect([path, refused.status]).toEqual([path, 401])
        expect(refused.headers.get('www-authenticate')).toMatch(/^Basic realm=/)
        expect(await refused.json()).toMatchObject({ errors: [{ code: 'UNAUTHORIZED' }] })
      }
    }
    await expect(copied(mirror, 'library/plain:latest')).rejects.toThrow(/unauthorized|authentication required/i)
    const { manifest } = await copied(mirror, 'library/plain:latest', '--src-creds', 'alice:geheim')
    expect(manifest.equals(plain.manifest.bytes)).toBe(true)
    const blob = await get(mirror, `/v2/library/plain/blobs/${base.digest}`, basic('alice', 'geheim'))
    expect(blob.headers.get('cache-control')).not.toContain('public')
    const byDigest = await get(mirror, `/v2/library/plain/manifests/${plain.manifest.digest}`, basic('alice', 'geheim'))
    expect(byDigest.headers.get('cache-control')).toMatch(/^private, /)
  })

  it('dockerd asks as registry-mirrors has it ask, with every type on a line of its own', async () => {
    const mirror = await start()
    const agent = 'docker/24.0.7 go/go1.20.10 git-commit/311b9ff kernel/6.1.0 os/linux arch/amd64'
    const asDockerd = async (method: string, path: string, ...lines: string[]) => {
      const client = await RawClient.to(mirror.url)
      const host = `Host: ${new URL(mirror.url).host}`
      client.send(`${method} ${path} HTTP/1.1`, host, `User-Agent: ${agent}`, ...lines, 'Connection: close', '', '')
      const { body, head } = splitResponse(await client.closed())
      return { head, body: Buffer.from(body, 'latin1') }
    }
    const accepts = [TYPES.schema2, TYPES.list, TYPES.ociIndex, TYPES.ociManifest].map((type) => `Accept: ${type}`)
    const old = ['Accept: application/vnd.docker.distribution.manifest.v1+prettyjws', 'Accept: application/json']
    const gzip = 'Accept-Encoding: gzip'
    expect((await asDockerd('GET', '/v2/', gzip)).head).toMatch(
      /^HTTP\/1\.1 200 [\s\S]*docker-distribution-api-version: registry\/2\.0/i,
    )
    const path = '/v2/library/multi/manifests'
    const head = await asDockerd('HEAD', `${path}/latest`, ...accepts, ...old)
    expect(head.head).toMatch(new RegExp(`^HTTP/1.1 200 [\\s\\S]*docker-content-digest: ${multi.digest}`, 'i'))
    expect(head.body).toHaveLength(0)
    const index = await asDockerd('GET', `${path}/${multi.digest}`, ...accepts, ...old, gzip)
    expect(index.body.equals(multi.bytes)).toBe(true)
    const member = await asDockerd('GET', `${path}/${amd64.manifest.digest}`, ...accepts, gzip)
    expect(member.head.toLowerCase()).toContain(`content-type: ${TYPES.ociManifest}`)
    expect(member.body.equals(amd64.manifest.bytes)).toBe(true)
    for (const { bytes, digest } of [amd64.config, ...amd64.layers]) {
      const blob = await asDockerd('GET', `/v2/library/multi/blobs/${digest}`, 'Accept-Encoding: identity')
      expect(blob.body.equals(bytes)).toBe(true)
    }
  })

  it('a mirror that is killed while skopeo copies goes on where it was, and is never wrong', async () => {
    const own = await another()
    const directory = await temporaryDirectory()
    const settings = { upstreams: [upstreamOf({ rate: '100kB/s' }, own)] }
    const first = await MirrorProcess.start(directory, settings, { isFromSource: true })
    onTestFinished(() => first.kill())
    const copying = copied(first, 'library/plain:latest').then(
      () => 'copied',
      () => 'broken off',
    )
    await until(async () => (await first.receivedBytes()) > 100_000)
    await first.kill()
    expect(await copying).toBe('broken off')
    const second = await MirrorProcess.start(directory, { upstreams: [upstreamOf({}, own)] }, { isFromSource: true })
    onTestFinished(() => second.kill())
    await expectImage(second, 'library/plain:latest', plain)
    await own.close()
    await expectImage(second, 'library/plain:latest', plain)
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
    // Nothing vouches for bytes that have not come yet, whatever they are called: a part of them is not to be gone on with.
    const cold = await get(mirror, `/v2/library/plain/blobs/${base.digest}`)
    expect([cold.headers.get('etag'), cold.headers.get('accept-ranges')]).toEqual([null, null])
    await cold.arrayBuffer()
    const warm = async () => (await get(mirror, `/v2/library/plain/blobs/${base.digest}`, {}, 'HEAD')).headers
    await until(async () => (await warm()).get('etag') === `"${base.digest}"`)
    expect((await warm()).get('accept-ranges')).toBe('bytes')
    const beyond = await get(mirror, `/v2/library/plain/blobs/${base.digest}`, { range: `bytes=${base.size}-` })
    expect([beyond.status, await beyond.json()]).toMatchObject([416, { errors: [{ code: 'RANGE_INVALID' }] }])
  })
})
