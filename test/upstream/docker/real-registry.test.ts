import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import { uuidOfLayers } from '../../../src/images/docker/layer-images.js'
import {
  blobOf,
  descriptorOf,
  dockerImage,
  gzipLayer,
  indexOf,
  jsonBlob,
  TYPES,
  tarOf,
} from '../../support/docker-images.js'
import {
  BASIC_USER,
  type DockerRegistry,
  RegistryFiller,
  skopeo,
  startDockerRegistry,
  startTokenServer,
  whyNoDockerRegistry,
  writeOciLayout,
} from '../../support/docker-registry.js'
import { type Certificates, makeCertificates } from '../../support/upstreams/certificates.js'
import { answerFile } from '../../support/upstreams/ranges.js'
import { serve } from '../../support/upstreams/serve.js'
import { listOf, never, started } from '../upstream-under-test.js'
import { chainOf, dockerAt, fileOf, listed, MapMemory, topsOf } from './docker-under-test.js'

const whyNot = whyNoDockerRegistry()
if (whyNot) console.warn(`*** SKIPPED: Docker registries as upstreams: ${whyNot} ***`)

const base = gzipLayer('base', 'the base')
const middle = gzipLayer('middle', 'in between')
/** Large enough to be fetched in parts. */
const top = gzipLayer('top', randomBytes(200_000))
const simple = dockerImage([base, middle, top])
const short = dockerImage([base, middle], { comment: 'the lower half of simple' })
const repeated = dockerImage([base, middle, base])
const bare = dockerImage([blobOf(tarOf('bare', Buffer.from('not compressed')), TYPES.ociLayer)], {}, true)
const arm = dockerImage([gzipLayer('arm')], { architecture: 'arm64' })
const attestation = jsonBlob(
  {
    schemaVersion: 2,
    mediaType: TYPES.ociManifest,
    config: descriptorOf(jsonBlob({}, TYPES.ociConfig)),
    layers: [descriptorOf(blobOf(Buffer.from('{}'), 'application/vnd.in-toto+json'))],
  },
  TYPES.ociManifest,
)
const artifact = {
  config: jsonBlob({}, 'application/vnd.cncf.helm.config.v1+json'),
  layer: blobOf(Buffer.from('a chart'), 'application/vnd.cncf.helm.chart.content.v1.tar+gzip'),
}
const chart = jsonBlob(
  {
    schemaVersion: 2,
    mediaType: TYPES.ociManifest,
    config: descriptorOf(artifact.config),
    layers: [descriptorOf(artifact.layer)],
  },
  TYPES.ociManifest,
)
const list = indexOf([
  ['linux/arm64/v8', arm.manifest],
  ['linux/amd64', simple.manifest],
])
const index = indexOf(
  [
    ['unknown/unknown', attestation],
    ['linux/amd64', bare.manifest],
  ],
  true,
)
const armOnly = indexOf([['linux/arm64/v8', arm.manifest]])

