import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import type { ImportResult } from '../../src/bundle/bundles.js'
import type { JobSummary } from '../../src/mirror/jobs.js'
import { MIB, madeUpImage, writeMadeUpBundle } from '../bundle/made-up-bundle.js'
import { signer } from '../bundle/volumes.js'
import { uuid } from '../images/manifests.js'
import { madeUpBytes } from '../support/made-up-bytes.js'
import { MirrorProcess } from '../support/mirror-process.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'

/** More of them by hand: IMPORT_KILLS=500. What has come whole is begun anew somewhere else. */
const KILLS = Number(process.env.IMPORT_KILLS ?? 20)
/** What a kill may cost of what was written: the notes of one file, and a block. */
const LOST_BY_A_KILL = MIB
const LONGEST_LIFE_MS = 250

async function importAll(mirror: MirrorProcess, path: string): Promise<JobSummary> {
  const response = await fetch(`${mirror.operatorUrl}/api/bundles/import`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ path }),
  })
  return (await response.json()) as JobSummary
}

async function jobOf(mirror: MirrorProcess, id: string): Promise<JobSummary> {
  return (await (await fetch(`${mirror.operatorUrl}/api/jobs/${id}`)).json()) as JobSummary
}

it(
  'leaves only what boots when it is killed at any moment, and takes no byte twice that had arrived',
  async () => {
    const medium = await temporaryDirectory()
    const base = madeUpImage(uuid(1), madeUpBytes(24 * MIB, 1), { name: 'base' })
    const leaf = madeUpImage(uuid(2), madeUpBytes(16 * MIB + 5, 2), { name: 'leaf', origin: uuid(1) })
    const other = madeUpImage(uuid(3), madeUpBytes(3 * MIB, 3), { name: 'other' })
    const images = [base, leaf, other]
    const bytesOf = new Map(images.map(({ bytes, image }) => [image.manifest.uuid as string, bytes]))
    const wholeBytes = [...bytesOf.values()].reduce((sum, { length }) => sum + length, 0)
    await writeMadeUpBundle(medium, images, { volumes: 2, parityPercent: 0 })

    /** Kills a closed site while it imports, until it has all, or so often. Answers how often it did. */
    async function killDuringImport(mostKills: number): Promise<number> {
      const directory = await temporaryDirectory()
      const key = join(directory, 'site-a.pub')
      await writeFile(key, signer.publicKey)
      const start = () => MirrorProcess.start(directory, { offline: true, bundles: { trustedKeys: [key] } })
      let mirror = await start()
      onTestFinished(() => mirror.kill())
      let [kills, missingBefore] = [0, wholeBytes]
      for (let held = 0; kills < mostKills && held < images.length; ) {
        const lifeMs = Math.random() * LONGEST_LIFE_MS
        await importAll(mirror, medium)
        await wait(lifeMs)
        await mirror.kill()
        kills++
        mirror = await start()
        const listed = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string; origin?: string }[]
        const uuids = new Set(listed.map((each) => each.uuid))
        held = listed.length
        for (const { origin, uuid: each } of listed) {
          const said = `after kill ${kills}, which came after ${lifeMs} ms`
          expect(origin === undefined || uuids.has(origin), said).toBe(true)
          const file = await (await fetch(`${mirror.url}/images/${each}/file`)).arrayBuffer()
          expect(Buffer.from(file).equals(bytesOf.get(each)!), said).toBe(true)
        }
        const awaiting = (await (await fetch(`${mirror.operatorUrl}/api/bundles`)).json()) as {
          awaited: { images: { missingBytes: number }[] }[]
        }
        const [bundle] = awaiting.awaited
        const missing = bundle ? bundle.images.reduce((sum, image) => sum + image.missingBytes, 0) : undefined
        // Before its first volume was written down as come, nothing is known to be awaited; when all is here, neither.
        if (missing === undefined) continue
        expect(missing).toBeLessThanOrEqual(missingBefore + LOST_BY_A_KILL)
        missingBefore = missing
      }
      const { id } = await importAll(mirror, medium)
      await until(async () => (await jobOf(mirror, id)).state !== 'running')
      const result = (await jobOf(mirror, id)).result as ImportResult
      expect(result.lacking).toEqual([])
      expect(result.takenBytes).toBeLessThanOrEqual(missingBefore + LOST_BY_A_KILL)
      const listed = (await (await fetch(`${mirror.url}/images`)).json()) as { uuid: string }[]
      expect(listed.map((each) => each.uuid).sort()).toEqual([uuid(1), uuid(2), uuid(3)])
      await mirror.kill()
      return kills
    }

    let [kills, imports] = [0, 0]
    for (; kills < KILLS; imports++) kills += await killDuringImport(KILLS - kills)
    if (process.env.IMPORT_KILLS) console.log(`killed ${kills} times, during ${imports} imports`)
  },
  60_000 + KILLS * 10_000,
)
