import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { DiskImageStore } from '../../src/store/disk-image-store.js'
import type { HeldImage } from '../../src/store/image-store.js'
import { image, SHA256, uuid } from '../images/manifests.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await fs.mkdir(partial)
  const log = new RecordingLog()
  const fileSystem = new FaultyFileSystem()
  return {
    log,
    fileSystem,
    partial,
    path: (name: string) => join(root, 'images', name),
    open: () => DiskImageStore.open({ root, partial, fileSystem, log }),
  }
}

function held(number: number, changes: Partial<HeldImage> = {}): HeldImage {
  const manifest = image({ uuid: uuid(number), description: 'größer 🎈 "quoted"' })
  const files = [{ sha256: SHA256, extents: [], corrections: [] }]
  return { manifest, files, heldSinceMs: 1234, upstream: 'east', ...changes }
}

describe('DiskImageStore', () => {
  it('forgets an image, for good', async () => {
    const rig = await makeRig()
    const images = await rig.open()
    await Promise.all([images.keep(held(1)), images.keep(held(2))])
    await images.forget(uuid(1))
    await images.forget(uuid(3))
    for (const store of [images, await rig.open()]) {
      expect(store.get(uuid(1))).toBeUndefined()
      expect([...store.all()]).toHaveLength(1)
    }
  })

  it('writes anew what was damaged, changed or removed behind its back, and sets aside what it does not know', async () => {
    const rig = await makeRig()
    const images = await rig.open()
    await Promise.all([1, 2, 3].map((number) => images.keep(held(number))))
    expect(await images.audit()).toEqual([])
    await fs.rm(rig.path(`${uuid(1)}.json`))
    await fs.copyFile(rig.path(`${uuid(3)}.json`), rig.path(`${uuid(2)}.json`))
    await fs.writeFile(rig.path('stranger'), 'hello')
    const flaws = await images.audit()
    expect(flaws.map(({ path, isMended }) => [path, isMended]).sort()).toEqual([
      [rig.path(`${uuid(1)}.json`), true],
      [rig.path(`${uuid(2)}.json`), true],
      [rig.path('stranger'), false],
    ])
    expect(await images.audit()).toEqual([])
    expect([...(await rig.open()).all()]).toHaveLength(3)
  })

  it('gives back the images it was given, after a restart too', async () => {
    const rig = await makeRig()
    const images = await rig.open()
    await Promise.all([images.keep(held(1)), images.keep(held(2))])
    for (const store of [images, await rig.open()]) {
      expect(store.get(uuid(1))).toEqual(held(1))
      expect(store.get(uuid(3))).toBeUndefined()
      expect([...store.all()]).toHaveLength(2)
    }
    expect(rig.log.lines).toEqual([])
  })

  it('keeps the last of several writes of one image', async () => {
    const rig = await makeRig()
    const images = await rig.open()
    await Promise.all(Array.from({ length: 20 }, (_, heldSinceMs) => images.keep(held(1, { heldSinceMs }))))
    expect(images.get(uuid(1))?.heldSinceMs).toBe(19)
    expect((await rig.open()).get(uuid(1))?.heldSinceMs).toBe(19)
  })

  it.each<[string, (text: string) => string]>([
    ['has changed', (text) => text.replace('1234', '1235')],
    ['is torn', (text) => text.slice(0, 200)],
    ['is empty', () => ''],
  ])('leaves a file that %s where it is, names it, and does not list it', async (_damage, change) => {
    const rig = await makeRig()
    const images = await rig.open()
    await images.keep(held(1))
    await images.keep(held(2))
    const path = rig.path(`${uuid(1)}.json`)
    const damaged = change(await fs.readFile(path, 'utf8'))
    await fs.writeFile(path, damaged)
    expect([...(await rig.open()).all()]).toEqual([held(2)])
    expect(rig.log.lines).toEqual([expect.objectContaining({ level: 'error', facts: { path } })])
    expect(await fs.readFile(path, 'utf8')).toBe(damaged)
  })

  it('does not take one image for another when a file was renamed', async () => {
    const rig = await makeRig()
    await (await rig.open()).keep(held(1))
    await fs.rename(rig.path(`${uuid(1)}.json`), rig.path(`${uuid(2)}.json`))
    expect([...(await rig.open()).all()]).toEqual([])
  })

  it('has the old image when there is no room for the new one', async () => {
    const rig = await makeRig()
    const images = await rig.open()
    await images.keep(held(1))
    rig.fileSystem.before = (step) => {
      if (step === 'file.write') throw systemError('ENOSPC')
    }
    await expect(images.keep(held(1, { heldSinceMs: 9 }))).rejects.toMatchObject({
      code: 'STORE_FULL',
      message: expect.stringContaining(uuid(1)),
    })
    rig.fileSystem.before = () => {}
    expect(images.get(uuid(1))).toEqual(held(1))
    expect((await rig.open()).get(uuid(1))).toEqual(held(1))
    expect(await fs.readdir(rig.partial)).toEqual([])
  })
})
