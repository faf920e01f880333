import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { dockerImage, gzipLayer, type MadeDockerImage } from '../support/docker-images.js'
import { type MadeUpRegistry, startMadeUpRegistry } from '../support/made-up-registry.js'
import { type RunningMirror, startMirror, until } from '../support/running-mirror.js'

const layer = gzipLayer('layer')
const followed = dockerImage([layer], { author: 'followed' })

/** So many manifests are the least limit: 1 MiB in blocks of 4 KiB, each with its tag. */
const ROOM = 128
const IMAGES = ROOM + 40

function imageNumber(number: number): MadeDockerImage {
  return dockerImage([layer], { author: `number ${number}` })
}

async function makeRig() {
  const registry = await startMadeUpRegistry()
  registry.put('app/followed', followed, 'latest')
  for (let number = 0; number < IMAGES; number++) registry.put('app/any', imageNumber(number), `v${number}`)
  const mirror = await startMirror({
    upstreams: [{ name: 'hub', type: 'docker', url: registry.url, images: ['app/followed'], pull: 'any' }],
    refresh: '1h',
    limits: { manifests: '1MiB' },
  })
  await mirror.settled()
  return { registry, mirror }
}

const manifestOf = (mirror: RunningMirror, reference: string, repository = 'app/any') =>
  fetch(`${mirror.url}/v2/${repository}/manifests/${reference}`)

async function keptObjects(mirror: RunningMirror): Promise<Set<string>> {
  const root = join(mirror.dataDirectory, 'registry', 'objects')
  const names = await fs.readdir(root, { recursive: true, withFileTypes: true })
  return new Set(names.filter((each) => each.isFile()).map(({ name }) => `sha256:${name}`))
}

const askedFor = (registry: MadeUpRegistry, reference: string) =>
  registry.asked().filter((asked) => asked.endsWith(`/manifests/${reference}`)).length

describe('room for manifests', () => {
  it('is bounded where clients may pull anything: what was asked for longest ago leaves, tag and all', async () => {
    const { mirror, registry } = await makeRig()
    const wanted = imageNumber(0)
    for (let number = 0; number < IMAGES; number++) {
      expect((await manifestOf(mirror, `v${number}`)).status).toBe(200)
      // One is wanted again and again, by its digest.
      if (number % 20 === 0) expect((await manifestOf(mirror, wanted.manifest.digest)).status).toBe(200)
    }
    await mirror.log.line(({ message }) => /nobody has asked for longest/.test(message))
    await until(async () => (await keptObjects(mirror)).size <= ROOM + 3)
    const kept = await keptObjects(mirror)
    expect(kept.size).toBeGreaterThan(ROOM / 2)
    expect(kept.has(imageNumber(1).manifest.digest)).toBe(false)
    expect(kept.has(imageNumber(IMAGES - 1).manifest.digest)).toBe(true)
    expect(kept.has(wanted.manifest.digest)).toBe(true)
    // What a followed tag leads to stays, its config too, however long nobody asked.
    expect(kept.has(followed.manifest.digest)).toBe(true)
    expect(kept.has(followed.config.digest)).toBe(true)
    const tags = await fs.readFile(join(mirror.dataDirectory, 'registry', 'tags.jsonl'), 'utf8')
    expect(tags).toContain('{"forgotten":{"host"')
    // What has left is fetched again.
    const before = askedFor(registry, 'v1')
    expect((await manifestOf(mirror, 'v1')).status).toBe(200)
    expect(askedFor(registry, 'v1')).toBe(before + 1)
    expect((await manifestOf(mirror, 'latest', 'app/followed')).status).toBe(200)
    expect(askedFor(registry, followed.manifest.digest)).toBe(1)
  })

  it('leaves all that followed tags need to a mirror that goes offline, and no stray files', async () => {
    const { mirror, registry } = await makeRig()
    for (let number = 0; number < 20; number++) await manifestOf(mirror, `v${number}`)
    await (await fetch(`${mirror.url}/v2/app/followed/blobs/${layer.digest}`)).arrayBuffer()
    await mirror.close()
    // As a crash would leave it, on its way in.
    const stray = join(mirror.dataDirectory, 'registry', 'objects', '00', '0'.repeat(64))
    await fs.mkdir(join(stray, '..'), { recursive: true })
    await fs.writeFile(stray, 'stray')
    const settings = {
      data: mirror.dataDirectory,
      upstreams: [{ name: 'hub', type: 'docker', url: registry.url, images: ['app/followed'] }],
      offline: true,
    }
    const offline = await startMirror(settings)
    expect((await manifestOf(offline, 'latest', 'app/followed')).status).toBe(200)
    expect((await fetch(`${offline.url}/v2/app/followed/blobs/${followed.config.digest}`)).status).toBe(200)
    expect((await keptObjects(offline)).has(`sha256:${'0'.repeat(64)}`)).toBe(false)
  })
})
