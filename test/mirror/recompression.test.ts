import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { access, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openLedger } from '../../src/assemble/open-ledger.js'
import { uuidOfLayers } from '../../src/images/docker/layer-images.js'
import type { JobSummary } from '../../src/mirror/jobs.js'
import { ask } from '../http/operator/api/api-client.js'
import {
  blobOf,
  dockerImage,
  gzipLayer,
  type MadeBlob,
  type MadeDockerImage,
  tarOf,
  zstdLayer,
} from '../support/docker-images.js'
import { sha1, sha256 } from '../support/made-up-images.js'
import { type BlobAsked, type MemoryRegistry, startMemoryRegistry } from '../support/memory-registry.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'
import { startTrap } from '../support/upstreams/serve.js'

const whyNot = spawnSync('which', ['zstd']).status === 0 ? undefined : "Debian's package zstd is not installed"

const contents = { base: randomBytes(300_000), middle: Buffer.alloc(400_000, 'lines\n'), top: randomBytes(1000) }
const base = gzipLayer('base', contents.base)
const middle = zstdLayer('middle', contents.middle)
const top = gzipLayer('top', contents.top)
const middleTar = tarOf('middle', contents.middle)

function diffId(tar: Buffer): string {
  return `sha256:${sha256(tar)}`
}

/** An image whose config says what its layers unpack to. */
function imageOf(layers: readonly MadeBlob[], tars: readonly Buffer[], more: object = {}): MadeDockerImage {
  return dockerImage(layers, { rootfs: { type: 'layers', diff_ids: tars.map(diffId) }, ...more }, true)
}

const app = imageOf([base, middle, top], [tarOf('base', contents.base), middleTar, tarOf('top', contents.top)])
const uuids = app.layers.map((_, index) => uuidOfLayers(app.layers.slice(0, index + 1).map(({ digest }) => digest)))
const [baseUuid, middleUuid, topUuid] = uuids as readonly string[] as [string, string, string]

interface Wire {
  readonly uuid: string
  readonly files: readonly { readonly sha1?: string; readonly size: number; readonly compression: string }[]
  readonly tags: Record<string, unknown>
}

interface RecompressionSeen {
  readonly waiting: number
  readonly refused: readonly { readonly uuid: string; readonly reason: string }[]
}

function upstreamOf({ url }: { url: string }, more: object = {}) {
  const images = ['org/app:latest']
  return { name: 'hub', type: 'docker', url, images, recompress: 'gzip', timeouts: { connect: '500ms' }, ...more }
}

async function registryOf(
  images: Record<string, MadeDockerImage> = { 'org/app:latest': app },
  takeOver?: (asked: BlobAsked) => boolean,
): Promise<MemoryRegistry> {
  const registry = await startMemoryRegistry(images, takeOver)
  onTestFinished(() => registry.close())
  return registry
}

async function startOver(registry: { url: string }, settings: object = {}, more: object = {}): Promise<RunningMirror> {
  const mirror = await startMirror({ upstreams: [upstreamOf(registry, more)], scrub: { every: 'never' }, ...settings })
  await mirror.settled()
  return mirror
}

async function listOf({ url }: RunningMirror): Promise<readonly Wire[]> {
  return (await (await fetch(`${url}/images`)).json()) as Wire[]
}

async function seen(mirror: RunningMirror): Promise<RecompressionSeen> {
  return ((await mirror.status()) as unknown as { recompression: RecompressionSeen }).recompression
}

async function isDone(mirror: RunningMirror): Promise<boolean> {
  return (await seen(mirror)).waiting === 0
}

async function derivations({ dataDirectory }: RunningMirror): Promise<readonly { sha256: string }[]> {
  const text = await readFile(join(dataDirectory, 'registry', 'derivations.jsonl'), 'utf8')
  const lines = text.split('\n').filter((line) => line.includes('"derivation"'))
  return lines.map((line) => (JSON.parse(line) as { derivation: { sha256: string } }).derivation)
}

