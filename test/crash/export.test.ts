import { createHash, randomInt } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import type { ExportResult } from '../../src/bundle/bundles.js'
import { parseVolumeIndex } from '../../src/images/bundle/parse-volume-index.js'
import type { JobDetails } from '../../src/mirror/jobs.js'
import { makeImage } from '../support/made-up-images.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { temporaryDirectory } from '../support/temporary.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'

/** How often it is killed; more by hand, with ROUNDS=500. */
const ROUNDS = Number(process.env.ROUNDS ?? 20)
const MIB = 1024 * 1024
/** Of 20 MiB, with parity, for what is exported. */
const VOLUMES = 2

async function post(mirror: MirrorProcess, path: string, body: object): Promise<string> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${mirror.operatorUrl}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  const { id } = (await response.json()) as { id: string }
  expect(response.status).toBe(202)
  return id
}

async function ended(mirror: MirrorProcess, id: string): Promise<JobDetails> {
  await (await fetch(`${mirror.operatorUrl}/api/jobs/${id}/events`)).text()
  return (await (await fetch(`${mirror.operatorUrl}/api/jobs/${id}`)).json()) as JobDetails
}

async function sha256Of(path: string): Promise<string> {
  const sum = createHash('sha256')
  await pipeline(createReadStream(path), sum)
  return sum.digest('hex')
}

it(
  'an export that is killed again and again is whole in the end, and one bundle; never does it look finished before',
  async () => {
    const base = makeImage({ name: 'base', version: '1' }, Buffer.alloc(20 * MIB, 'base'))
    const leaf = makeImage(
      { name: 'leaf', version: '1', origin: base.manifest.uuid },
      Buffer.alloc(9 * MIB + 5, 'leaf'),
    )
    const upstream = await startSdcImgapi({ images: [base, leaf] })
    onTestFinished(() => upstream.close())
    const directory = await temporaryDirectory()
    let media = 0
    const nextMedium = async () => {
      const path = join(directory, `usb-${++media}`)
      await mkdir(path)
      return path
    }
    let out = await nextMedium()
    const start = async () => {
      const settings = { upstreams: [{ name: 'central', url: upstream.url }], scrub: { every: 'never' } }
      const mirror = await MirrorProcess.start(directory, settings)
      onTestFinished(() => mirror.kill())
      return mirror
    }
    const request = () => ({ select: ['name=leaf'], out, volumeBytes: 20 * MIB, series: 'crashed' })

    const isWhole = async (volume: string) => {
      const text = await readFile(join(out, volume, 'volume.json')).catch(() => undefined)
      if (!text) return false
      for (const { path, sha256 } of parseVolumeIndex(text).files) {
        expect(await sha256Of(join(out, volume, path)), `${volume}/${path}`).toBe(sha256)
      }
      return true
    }
    let [kills, mirror] = [0, await start()]
    while (kills < ROUNDS) {
      const id = await post(mirror, '/api/bundles/export', request())
      await Promise.race([wait(randomInt(400)), ended(mirror, id).catch(() => {})])
      await mirror.kill()
      kills++
      let whole = 0
      for (const volume of await readdir(out)) if (await isWhole(volume)) whole++
      // There is nothing to break any more: the same bundle for another medium.
      if (whole === VOLUMES) {
        await rm(out, { recursive: true })
        out = await nextMedium()
      }
      mirror = await start()
    }
    const job = await ended(mirror, await post(mirror, '/api/bundles/export', request()))
    expect(job).toMatchObject({ state: 'done', error: null })
    const { volumes } = job.result as ExportResult
    expect(volumes).toHaveLength(VOLUMES)
    expect(await readdir(out)).toEqual(volumes.map((volume) => volume.directory))
    for (const volume of volumes) expect(await isWhole(volume.directory)).toBe(true)
    if (process.env.ROUNDS) console.log(`killed ${kills} times, over ${media} media`)
  },
  60_000 + ROUNDS * 10_000,
)
