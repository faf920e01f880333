import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { DiskIconStore } from '../../src/store/disk-icon-store.js'
import { uuid } from '../images/manifests.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await fs.mkdir(partial)
  const fileSystem = new FaultyFileSystem()
  return {
    fileSystem,
    path: (name: string) => join(root, 'icons', name),
    open: () => DiskIconStore.open({ root, partial, fileSystem }),
  }
}

const png = { contentType: 'image/png', bytes: Buffer.from('a png') } as const
const gif = { contentType: 'image/gif', bytes: Buffer.from('a gif') } as const

describe('DiskIconStore', () => {
  it('gives back the icons it was given, after a restart too', async () => {
    const rig = await makeRig()
    const icons = await rig.open()
    const kept = await icons.keep(uuid(1), png)
    expect(kept).toMatchObject(png)
    expect(kept.keptMs % 1000).toBe(0)
    for (const store of [icons, await rig.open()]) {
      expect(await store.get(uuid(1))).toEqual(kept)
      expect(await store.get(uuid(2))).toBeUndefined()
    }
    expect(await fs.readFile(rig.path(`${uuid(1)}.png`), 'utf8')).toBe('a png')
  })

  it('replaces an icon by one of another type', async () => {
    const rig = await makeRig()
    const icons = await rig.open()
    await icons.keep(uuid(1), png)
    await icons.keep(uuid(1), gif)
    expect(await icons.get(uuid(1))).toMatchObject(gif)
    expect(await fs.readdir(rig.path('.'))).toEqual([`${uuid(1)}.gif`, `${uuid(1)}.gif.sha256`])
  })

  it('takes the newer of two that a crash has left', async () => {
    const rig = await makeRig()
    await (await rig.open()).keep(uuid(1), gif)
    await fs.writeFile(rig.path(`${uuid(1)}.png`), 'a png')
    await fs.utimes(rig.path(`${uuid(1)}.png`), 1, 1)
    expect(await (await rig.open()).get(uuid(1))).toMatchObject(gif)
    await fs.utimes(rig.path(`${uuid(1)}.gif`), 0, 0)
    expect(await (await rig.open()).get(uuid(1))).toMatchObject(png)
  })

  it('says STORE_FULL when there is no room', async () => {
    const rig = await makeRig()
    const icons = await rig.open()
    rig.fileSystem.before = (step) => {
      if (step === 'file.write') throw systemError('ENOSPC')
    }
    await expect(icons.keep(uuid(1), png)).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect(await icons.get(uuid(1))).toBeUndefined()
  })

  it('says STORE_BROKEN rather than reading a file too large to be an icon', async () => {
    const rig = await makeRig()
    await rig.open()
    await fs.writeFile(rig.path(`${uuid(1)}.png`), Buffer.alloc(300_000))
    await expect((await rig.open()).get(uuid(1))).rejects.toMatchObject({ code: 'STORE_BROKEN' })
  })
})
