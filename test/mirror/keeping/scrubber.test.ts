import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Damage } from '../../../src/mirror/keeping/mender.js'
import { Scrubber } from '../../../src/mirror/keeping/scrubber.js'
import { recordNothing } from '../../../src/mirror/ledger.js'
import { blobPath, flipBit, MIB } from './damage.js'
import { KIB, type Made, makeKeepingRig } from './keeping-rig.js'

const DAY_MS = 86_400_000

async function makeRig({ everyMs = 30 * DAY_MS, bytesPerSecond = 1e12 } = {}) {
  const rig = await makeKeepingRig()
  const mended: { sha256: string; damage: Damage }[] = []
  let scrubber: Scrubber | undefined
  onTestFinished(() => scrubber?.close())
  const { clock, counters, log } = rig
  return Object.assign(rig, {
    mended,
    blobAt: (made: Made) => blobPath(rig.directory, made.bytes),
    start() {
      const mend = async (sha256: string, damage: Damage) => {
        mended.push({ sha256, damage })
        return true
      }
      scrubber = new Scrubber({
        imagesWith: () => [],
        record: recordNothing,
        store: rig.store,
        rounds: { everyMs, bytesPerSecond },
        mend,
        counters,
        clock,
        log,
      })
      scrubber.start()
      return scrubber
    },
    async restart() {
      await scrubber?.close()
      await rig.reopen()
      return this.start()
    },
    /** Lets time pass until so much was read, waiting for the disk in between. */
    async until(isTrue: () => boolean, stepMs = DAY_MS / 24) {
      while (!isTrue()) {
        if (clock.pausing > 0) await clock.advance(stepMs)
        else await new Promise((resolve) => setImmediate(resolve))
      }
    },
    /** Until it sleeps. */
    async asleep() {
      do await new Promise((resolve) => setImmediate(resolve))
      while (clock.pausing === 0)
    },
  })
}

describe('the scrub', () => {
  it('reads every blob again within the time it may take, spread over it, the one that waits longest first', async () => {
    const rig = await makeRig()
    const made = [await rig.keep(1), await rig.keep(2), await rig.keep(3), await rig.keep(4)]
    const scrubber = rig.start()
    const startedMs = rig.clock.wallMs()
    const readAtDay: number[] = []
    for (let count = 1; count <= 8; count++) {
      await rig.until(() => scrubber.status()!.blobsRead >= count)
      readAtDay.push(Math.round((rig.clock.wallMs() - startedMs) / DAY_MS))
    }
    expect(readAtDay).toEqual([6, 12, 18, 24, 30, 36, 42, 48])
    expect(rig.clock.wallMs() - scrubber.status()!.oldestCheckMs!).toBeLessThan(30 * DAY_MS)
    expect(rig.mended).toEqual([])
    expect(made).toHaveLength(4)
  })

  it('goes on after a restart where it was, and not from the start', async () => {
    const rig = await makeRig()
    for (const number of [1, 2, 3, 4]) await rig.keep(number)
    const first = rig.start()
    await rig.until(() => first.status()!.blobsRead >= 2)
    const oldest = first.status()!.oldestCheckMs
    const second = await rig.restart()
    await rig.asleep()
    expect(second.status()!).toMatchObject({ oldestCheckMs: oldest, blobsRead: 0 })
    const restartedMs = rig.clock.wallMs()
    await rig.until(() => second.status()!.blobsRead >= 1)
    expect(Math.round((rig.clock.wallMs() - restartedMs) / DAY_MS)).toBe(6)
  })

  it('goes on in the middle of a blob', async () => {
    const rig = await makeRig({ bytesPerSecond: 8 * MIB })
    const bytes = randomBytes(4 * MIB)
    await rig.keep(1, { bytes })
    const first = rig.start()
    await rig.until(() => (first.status()!.current?.chunk ?? 0) >= 1)
    const { chunk } = first.status()!.current!
    expect(chunk).toBeLessThan(4)
    const second = await rig.restart()
    expect((await rig.store.scrub.load(() => {})).current?.nextChunk).toBeGreaterThanOrEqual(chunk)
    await rig.until(() => second.status()!.blobsRead >= 1)
    const { body } = await rig.counters.expose()
    expect(body).toContain(`imgapi_mirror_scrubbed_bytes_total ${4 * MIB}`)
  })

  it('does not wait when it was out of service for longer than all may take', async () => {
    const rig = await makeRig()
    for (const number of [1, 2, 3]) await rig.keep(number)
    await rig.clock.advance(60 * DAY_MS)
    const scrubber = rig.start()
    await rig.until(() => scrubber.status()!.blobsRead >= 3, 1)
    expect(rig.clock.wallMs() - scrubber.status()!.oldestCheckMs!).toBeLessThan(DAY_MS)
  })

  it('says when its rate is too low to read everything in time', async () => {
    const rig = await makeRig({ everyMs: 1000, bytesPerSecond: 10 * KIB })
    await rig.keep(1)
    expect(rig.start().status()!.isTooSlow).toBe(true)
  })
})