describe.skipIf(whyNot)('a real registry', () => {
  let workspace: string
  let open: DockerRegistry
  let certificates: Certificates

  beforeAll(async () => {
    workspace = await mkdtemp(join(tmpdir(), 'imgapi-mirror-registry-'))
    certificates = await makeCertificates(workspace)
    open = await startDockerRegistry(workspace)
    const filler = new RegistryFiller(open.url)
    await filler.image('app/web', simple, '1.0', 'latest', '1.10.0', '1.9.3-alpine')
    await filler.image('app/web', short, '1.9.3')
    await filler.image('app/repeated', repeated, 'latest')
    await filler.image('app/bare', bare, 'latest')
    for (const blob of [...arm.layers, arm.config]) await filler.blob('app/multi', blob)
    await filler.manifest('app/multi', arm.manifest.digest, arm.manifest)
    await filler.image('app/multi', simple)
    await filler.manifest('app/multi', 'latest', list)
    await filler.manifest('app/multi', 'arm', armOnly)
    await filler.image('app/oci', bare)
    await filler.blob('app/oci', jsonBlob({}, TYPES.ociConfig))
    await filler.blob('app/oci', blobOf(Buffer.from('{}'), 'application/vnd.in-toto+json'))
    await filler.manifest('app/oci', attestation.digest, attestation)
    await filler.manifest('app/oci', 'latest', index)
    await filler.blob('app/chart', artifact.config)
    await filler.blob('app/chart', artifact.layer)
    await filler.manifest('app/chart', 'latest', chart)

    const toRegistry = ['copy', '--src-tls-verify=false', '--dest-tls-verify=false', '-q']
    const from = `docker://${open.host}/app/web:1.0`
    await skopeo(workspace, ...toRegistry, '--format', 'oci', from, `docker://${open.host}/copy/oci:latest`)
    await skopeo(workspace, ...toRegistry, '--format', 'v2s1', from, `docker://${open.host}/copy/schema1:latest`)
    const layout = join(workspace, 'layout')
    await writeOciLayout(layout, 'latest', bare)
    await skopeo(workspace, ...toRegistry, `oci:${layout}:latest`, `docker://${open.host}/copy/gzipped:latest`)
    // Other bytes: skopeo remembers in what other form a layer is there already, and does not pack it anew.
    const other = join(workspace, 'other')
    const plain = blobOf(tarOf('plain', randomBytes(1000)), TYPES.ociLayer)
    await writeOciLayout(other, 'latest', dockerImage([plain], {}, true))
    const packed = ['--dest-compress-format', 'zstd', '--dest-compress']
    await skopeo(workspace, ...toRegistry, ...packed, `oci:${other}:latest`, `docker://${open.host}/copy/zstd:latest`)
  }, 60_000)

  afterAll(async () => {
    await open?.close()
    await rm(workspace, { recursive: true, force: true })
  })

  it('becomes chains of images, with the uuids that imgadm derives', async () => {
    const listing = await listed(open.url, ['app/web:1.0'])
    const digests = [base, middle, top].map(({ digest }) => digest)
    const uuids = digests.map((_, count) => uuidOfLayers(digests.slice(0, count + 1)))
    expect(chainOf(listing, uuids[2]!)).toEqual(uuids)
    expect(listing).toMatchObject({ listedCount: 3, setAside: [], incomplete: undefined })
    expect(listing.tags).toEqual([
      { repository: 'app/web', tag: '1.0', digest: simple.manifest.digest, image: uuids[2] },
    ])
    expect(JSON.parse(topsOf(listing).get(`${open.host}/app/web:1.0`)!.manifest.json)).toMatchObject({
      uuid: uuids[2],
      type: 'docker',
      name: 'docker-layer',
      tags: { 'docker:id': top.digest, 'docker:repo': `${open.host}/app/web`, 'docker:architecture': 'amd64' },
      files: [{ size: top.size, compression: 'gzip' }],
    })
  })

  it('has one image for all tags and configs of the same layers, and keeps what is a top in its full form', async () => {
    const listing = await listed(open.url, ['app/web:1.0', 'app/web:latest', 'app/web:1.9.3'])
    const tops = topsOf(listing)
    expect([...tops.keys()].sort()).toEqual(['1.0', '1.9.3', 'latest'].map((tag) => `${open.host}/app/web:${tag}`))
    expect(tops.get(`${open.host}/app/web:1.0`)).toBe(tops.get(`${open.host}/app/web:latest`))
    expect(listing.statements).toHaveLength(3)
    // The middle of one is the top of the other, and shows its own comment and tags.
    const inner = tops.get(`${open.host}/app/web:1.9.3`)!
    expect(JSON.parse(inner.manifest.json).description).toBe('the lower half of simple')
    expect(chainOf(listing, tops.get(`${open.host}/app/web:1.0`)!.manifest.uuid)).toContain(inner.manifest.uuid)
  })

  it('offers the tags that are selected: by pattern, by version, the newest', async () => {
    const tagsOf = async (...images: string[]) => (await listed(open.url, images)).tags!.map(({ tag }) => tag)
    expect(await tagsOf('app/web:1.9*')).toEqual(['1.9.3', '1.9.3-alpine'])
    expect(await tagsOf('app/web:~1')).toEqual(['1.10.0', '1.9.3', '1.0'])
    expect(await tagsOf('app/web:newest:2')).toEqual(['1.10.0', '1.9.3'])
    expect(await tagsOf('app/web', 'app/web:>=1.10')).toEqual(['latest', '1.10.0'])
  })

  it('counts a layer that comes twice as two images with one file', async () => {
    const listing = await listed(open.url, ['app/repeated'])
    const files = listing.statements.map(({ manifest }) => manifest.files[0]!.digests[0]!.hex)
    expect(listing.statements).toHaveLength(3)
    expect(files[0]).toBe(files[2])
  })

  it('goes through lists and indexes to our platform, past attestations', async () => {
    const listing = await listed(open.url, ['app/multi', 'app/oci'])
    expect(listing.setAside).toEqual([])
    expect(listing.tags!.map(({ digest }) => digest)).toEqual([list.digest, index.digest])
    expect(topsOf(listing).get(`${open.host}/app/multi:latest`)!.manifest.files[0]!.sizeBytes).toBe(top.size)
    expect(topsOf(listing).get(`${open.host}/app/oci:latest`)!.manifest.files[0]).toMatchObject({ compression: 'none' })
    const other = await listed(open.url, ['app/multi'], { platform: { os: 'linux', architecture: 'arm64' } })
    expect(JSON.parse(other.statements[0]!.manifest.json).tags['docker:architecture']).toBe('arm64')
  })

  it('sets aside what can be no image, and why, and lists the rest', async () => {
    const images = [
      'app/chart',
      'app/multi:arm',
      'app/web:nope',
      'app/nowhere',
      'app/nowhere:*',
      'app/web:9.*',
      'app/web:1.0',
    ]
    const listing = await listed(open.url, images)
    const reasons = Object.fromEntries(
      listing.setAside.map(({ what, reason }) => [what.replace(`${open.host}/`, ''), reason]),
    )
    expect(reasons).toEqual({
      'app/chart:latest': expect.stringContaining('is no image, but "application/vnd.cncf.helm.config.v1+json"'),
      'app/multi:arm': expect.stringContaining('is not for linux/amd64, but for linux/arm64'),
      'app/web:nope': 'the registry has no such tag, or denies it',
      'app/nowhere:latest': 'the registry has no such tag, or denies it',
      'app/nowhere (app/nowhere:*)': 'the registry has no such repository, or denies it',
      'app/web (app/web:9.*)': expect.stringContaining('tags matches'),
    })
    expect(listing.statements).toHaveLength(3)
    expect(listing.listedCount).toBe(9)
  })

  it('has what skopeo made of it: OCI with the same layers, schema 1, gzip of a plain tar', async () => {
    const listing = await listed(open.url, ['app/web:1.0', 'copy/oci', 'copy/schema1', 'copy/gzipped'])
    expect(listing.setAside).toEqual([])
    const uuids = Object.fromEntries(listing.tags!.map(({ image, repository }) => [repository, image]))
    expect(uuids['copy/oci']).toBe(uuids['app/web'])
    // Empty layers of schema 1 would be images too; skopeo made none of this one's history.
    expect(chainOf(listing, uuids['copy/schema1']!)).toHaveLength(3)
    const gzipped = listing.statements.find(({ manifest }) => manifest.uuid === uuids['copy/gzipped'])!
    expect(gzipped.manifest.files[0]!.compression).toBe('gzip')
  })

  it('sets aside what has more layers than chains may have, instead of listing what is refused', async () => {
    const refused = await listed(open.url, ['app/web:1.0'], { maxAncestry: 2 })
    expect(refused.statements).toEqual([])
    expect(refused.setAside).toMatchObject([{ reason: expect.stringMatching(/^it has \d layers.*maxAncestry/) }])
  })

  it('sets aside what imgadm cannot unpack, or marks it as to be packed anew', async () => {
    const refused = await listed(open.url, ['copy/zstd'])
    expect(refused.setAside).toEqual([
      { what: `${open.host}/copy/zstd:latest`, reason: expect.stringMatching(/zstd.*"recompress: gzip"/) },
    ])
    expect(refused.tags).toMatchObject([{ tag: 'latest', image: undefined }])
    const upstream = dockerAt(open.url, ['copy/zstd'], { recompress: 'gzip' })
    const [statement] = (await listOf(upstream)).statements
    expect(statement).toMatchObject({ needsRecompression: true })
    expect((await fileOf(upstream, statement!)).subarray(0, 4).toString('hex')).toBe('28b52ffd')
  })

  it('gives files whole and in parts', async () => {
    const upstream = dockerAt(open.url, ['app/web:1.0'])
    const statement = topsOf(await listOf(upstream)).get(`${open.host}/app/web:1.0`)!
    expect((await fileOf(upstream, statement)).equals(top.bytes)).toBe(true)
    const part = await fileOf(upstream, statement, { startBytes: 1000, endBytes: 2000, validator: `"${top.digest}"` })
    expect(part.equals(top.bytes.subarray(1000, 2000))).toBe(true)
    expect(upstream.health().canResume).toBe(true)
    expect(upstream.whyLeftOut(statement)).toBeUndefined()
    expect(await upstream.getImage(statement.manifest.uuid, never)).toBe(statement)
  })

  it('is not asked twice for an object, not even by another run', async () => {
    const front = await started(startFront(open.url))
    const memory = new MapMemory()
    const first = await listed(front.url, ['app/web:1.0', 'app/multi'], { registryMemory: () => memory })
    const gets = () =>
      front.requests.filter(({ method, url }) => method === 'GET' && /manifests|blobs/.test(url)).length
    // The list, the manifest that it and the tag share, and its config.
    expect(gets()).toBe(3)
    const second = await listed(front.url, ['app/web:1.0', 'app/multi'], { registryMemory: () => memory })
    expect(gets()).toBe(3)
    expect(second.tags).toEqual(first.tags)
    expect([...memory.repositories.get(simple.manifest.digest)!].sort()).toEqual(['app/multi', 'app/web'])
  })

  it('answers what its own clients ask', async () => {
    const registry = dockerAt(open.url, ['app/web:1.*']).registry!
    expect(registry.host).toBe(open.host)
    expect(await registry.listTags('app/web', never)).toEqual(['1.0', '1.10.0', '1.9.3', '1.9.3-alpine', 'latest'])
    expect(await registry.listTags('app/none', never)).toBeUndefined()
    const { bytes, ...ref } = (await registry.getManifest('app/web', '1.0', never))!
    expect(ref).toEqual({ digest: simple.manifest.digest, mediaType: TYPES.schema2, sizeBytes: simple.manifest.size })
    expect(bytes.equals(simple.manifest.bytes)).toBe(true)
    expect(await registry.headManifest('app/web', '1.0', never)).toEqual(ref)
    expect(await registry.getManifest('app/multi', list.digest, never)).toMatchObject({ mediaType: TYPES.list })
    expect(await registry.headBlob('app/web', top.digest, never)).toBe(top.size)
    expect(await registry.headBlob('app/web', `sha256:${'0'.repeat(64)}`, never)).toBeUndefined()
    expect(await registry.getManifest('app/../web', '1.0', never)).toBeUndefined()
    expect([
      registry.mayPull('app/web'),
      registry.mayPull('app/web', '1.0'),
      registry.mayPull('app/web', 'latest'),
    ]).toEqual([true, true, false])
    expect([registry.mayPull('app/multi'), registry.pullsAny]).toEqual([false, false])
    expect(dockerAt(open.url, [], { pull: 'any' }).registry!.mayPull('app/multi', 'x')).toBe(true)
  })

  it('gives any blob by its digest, as a file', async () => {
    const upstream = dockerAt(open.url, [], { pull: 'any' })
    const statement = upstream.registry!.blobStatement('app/web', simple.config.digest, simple.config.size)
    expect((await fileOf(upstream, statement)).equals(simple.config.bytes)).toBe(true)
  })

  describe('that wants a password', () => {
    let closed: DockerRegistry
    beforeAll(async () => {
      closed = await startDockerRegistry(workspace, { storage: open.storage, asksPassword: true })
    })
    afterAll(() => closed?.close())
    const { username, password } = BASIC_USER

    it('gets the configured one, or the one of a Docker config.json', async () => {
      expect((await listed(closed.url, ['app/web'], { username, password })).statements).toHaveLength(3)
      const auth = Buffer.from(`${username}:${password}`).toString('base64')
      const dockerConfig = JSON.stringify({ auths: { 'quay.io': {}, [closed.host]: { auth } } })
      expect((await listed(closed.url, ['app/web'], { dockerConfig })).statements).toHaveLength(3)
    })

    it.each([
      ['without one', {}, 'none is configured'],
      ['with a wrong one', { username, password: 'wrong' }, 'refuses the configured credentials'],
    ])('cannot be had %s, which is not taken for a registry without images', async (_how, options, complaint) => {
      await expect(listed(closed.url, ['app/web'], options)).rejects.toMatchObject({
        code: 'UPSTREAM_UNREACHABLE',
        message: expect.stringContaining(complaint),
      })
    })
  })

  it('is believed by the certificate of its authority, and by no other', async () => {
    const secure = await started(startDockerRegistry(workspace, { storage: open.storage, tls: certificates }))
    expect((await listed(secure.url, ['app/web'], { ca: certificates.ca })).statements).toHaveLength(3)
    await expect(listed(secure.url, ['app/web'])).rejects.toMatchObject({ code: 'UPSTREAM_UNREACHABLE' })
  })

  it('may give blobs by another server, if that is configured; our credentials stay here', async () => {
    const cdn = await started(
      serve((request, response, url) => {
        // As S3 does with a signed url and a header besides.
        if (request.headers.authorization !== undefined) response.writeHead(400).end()
        else void readFile(join(open.storage, url.pathname)).then((bytes) => answerFile(request, response, bytes, {}))
      }),
    )
    const form = { storage: open.storage, asksPassword: true, redirect: cdn.url }
    const registry = await started(startDockerRegistry(workspace, form))
    const { username, password } = BASIC_USER
    const upstream = dockerAt(registry.url, ['app/web:1.0'], { username, password, fileHosts: [cdn.url] })
    const statement = topsOf(await listOf(upstream)).get(`${registry.host}/app/web:1.0`)!
    expect((await fileOf(upstream, statement)).equals(top.bytes)).toBe(true)
    const before = cdn.requests.length
    const rest = await fileOf(upstream, statement, { startBytes: 150_000, validator: `"${top.digest}"` })
    expect(rest.equals(top.bytes.subarray(150_000))).toBe(true)
    expect(cdn.requests.length).toBe(before + 1)
    expect(cdn.requests.at(-1)!.headers).not.toHaveProperty('if-range')
    expect(await upstream.registry!.headBlob('app/web', top.digest, never)).toBe(top.size)

    const strict = await listed(registry.url, ['app/web:1.0'], { username, password })
    expect(strict.setAside).toMatchObject([{ reason: expect.stringMatching(/redirects to .* not allowed/) }])
  })

  describe('that wants tokens', () => {
    const tokenRig = async (options: Parameters<typeof startTokenServer>[1] = {}) => {
      const tokens = await started(startTokenServer(certificates, options))
      const registry = await started(startDockerRegistry(workspace, { storage: open.storage, tokens }))
      return { tokens, registry, authHosts: [tokens.url] }
    }

    it('gets one for each repository, anonymously, and uses it until it is over', async () => {
      const { authHosts, registry, tokens } = await tokenRig()
      const upstream = dockerAt(registry.url, ['app/web:1.0', 'app/multi'], { authHosts })
      expect((await listOf(upstream)).setAside).toEqual([])
      // Both at once: whichever comes first.
      const scopes = tokens.requests.map(({ url }) => new URL(url, tokens.url).searchParams.getAll('scope'))
      expect(scopes.sort()).toEqual([['repository:app/multi:pull'], ['repository:app/web:pull']])
      expect(tokens.requests.some(({ headers }) => headers.authorization)).toBe(false)
      await listOf(upstream)
      expect(tokens.requests).toHaveLength(2)
    })

    it('gets one for a user, and for an identity token by OAuth 2', async () => {
      const users = { mirror: 'secret' }
      const { authHosts, registry } = await tokenRig({ users, identityTokens: ['refresh-me'] })
      const asUser = { authHosts, username: 'mirror', password: 'secret' }
      expect((await listed(registry.url, ['app/web:1.0'], asUser)).statements).toHaveLength(3)
      const auth = Buffer.from('<token>:').toString('base64')
      const dockerConfig = JSON.stringify({ auths: { [registry.host]: { auth, identitytoken: 'refresh-me' } } })
      expect((await listed(registry.url, ['app/web:1.0'], { authHosts, dockerConfig })).statements).toHaveLength(3)
      const wrong = { authHosts, username: 'mirror', password: 'wrong' }
      await expect(listed(registry.url, ['app/web:1.0'], wrong)).rejects.toMatchObject({
        code: 'UPSTREAM_UNREACHABLE',
        message: expect.stringContaining('refuses the configured credentials'),
      })
    })

    it('falls back to a password where OAuth 2 is not known', async () => {
      const { authHosts, registry, tokens } = await tokenRig({ users: { someone: 'refresh-me' } })
      const auth = Buffer.from('someone:').toString('base64')
      const dockerConfig = JSON.stringify({ auths: { [registry.host]: { auth, identitytoken: 'refresh-me' } } })
      expect((await listed(registry.url, ['app/web:1.0'], { authHosts, dockerConfig })).statements).toHaveLength(3)
      expect(tokens.requests.slice(0, 2).map(({ method }) => method)).toEqual(['POST', 'GET'])
    })

    it('denies what it denies, and the rest stands', async () => {
      const { authHosts, registry } = await tokenRig({ denied: ['app/multi'] })
      const listing = await listed(registry.url, ['app/multi', 'app/multi:*', 'app/web:1.0'], { authHosts })
      expect(listing.setAside).toHaveLength(2)
      expect(listing.statements).toHaveLength(3)
      const { registry: asked } = dockerAt(registry.url, [], { pull: 'any', authHosts })
      expect(await asked!.getManifest('app/multi', 'latest', never)).toBeUndefined()
    })

    it('gets a fresh one when the old one is over in the middle of a pull', async () => {
      // A registry lets a token live for 60 seconds after its end: these end within two.
      let lifeSeconds = -58
      const { authHosts, registry, tokens } = await tokenRig({ lifeSeconds: () => lifeSeconds, toldSeconds: 300 })
      const upstream = dockerAt(registry.url, ['app/web:1.0'], { authHosts })
      const statement = topsOf(await listOf(upstream)).get(`${registry.host}/app/web:1.0`)!
      const head = await fileOf(upstream, statement, { endBytes: 100_000 })
      lifeSeconds = 300
      // On a busy machine one or the other was over before, and the last one counts.
      const before = tokens.tokens.length
      const authorization = `Bearer ${tokens.tokens.at(-1)}`
      const isOver = async () =>
        (await fetch(`${registry.url}/v2/app/web/tags/list`, { headers: { authorization } })).status === 401
      while (!(await isOver())) await new Promise((resolve) => setTimeout(resolve, 50))
      const rest = await fileOf(upstream, statement, { startBytes: 100_000 })
      expect(Buffer.concat([head, rest]).equals(top.bytes)).toBe(true)
      expect(tokens.tokens).toHaveLength(before + 1)
    })

    it('gets no credentials to a realm that nobody trusts', async () => {
      const { registry, tokens } = await tokenRig()
      const options = { username: 'mirror', password: 'secret' }
      for (const chosen of [options, {}]) {
        await expect(listed(registry.url, ['app/web:1.0'], chosen)).resolves.toMatchObject({
          setAside: [{ reason: expect.stringMatching(/for tokens.*authHosts/) }],
        })
      }
      expect(tokens.requests).toEqual([])
    })
  })

  it('is a registry, or is refused', async () => {
    const page = await started(serve((_request, response) => response.writeHead(404).end()))
    await expect(listed(page.url, ['app/web'])).rejects.toSatisfy((error) =>
      isMirrorError(error, 'UPSTREAM_MISBEHAVED'),
    )
  })
})

/** Passes everything on, and remembers what was asked. */
function startFront(target: string) {
  return serve((request, response, url) => {
    const headers = request.headers as Record<string, string>
    void fetch(new URL(url.pathname + url.search, target), { method: request.method!, headers, redirect: 'manual' })
      .then(async (answer) => {
        const body = Buffer.from(await answer.arrayBuffer())
        response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(body)
      })
      .catch(() => response.destroy())
  })
}
