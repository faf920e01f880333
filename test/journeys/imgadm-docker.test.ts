import { createHash, randomBytes } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { request } from 'undici'
import { expect, it, onTestFinished } from 'vitest'
import { uuidOfLayers } from '../../src/images/docker/layer-images.js'
import { dockerImage, gzipLayer, tarOf, zstdLayer } from '../support/docker-images.js'
import { RegistryFiller, skopeo, startDockerRegistry, whyNoDockerRegistry } from '../support/docker-registry.js'
import { IMGADM_HEADERS } from '../support/imgadm-headers.js'
import { startMirror, until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'

const whyNot = whyNoDockerRegistry()

interface LayerManifest {
  readonly v: number
  readonly uuid: string
  readonly type: string
  readonly state: string
  readonly origin?: string
  readonly tags: Readonly<Record<string, unknown>>
  readonly files: readonly [{ readonly sha1?: string; readonly size: number; readonly compression: string }]
}

async function ask(url: string, path: string): Promise<{ length: string; bytes: Buffer }> {
  const { body, headers, statusCode } = await request(`${url}${path}`, { headers: IMGADM_HEADERS })
  const bytes = Buffer.from(await body.arrayBuffer())
  expect([path, statusCode, headers['content-encoding'], headers['transfer-encoding']]).toEqual([
    path,
    200,
    undefined,
    undefined,
  ])
  return { length: String(headers['content-length']), bytes }
}

async function askJson<Answer>(url: string, path: string): Promise<Answer> {
  return JSON.parse((await ask(url, path)).bytes.toString()) as Answer
}

/**
 * What `imgadm sources -a`, `imgadm avail` and `imgadm import` do, and imgadm's own unpacking at the end of it.
 * @returns manifests and what the files unpack to, the image itself first.
 */
async function imported(url: string, tag: string) {
  expect(await askJson(url, '/ping')).toMatchObject({ imgapi: true })
  const available = await askJson<LayerManifest[]>(url, '/images')
  const top = available.find(({ tags }) => tags[`docker:tag:${tag}`] === true)!
  const manifests: LayerManifest[] = []
  for (let next: string | undefined = top.uuid; next !== undefined; ) {
    const manifest: LayerManifest = await askJson(url, `/images/${next}`)
    expect(manifest).toMatchObject({ v: 2, uuid: next, type: 'docker', state: 'active' })
    manifests.push(manifest)
    next = manifest.origin
  }
  const tars = await Promise.all(
    manifests.map(async ({ uuid, files: [file] }) => {
      const { bytes, length } = await ask(url, `/images/${uuid}/file`)
      expect([length, bytes.length]).toEqual([String(file.size), file.size])
      if (file.sha1 !== undefined) expect(createHash('sha1').update(bytes).digest('hex')).toBe(file.sha1)
      expect(file.compression).toBe('gzip')
      return gunzipSync(bytes)
    }),
  )
  return { manifests, tars }
}

const contents = { base: randomBytes(400_000), packed: Buffer.alloc(600_000, 'lines of text\n') }
const layers = [
  gzipLayer('base', contents.base),
  zstdLayer('packed', contents.packed),
  gzipLayer('base', contents.base),
]
const tars = [tarOf('base', contents.base), tarOf('packed', contents.packed), tarOf('base', contents.base)]
const diffIds = tars.map((tar) => `sha256:${createHash('sha256').update(tar).digest('hex')}`)
const image = dockerImage(layers, { rootfs: { type: 'layers', diff_ids: diffIds } }, true)
const uuids = layers.map((_, index) => uuidOfLayers(layers.slice(0, index + 1).map(({ digest }) => digest)))

function upstreamOf({ url }: { url: string }, more: object = {}) {
  const images = ['org/app:latest']
  return { name: 'hub', type: 'docker', url, images, recompress: 'gzip', timeouts: { connect: '500ms' }, ...more }
}

/** A registry that skopeo has filled. */
async function filledRegistry() {
  const workspace = await temporaryDirectory()
  const start = async (storage?: string) => {
    const registry = await startDockerRegistry(workspace, storage === undefined ? {} : { storage })
    onTestFinished(() => registry.close())
    return registry
  }
  const first = await start()
  await new RegistryFiller(first.url).image('raw/app', image, 'latest')
  const [from, to] = ['raw', 'org'].map((place) => `docker://${first.host}/${place}/app:latest`) as [string, string]
  const options = ['--src-tls-verify=false', '--dest-tls-verify=false', '--preserve-digests']
  await skopeo(workspace, 'copy', '-q', ...options, from, to)
  return first
}

it.skipIf(whyNot)(
  `imgadm imports a Docker image whole, layers of zstd and repeated ones too, and again from a mirror alone${whyNot ? ` (${whyNot})` : ''}`,
  async () => {
    const registry = await filledRegistry()
    const settings = { upstreams: [upstreamOf(registry)], scrub: { every: 'never' } }
    const mirror = await startMirror(settings)
    await mirror.settled()
    await until(async () => (await mirror.status()).imagesListed === layers.length)
    const cold = await imported(mirror.url, 'latest')
    expect(cold.manifests.map(({ uuid }) => uuid)).toEqual(uuids.toReversed())
    expect(cold.tars.map((tar, index) => tar.equals(tars.toReversed()[index]!))).toEqual([true, true, true])
    await until(async () => (await mirror.status()).imagesHeld === layers.length)
    const listed = (await ask(mirror.url, '/images')).bytes
    await mirror.close()
    await registry.close()

    for (const offline of [false, true]) {
      const alone = await startMirror({ ...settings, data: mirror.dataDirectory, offline })
      expect((await ask(alone.url, '/images')).bytes.equals(listed)).toBe(true)
      const warm = await imported(alone.url, 'latest')
      expect(warm.manifests.map(({ files: [{ sha1 }] }) => typeof sha1)).toEqual(['string', 'string', 'string'])
      expect(warm.manifests.map(({ uuid }) => uuid)).toEqual(uuids.toReversed())
      expect(warm.tars.map((tar, index) => tar.equals(tars.toReversed()[index]!))).toEqual([true, true, true])
      await alone.close()
    }
  },
  60_000,
)