describe('damage that the scrub finds', () => {
  async function readAll(rig: Awaited<ReturnType<typeof makeRig>>) {
    const scrubber = rig.start()
    await rig.until(() => scrubber.status()!.blobsRead >= 1 && scrubber.status()!.auditedMs !== undefined)
    await rig.asleep()
    return scrubber
  }

  it('is a bit of a blob, and the MiB it is in', async () => {
    const rig = await makeRig()
    const made = await rig.keep(1, { bytes: randomBytes(3 * MIB) })
    await flipBit(rig.blobAt(made), 2 * MIB + 1)
    await readAll(rig)
    expect(rig.mended).toEqual([{ sha256: made.sha256, damage: { foundBy: 'the scrub', chunks: [2] } }])
  })

  it('is a blob that has vanished', async () => {
    const rig = await makeRig()
    const made = await rig.keep(1)
    await fs.rm(rig.blobAt(made))
    await readAll(rig)
    expect(rig.mended).toEqual([{ sha256: made.sha256, damage: { foundBy: 'the scrub', chunks: undefined } }])
  })

  it('is a list of chunk hashes, which is made anew', async () => {
    const rig = await makeRig()
    const { sha256 } = await rig.keep(1)
    const path = join(rig.directory, 'fingerprints', 'sha256', sha256.slice(0, 2), `${sha256}.json`)
    await flipBit(path, 20)
    const scrubber = await readAll(rig)
    expect(rig.mended).toEqual([])
    expect(scrubber.status()!.damageFound).toBe(1)
    expect((await rig.store.blobs.fingerprint(sha256))?.chunks).toHaveLength(1)
    expect((await rig.counters.expose()).body).toContain('imgapi_mirror_damage_mended_total{kind="fingerprint"} 1')
  })

  it('is a manifest, which is written anew from what is known', async () => {
    const rig = await makeRig()
    const made = await rig.keep(1)
    const path = join(rig.directory, 'images', `${made.uuid}.json`)
    const good = await fs.readFile(path)
    await flipBit(path, 100)
    await readAll(rig)
    expect(await fs.readFile(path)).toEqual(good)
    expect(await fs.readdir(join(rig.directory, 'quarantine'))).toHaveLength(2)
    expect((await rig.counters.expose()).body).toContain('imgapi_mirror_damage_mended_total{kind="image"} 1')
  })

  it('is an icon, which is set aside', async () => {
    const rig = await makeRig()
    const made = await rig.keep(1)
    await rig.store.icons.keep(made.uuid, { contentType: 'image/png', bytes: Buffer.from('a png') })
    await flipBit(join(rig.directory, 'icons', `${made.uuid}.png`), 2)
    await readAll(rig)
    expect(await rig.store.icons.get(made.uuid)).toBeUndefined()
    expect((await rig.counters.expose()).body).toContain('imgapi_mirror_damage_found_total{kind="icon"} 1')
  })

  it('is a line of claims, which is written anew from what is known', async () => {
    const rig = await makeRig()
    const { manifest } = await rig.keep(1)
    const claim = {
      upstream: 'east',
      manifest,
      whereabouts: [undefined],
      isListed: true,
      firstHeardMs: 1,
      lastHeardMs: 1,
      withdrawnMs: undefined,
    }
    await rig.store.claims.record({
      upstream: 'east',
      heardMs: 1,
      changed: [claim],
      withdrawn: [],
      listing: { validator: undefined },
    })
    await flipBit(join(rig.directory, 'claims', 'east.jsonl'), 100)
    const scrubber = await readAll(rig)
    expect((await rig.counters.expose()).body).toContain('imgapi_mirror_damage_mended_total{kind="claims"} 1')
    await scrubber.close()
    await rig.reopen()
    const { claims, damagedLines } = await rig.store.claims.load()
    expect({ claims: claims.length, damagedLines }).toEqual({ claims: 1, damagedLines: 0 })
  })

  it('is a row of the index, which is built anew', async () => {
    const rig = await makeRig()
    const { bytes } = await rig.keep(1)
    // A start writes the rows of the log into a table.
    await rig.reopen()
    await rig.reopen()
    const sha1 = createHash('sha1').update(bytes).digest()
    const directory = join(rig.directory, 'index')
    let planted = 0
    for (const name of await fs.readdir(directory)) {
      const position = (await fs.readFile(join(directory, name))).indexOf(sha1)
      if (position < 0) continue
      await flipBit(join(directory, name), position)
      planted++
    }
    expect(planted).toBeGreaterThan(0)
    await readAll(rig)
    expect((await rig.counters.expose()).body).toContain('imgapi_mirror_damage_mended_total{kind="index"} 1')
    expect(await rig.store.blobs.audit()).toEqual([])
  })

  it('does not keep it from looking at the rest', async () => {
    const rig = await makeRig()
    const [a, b] = [await rig.keep(1), await rig.keep(2)]
    await flipBit(join(rig.directory, 'images', `${a.uuid}.json`), 100)
    await flipBit(join(rig.directory, 'images', `${b.uuid}.json`), 100)
    await flipBit(rig.blobAt(b), 1)
    const scrubber = rig.start()
    await rig.until(() => scrubber.status()!.blobsRead >= 2)
    expect(scrubber.status()!.damageFound).toBe(3)
  })
})