async function bytesOf(url: string): Promise<Buffer> {
  const response = await fetch(url)
  expect(response.status).toBe(200)
  return Buffer.from(await response.arrayBuffer())
}

function pathOf({ dataDirectory }: RunningMirror, hex: string): string {
  return join(dataDirectory, 'blobs', 'sha256', hex.slice(0, 2), hex)
}

describe.skipIf(whyNot !== undefined)(
  `a layer of zstd, which imgadm cannot unpack${whyNot ? ` (${whyNot})` : ''}`,
  () => {
    it('is there as gzip for clients of IMGAPI, and as it is for those of Docker', async () => {
      const mirror = await startOver(await registryOf())
      await until(() => isDone(mirror))
      const listed = await listOf(mirror)
      expect(listed.map(({ uuid }) => uuid).sort()).toEqual([...uuids].sort())
      const shown = listed.find(({ uuid }) => uuid === middleUuid)!
      expect(shown.tags['docker:id']).toBe(middle.digest)
      const got = await fetch(`${mirror.url}/images/${middleUuid}/file`)
      const bytes = Buffer.from(await got.arrayBuffer())
      expect(gunzipSync(bytes).equals(middleTar)).toBe(true)
      expect(shown.files).toEqual([{ sha1: sha1(bytes), size: bytes.length, compression: 'gzip' }])
      expect(await (await fetch(`${mirror.url}/images/${middleUuid}`)).json()).toEqual(shown)
      expect(got.headers.get('content-length')).toBe(String(bytes.length))
      expect(got.headers.get('content-md5')).toBe(createHash('md5').update(bytes).digest('base64'))
      const original = await bytesOf(`${mirror.url}/v2/org/app/blobs/${middle.digest}`)
      expect(original.equals(middle.bytes)).toBe(true)
    })

    it('is in the ledger with what came of it, so that an auditor can tell it from its original', async () => {
      const mirror = await startOver(await registryOf())
      await until(() => isDone(mirror))
      const bytes = await bytesOf(`${mirror.url}/images/${middleUuid}/file`)
      await mirror.close()
      const entries = await openLedger(mirror.dataDirectory).newest(middleUuid, 100)
      const made = entries.filter(({ kind }) => kind === 'recompressed')
      expect(made).toMatchObject([
        {
          image: middleUuid,
          facts: {
            how: 'zstd to gzip',
            fromSha256: sha256(middle.bytes),
            fromBytes: middle.size,
            unpackedSha256: sha256(middleTar),
            sha256: sha256(bytes),
            sha1: sha1(bytes),
            sizeBytes: bytes.length,
          },
        },
      ])
    })

    it('is not listed before, nor is what builds on it; whoever asks for it waits', async () => {
      const held: BlobAsked[] = []
      let isHeldBack = true
      const registry = await registryOf({ 'org/app:latest': app }, (asked) => {
        if (!isHeldBack || asked.blob !== middle) return false
        held.push(asked)
        return true
      })
      const mirror = await startOver(registry)
      await until(() => held.length > 0)
      expect((await listOf(mirror)).map(({ uuid }) => uuid)).toEqual([baseUuid])
      expect(await seen(mirror)).toEqual({ waiting: 1, refused: [] })
      const asked = fetch(`${mirror.url}/images/${topUuid}`)
      const early = await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 100))])
      expect(early).toBeUndefined()
      isHeldBack = false
      for (const { response } of held) response.writeHead(200, { 'content-length': middle.size }).end(middle.bytes)
      expect((await asked).status).toBe(200)
      expect((await listOf(mirror)).map(({ uuid }) => uuid).sort()).toEqual([...uuids].sort())
      const answer = await fetch(`${mirror.url}/images/${middleUuid}`)
      expect(((await answer.json()) as Wire).files[0]).toMatchObject({ compression: 'gzip' })
    })

    it('stays what it became after a restart, with its registry dead, and offline', async () => {
      const registry = await registryOf()
      const mirror = await startOver(registry)
      await until(() => isDone(mirror))
      const before = await listOf(mirror)
      for (const uuid of uuids) await bytesOf(`${mirror.url}/images/${uuid}/file`)
      const bytes = await bytesOf(`${mirror.url}/images/${middleUuid}/file`)
      await until(async () => (await mirror.status()).imagesHeld === 3)
      const shown = await listOf(mirror)
      expect(shown.find(({ uuid }) => uuid === middleUuid)).toEqual(before.find(({ uuid }) => uuid === middleUuid))
      await mirror.close()
      await registry.close()
      const dead = await startOver(registry, { data: mirror.dataDirectory })
      expect(await listOf(dead)).toEqual(shown)
      expect((await bytesOf(`${dead.url}/images/${middleUuid}/file`)).equals(bytes)).toBe(true)
      await dead.close()
      const trap = await startTrap()
      onTestFinished(() => trap.close())
      const offline = await startOver(registry, { data: mirror.dataDirectory, offline: true })
      expect(await listOf(offline)).toEqual(shown)
      expect((await bytesOf(`${offline.url}/images/${middleUuid}/file`)).equals(bytes)).toBe(true)
      expect(await derivations(offline)).toHaveLength(1)
    })

    it('is made offline of an original that clients of Docker have left', async () => {
      const registry = await registryOf()
      const refusing = await startOver(registry, {}, { recompress: 'none' })
      const closed = refusing.dataDirectory
      for (const { digest } of app.layers) await bytesOf(`${refusing.url}/v2/org/app/blobs/${digest}`)
      await refusing.close()
      // What is claimed is heard once, and nothing of it fetched before the end.
      const deaf = await registryOf(
        { 'org/app:latest': app },
        ({ response }) => !response.writeHead(500).end().writable,
      )
      const told = await startOver(deaf, { data: closed })
      await told.close()
      const offline = await startOver(deaf, { data: closed, offline: true })
      await until(async () => (await listOf(offline)).length === 3)
      expect(gunzipSync(await bytesOf(`${offline.url}/images/${middleUuid}/file`)).equals(middleTar)).toBe(true)
    })

    it('is refused with a reason where configuration does not ask for more, and is there for Docker all the same', async () => {
      const mirror = await startOver(await registryOf(), {}, { recompress: 'none' })
      expect(await listOf(mirror)).toEqual([])
      const [upstream] = (await mirror.status()).upstreams as unknown as { setAside: { reason: string }[] }[]
      expect(upstream!.setAside).toMatchObject([{ reason: expect.stringMatching(/zstd.*"recompress: gzip"/) }])
      expect((await fetch(`${mirror.url}/images/${topUuid}`)).status).toBe(404)
      expect((await bytesOf(`${mirror.url}/v2/org/app/blobs/${middle.digest}`)).equals(middle.bytes)).toBe(true)
    })

    it.each([
      ['unpacks to something else than its image says', middle, Buffer.from('else'), {}, /unpacks to/],
      ['is no zstd', blobOf(randomBytes(500), middle.mediaType), middleTar, {}, /not compressed with zstd/],
      ['is damaged', blobOf(middle.bytes.subarray(0, -20), middle.mediaType), middleTar, {}, /cannot be packed anew/],
      [
        'unpacks to more than configuration allows',
        zstdLayer('zeros', Buffer.alloc(2 ** 21)),
        tarOf('zeros', Buffer.alloc(2 ** 21)),
        { limits: { layer: '1MiB' } },
        /more than 1048576 bytes/,
      ],
    ] as const)('is never offered when it %s', async (_fault, layer, tar, settings, reason) => {
      const image = imageOf([layer, top], [tar, tarOf('top', contents.top)])
      const mirror = await startOver(await registryOf({ 'org/app:latest': image }), settings)
      await until(async () => (await seen(mirror)).refused.length > 0)
      const uuid = uuidOfLayers([layer.digest])
      expect(await seen(mirror)).toEqual({ waiting: 0, refused: [{ uuid, reason: expect.stringMatching(reason) }] })
      expect(await listOf(mirror)).toEqual([])
      for (const each of [uuid, uuidOfLayers([layer.digest, top.digest])]) {
        const answer = await fetch(`${mirror.url}/images/${each}`)
        expect(answer.status).toBe(404)
        expect(((await answer.json()) as { message: string }).message).toMatch(reason)
      }
      expect((await bytesOf(`${mirror.url}/v2/org/app/blobs/${layer.digest}`)).equals(layer.bytes)).toBe(true)
    })

    it('is fetched and made once, in however many images it is', async () => {
      const tars = [middleTar, tarOf('top', contents.top), middleTar]
      const registry = await registryOf({
        'org/app:latest': imageOf([middle, top, middle], tars),
        'org/app:other': imageOf([base, middle], [tarOf('base', contents.base), middleTar]),
      })
      const mirror = await startOver(registry, {}, { images: ['org/app:latest', 'org/app:other'] })
      await until(async () => (await listOf(mirror)).length === 5)
      expect(registry.asked(middle.digest)).toBe(1)
      expect(await derivations(mirror)).toHaveLength(1)
    })

    it('is made again, byte by byte the same, when it was lost', async () => {
      const registry = await registryOf()
      const mirror = await startOver(registry)
      await until(() => isDone(mirror))
      const bytes = await bytesOf(`${mirror.url}/images/${middleUuid}/file`)
      await mirror.close()
      await rm(pathOf(mirror, sha256(bytes)))
      await rm(pathOf(mirror, middle.digest.slice('sha256:'.length)))
      const again = await startOver(registry, { data: mirror.dataDirectory })
      expect((await bytesOf(`${again.url}/images/${middleUuid}/file`)).equals(bytes)).toBe(true)
      expect(registry.asked(middle.digest)).toBe(2)
    })

    it('keeps no import waiting that was cancelled', async () => {
      const held: BlobAsked[] = []
      let isHeldBack = false
      const registry = await registryOf({ 'org/app:latest': app }, (asked) => {
        if (!isHeldBack || asked.blob !== middle) return false
        held.push(asked)
        return true
      })
      const mirror = await startOver(registry)
      await until(() => isDone(mirror))
      const [made] = await derivations(mirror)
      await mirror.close()
      await rm(pathOf(mirror, made!.sha256))
      await rm(pathOf(mirror, middle.digest.slice('sha256:'.length)))
      isHeldBack = true
      const again = await startOver(registry, { data: mirror.dataDirectory })
      onTestFinished(() => {
        for (const { response } of held) response.destroy()
      })
      const { body } = await ask<JobSummary>(again.operatorUrl, 'POST', '/api/import', { uuids: [middleUuid] })
      await until(() => held.length > 0)
      const cancelled = await ask(again.operatorUrl, 'DELETE', `/api/jobs/${body.id}`)
      expect(cancelled.body).toMatchObject({ state: 'cancelled' })
    })

    it('does not leave to make room, as its original may', async () => {
      const content = randomBytes(200_000)
      const [packed, tar] = [zstdLayer('packed', content), tarOf('packed', content)]
      const others = Array.from({ length: 6 }, (_, index) => gzipLayer(`other ${index}`, randomBytes(300_000)))
      const images = others.map((layer, index) => imageOf([layer], [tarOf(`other ${index}`, Buffer.alloc(0))]))
      const tagged = images.map((image, index) => [`org/app:o${index}`, image] as const)
      const registry = await registryOf({ 'org/app:latest': imageOf([packed], [tar]), ...Object.fromEntries(tagged) })
      const selected = ['org/app:latest', ...tagged.map(([name]) => name)]
      const mirror = await startOver(registry, { quota: '1MiB' }, { images: selected })
      await until(() => isDone(mirror))
      const [made] = await derivations(mirror)
      for (const { digest } of others) {
        await bytesOf(`${mirror.url}/images/${uuidOfLayers([digest])}/file`)
        await until(async () => (await mirror.status()).flights.length === 0)
      }
      await expect(access(pathOf(mirror, packed.digest.slice('sha256:'.length)))).rejects.toMatchObject({
        code: 'ENOENT',
      })
      await access(pathOf(mirror, made!.sha256))
      const uuid = uuidOfLayers([packed.digest])
      expect(gunzipSync(await bytesOf(`${mirror.url}/images/${uuid}/file`)).equals(tar)).toBe(true)
      expect(registry.asked(packed.digest)).toBe(1)
    })

    describe('that its media type calls gzip', () => {
      const mislabelled = blobOf(middle.bytes, base.mediaType)
      const tars = [tarOf('base', contents.base), middleTar, tarOf('top', contents.top)]
      const image = imageOf([base, mislabelled, top], tars)
      const file = (mirror: RunningMirror) => bytesOf(`${mirror.url}/images/${middleUuid}/file`)

      it('is made anew as soon as it has been pulled', async () => {
        const registry = await registryOf({ 'org/app:latest': image })
        const mirror = await startOver(registry)
        expect(await listOf(mirror)).toHaveLength(3)
        await bytesOf(`${mirror.url}/images/${baseUuid}/file`)
        await file(mirror)
        await until(async () => (await derivations(mirror).catch(() => [])).length === 1)
        const bytes = await file(mirror)
        expect(gunzipSync(bytes).equals(middleTar)).toBe(true)
        const shown = (await listOf(mirror)).find(({ uuid }) => uuid === middleUuid)
        expect(shown!.files).toEqual([{ sha1: sha1(bytes), size: bytes.length, compression: 'gzip' }])
        const original = await bytesOf(`${mirror.url}/v2/org/app/blobs/${middle.digest}`)
        expect(original.equals(middle.bytes)).toBe(true)
        await mirror.close()
        await registry.close()
        const offline = await startOver(registry, { data: mirror.dataDirectory, offline: true })
        expect((await file(offline)).equals(bytes)).toBe(true)
      })

      it('is set aside with the reason once it has been pulled, where nothing may be made of it, also after a restart', async () => {
        const registry = await registryOf({ 'org/app:latest': image })
        const mirror = await startOver(registry, {}, { recompress: 'none' })
        await bytesOf(`${mirror.url}/v2/org/app/blobs/${middle.digest}`)
        const expectSetAside = async (running: RunningMirror) => {
          const reason = expect.stringMatching(/compressed with zstd.*media type says otherwise.*"recompress: gzip"/)
          await until(async () => (await seen(running)).refused.length === 1)
          expect(await seen(running)).toEqual({ waiting: 0, refused: [{ uuid: middleUuid, reason }] })
          expect((await listOf(running)).map(({ uuid }) => uuid)).toEqual([baseUuid])
          for (const uuid of [middleUuid, topUuid]) {
            const answer = await fetch(`${running.url}/images/${uuid}/file`)
            expect([answer.status, await answer.json()]).toEqual([404, expect.objectContaining({ message: reason })])
          }
        }
        await until(async () => (await mirror.status()).flights.length === 0)
        // What Docker clients have pulled is looked at when it is asked for.
        expect((await fetch(`${mirror.url}/images/${middleUuid}`)).status).toBe(404)
        await expectSetAside(mirror)
        await mirror.close()
        const again = await startOver(registry, { data: mirror.dataDirectory }, { recompress: 'none' })
        await expectSetAside(again)
        await again.close()
        // Nobody has to ask for it, or to fetch it again, once more is allowed.
        const making = await startOver(registry, { data: mirror.dataDirectory })
        await until(async () => (await derivations(making).catch(() => [])).length === 1)
        expect(gunzipSync(await file(making)).equals(middleTar)).toBe(true)
        expect(registry.asked(middle.digest)).toBe(1)
      })
    })
  },
)
