import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { ScrubLog } from '../../src/store/scrub-log.js'
import type { Check } from '../../src/store/scrub-store.js'
import { sealJson } from '../../src/store/sealed-json.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'

const progress = { current: { sha256: 'bb', nextChunk: 7 }, endedMs: 2000, auditedMs: undefined }
const beginning = { current: undefined, endedMs: undefined, auditedMs: undefined }

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await fs.mkdir(partial)
  const log = new RecordingLog()
  const fileSystem = new FaultyFileSystem()
  const kept = new Map<string, number>()
  return {
    log,
    fileSystem,
    kept,
    path: join(root, 'scrub.json'),
    checksPath: join(root, 'scrub-checks.log'),
    /** As a mirror that starts. */
    async open() {
      const scrub = new ScrubLog({ root, partial, fileSystem, log })
      const checks = new Map<string, number>()
      const found = await scrub.load(({ checkedMs, sha256 }) => checks.set(sha256, checkedMs))
      const looked = new Map<string, number>()
      const beside = new ScrubLog({ root, partial, fileSystem, log: new RecordingLog() })
      await beside.look(({ checkedMs, sha256 }) => looked.set(sha256, checkedMs))
      expect(looked).toEqual(checks)
      const blobs = {
        keptCount: kept.size,
        *checked() {
          for (const [sha256, atMs] of kept) yield { sha256, sizeBytes: 1, atMs }
        },
      }
      const save = (...some: Check[]) => {
        for (const { checkedMs, sha256 } of some) kept.set(sha256, checkedMs)
        return scrub.save(progress, some, { ...blobs, keptCount: kept.size })
      }
      return { progress: found, checks: Object.fromEntries(checks), save }
    },
  }
}

const aa = { sha256: 'aa', checkedMs: 1000 }
const cc = { sha256: 'cc', checkedMs: 1500 }

it('remembers how far the scrub has come, and which blob was read when', async () => {
  const rig = await makeRig()
  const first = await rig.open()
  expect(first).toMatchObject({ progress: beginning, checks: {} })
  await first.save(aa, cc)
  await first.save({ ...aa, checkedMs: 3000 })
  expect(await rig.open()).toMatchObject({ progress, checks: { aa: 3000, cc: 1500 } })
})

it('adds what is new to what is written, and does not write everything again', async () => {
  const rig = await makeRig()
  const { save } = await rig.open()
  await save(aa)
  const before = await fs.readFile(rig.checksPath, 'utf8')
  await save(cc)
  const after = await fs.readFile(rig.checksPath, 'utf8')
  expect(after.startsWith(before)).toBe(true)
  expect(after.split('\n')).toHaveLength(3)
})

it('drops what blobs that are gone have left, and what was said before, when that has become too much', async () => {
  const rig = await makeRig()
  const { save } = await rig.open()
  const many = Array.from({ length: 12_000 }, (_, place) => ({ sha256: String(place).padStart(64, '0'), checkedMs: 1 }))
  await save(...many)
  rig.kept.clear()
  await save(aa)
  await save(cc)
  expect((await fs.readFile(rig.checksPath, 'utf8')).split('\n')).toHaveLength(3)
  expect((await rig.open()).checks).toEqual({ aa: 1000, cc: 1500 })
})

it('takes over what mirrors before wrote into one file', async () => {
  const rig = await makeRig()
  await fs.writeFile(rig.path, sealJson(JSON.stringify({ ...progress, checkedMs: { aa: 1000 } })))
  const { checks, progress: found, save } = await rig.open()
  expect({ checks, found }).toEqual({ checks: { aa: 1000 }, found: progress })
  rig.kept.set('aa', 1000)
  await save(cc)
  expect((await rig.open()).checks).toEqual({ aa: 1000, cc: 1500 })
})

it('begins anew when what was written is damaged, and says so', async () => {
  const rig = await makeRig()
  await (await rig.open()).save(aa)
  await fs.writeFile(rig.path, (await fs.readFile(rig.path, 'utf8')).replace('2000', '2001'))
  expect((await rig.open()).progress).toEqual(beginning)
  expect(rig.log.lines).toMatchObject([{ level: 'warn' }])
})

it('loses no more than the lines that are damaged, and writes them anew when it is known again', async () => {
  const rig = await makeRig()
  await (await rig.open()).save(aa, cc)
  await fs.writeFile(rig.checksPath, (await fs.readFile(rig.checksPath, 'utf8')).replace('1000', '1001'))
  const { checks, save } = await rig.open()
  expect(checks).toEqual({ cc: 1500 })
  expect(rig.log.lines).toMatchObject([{ level: 'warn' }])
  await save({ sha256: 'aa', checkedMs: 4000 })
  rig.log.lines.length = 0
  expect((await rig.open()).checks).toEqual({ aa: 4000, cc: 1500 })
  expect(rig.log.lines).toEqual([])
})

it('says that the disk is full, and makes it good when there is room', async () => {
  const rig = await makeRig()
  const { save } = await rig.open()
  rig.fileSystem.before = (step) => {
    if (step === 'file.write') throw systemError('ENOSPC')
  }
  await expect(save(aa)).rejects.toMatchObject({ code: 'STORE_FULL' })
  rig.fileSystem.before = () => {}
  await save(cc)
  expect((await rig.open()).checks).toEqual({ aa: 1000, cc: 1500 })
})
