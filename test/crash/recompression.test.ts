import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { expect, it, onTestFinished } from 'vitest'
import { uuidOfLayers } from '../../src/images/docker/layer-images.js'
import { dockerImage, tarOf, zstdLayer } from '../support/docker-images.js'
import { whyNoDockerRegistry } from '../support/docker-registry.js'
import { startMemoryRegistry } from '../support/memory-registry.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'

const whyNot = whyNoDockerRegistry()

/** How often it is killed in the middle of a conversion. */
const ROUNDS = 3

async function partials(dataDirectory: string): Promise<readonly string[]> {
  return await readdir(join(dataDirectory, 'partial')).catch(() => [])
}

it.skipIf(whyNot)(
  `a mirror that is killed again and again while it packs a layer anew has it in the end, and nothing besides${whyNot ? ` (${whyNot})` : ''}`,
  async () => {
    // Large enough to be met in the middle of.
    const content = randomBytes(24 * 1024 * 1024)
    const [layer, tar] = [zstdLayer('large', content), tarOf('large', content)]
    const diffId = `sha256:${createHash('sha256').update(tar).digest('hex')}`
    const image = dockerImage([layer], { rootfs: { type: 'layers', diff_ids: [diffId] } }, true)
    const registry = await startMemoryRegistry({ 'org/app:latest': image })
    onTestFinished(() => registry.close())
    const directory = await temporaryDirectory()
    const upstream = { name: 'hub', type: 'docker', url: registry.url, images: ['org/app:latest'], recompress: 'gzip' }
    const start = async (isEager: boolean) => {
      const settings = { upstreams: [upstream], scrub: { every: 'never' } }
      const mirror = await MirrorProcess.start(directory, settings, { isFromSource: true, isEager })
      onTestFinished(() => mirror.kill())
      return mirror
    }
    const derived = (mirror: MirrorProcess) => mirror.lines.some((line) => line.includes('anew: from zstd to gzip'))
    const original = join('blobs', 'sha256', layer.digest.slice(7, 9), layer.digest.slice(7))
    for (let round = 0; round < ROUNDS; round++) {
      const mirror = await start(true)
      // The original is kept, and something else is being written.
      await until(async () => {
        const isKept = await readdir(join(mirror.dataDirectory, original, '..')).catch(() => [])
        return isKept.length > 0 && (await partials(mirror.dataDirectory)).length > 0
      })
      await mirror.kill()
      expect(derived(mirror)).toBe(false)
      expect(await partials(mirror.dataDirectory)).not.toEqual([])
    }
    const last = await start(false)
    await until(() => derived(last))
    // It is removed right behind what the log says.
    await until(async () => (await partials(last.dataDirectory)).length === 0)
    const response = await fetch(`${last.url}/images/${uuidOfLayers([layer.digest])}/file`)
    expect(gunzipSync(Buffer.from(await response.arrayBuffer())).equals(tar)).toBe(true)
    expect(registry.asked(layer.digest)).toBe(1)
    expect(await last.stop()).toBe(0)
  },
  60_000,
)
