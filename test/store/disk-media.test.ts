import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, it, onTestFinished } from 'vitest'
import { MirrorError } from '../../src/errors.js'
import { memoryPages } from '../../src/parts/memory-pages.js'
import { diskMedia } from '../../src/store/disk-media.js'
import type { Medium } from '../../src/store/medium.js'
import { canMount, mountSmallDisk } from '../support/small-disk.js'
import { temporaryDirectory } from '../support/temporary.js'

const text = (medium: Medium, path: string) => medium.readWhole(path, 1024).then((bytes) => bytes?.toString())

async function makeMedium(): Promise<{ root: string; outside: string; medium: Medium }> {
  const top = await temporaryDirectory()
  const [root, outside] = [join(top, 'medium'), join(top, 'outside')]
  await fs.mkdir(join(root, 'inner'), { recursive: true })
  await fs.mkdir(outside)
  await fs.writeFile(join(outside, 'secret'), 'secret')
  await fs.writeFile(join(root, 'inner/file'), 'plain')
  return { root, outside, medium: await diskMedia.open(root) }
}

describe('a medium', () => {
  it('is a directory that we may use', async () => {
    const { root } = await makeMedium()
    const refused = (path: string) => expect(diskMedia.open(path)).rejects.toMatchObject({ code: 'QUERY_INVALID' })
    await refused('relative')
    await refused(join(root, 'none'))
    await refused(join(root, 'inner/file'))
    await diskMedia.open(join(root, 'new'), { isToBeWritten: true })
    expect(await fs.readdir(root)).toContain('new')
    const deeper = diskMedia.open(join(root, 'not/there'), { isToBeWritten: true })
    await expect(deeper).rejects.toMatchObject({ code: 'QUERY_INVALID' })
  })

  it('lists what is in a directory, and no more of it than asked for', async () => {
    const { root, medium } = await makeMedium()
    await fs.writeFile(join(root, 'a'), '')
    const listed = [...(await medium.list('', 10))].sort((a, b) => a.name.localeCompare(b.name))
    expect(listed).toEqual([
      { name: 'a', isDirectory: false },
      { name: 'inner', isDirectory: true },
    ])
    expect(await medium.list('', 1)).toHaveLength(1)
    await expect(medium.list('none', 1)).rejects.toMatchObject({ code: 'MEDIUM_UNREADABLE' })
  })

  it('reads files, here and there and whole', async () => {
    const { medium } = await makeMedium()
    const file = (await medium.open('inner/file'))!
    const buffer = Buffer.alloc(3)
    expect([file.sizeBytes, await file.read(buffer, 1), buffer.toString()]).toEqual([5, 3, 'lai'])
    expect(await file.read(buffer, 4)).toBe(1)
    expect(await file.read(buffer, 99)).toBe(0)
    await file.close()
    expect(await text(medium, 'inner/file')).toBe('plain')
    expect(await medium.open('inner/none')).toBeUndefined()
    expect(await medium.open('none/file')).toBeUndefined()
    await expect(medium.readWhole('inner/file', 4)).rejects.toMatchObject({ code: 'BUNDLE_INVALID' })
  })

  it('reads past the cache, into pages of memory', async () => {
    const { root, medium } = await makeMedium()
    await fs.writeFile(join(root, 'large'), Buffer.alloc(10_000, 7))
    const file = (await medium.open('large', { isPastCache: true }))!
    const page = memoryPages(8192)
    expect([await file.read(page, 0), page.every((byte) => byte === 7)]).toEqual([8192, true])
    expect(await file.read(page, 8192)).toBe(10_000 - 8192)
    await file.close()
  })

  it('writes files, and goes on with those that are there', async () => {
    const { medium } = await makeMedium()
    const file = await medium.write('new/deeper/file')
    await file.write(Buffer.from('abcdef'), 0)
    await file.truncate(4)
    await file.sync()
    expect(file.sizeBytes).toBe(4)
    await file.close()
    const again = await medium.write('new/deeper/file')
    await again.write(Buffer.from('XY'), again.sizeBytes)
    await again.close()
    expect(await text(medium, 'new/deeper/file')).toBe('abcdXY')
    await medium.writeWhole('new/whole', Buffer.from('one'))
    await medium.writeWhole('new/whole', Buffer.from('two'))
    await medium.rename('new/whole', 'inner/renamed')
    expect(await text(medium, 'inner/renamed')).toBe('two')
    await medium.remove('inner/renamed')
    await medium.remove('inner/renamed')
    await medium.remove('none/renamed')
    expect(await medium.list('new', 10)).toEqual([{ name: 'deeper', isDirectory: true }])
    expect(await medium.freeBytes()).toBeGreaterThan(0)
  })

  it.each(['aux:1', 'a b', '-rf', 'end.', 'größe', 'x'.repeat(104), 'a\\b', 'tab\t'])(
    'writes no name that not every medium can have: %j',
    async (name) => {
      const { medium } = await makeMedium()
      await expect(medium.write(`inner/${name}`)).rejects.toMatchObject({ code: 'MEDIUM_UNREADABLE' })
      expect(await medium.list('inner', 9)).toHaveLength(1)
    },
  )
})

describe('whatever leads out of a medium', () => {
  const refused = (work: Promise<unknown>) => expect(work).rejects.toMatchObject({ code: 'MEDIUM_UNREADABLE' })

  it.each(['../outside/secret', 'inner/../../outside/secret', '/etc/passwd', './inner/file', 'inner//file', 'a\0b'])(
    'is refused: %j',
    async (path) => {
      const { medium } = await makeMedium()
      await refused(medium.open(path))
      await refused(medium.write(path))
      await refused(medium.remove(path))
      await refused(medium.rename('inner/file', path))
      await refused(medium.list(path, 1))
    },
  )

  it('is refused where a file or a directory on the way is a link', async () => {
    const { root, outside, medium } = await makeMedium()
    await fs.symlink(outside, join(root, 'directory'))
    await fs.symlink(join(outside, 'secret'), join(root, 'file'))
    await fs.symlink(join(outside, 'new'), join(root, 'dangling'))
    for (const path of ['directory/secret', 'file']) {
      await refused(medium.open(path))
      await refused(medium.readWhole(path, 100))
      await refused(medium.write(path))
    }
    await refused(medium.write('dangling'))
    await refused(medium.list('directory', 1))
    await refused(medium.remove('directory/secret'))
    await refused(medium.rename('inner/file', 'directory/file'))
    await refused(medium.rename('directory/secret', 'inner/stolen'))
    expect(await fs.readdir(outside)).toEqual(['secret'])
    // A link itself may be removed or replaced; where it leads stays.
    await medium.writeWhole('file', Buffer.from('ours'))
    expect([await text(medium, 'file'), await fs.readFile(join(outside, 'secret'), 'utf8')]).toEqual(['ours', 'secret'])
  })

  it('is refused where a file is a device, a pipe, a socket or a directory, without waiting for anybody', async () => {
    const { root, medium } = await makeMedium()
    execFileSync('mkfifo', [join(root, 'pipe')])
    if (canMount) execFileSync('mknod', [join(root, 'device'), 'c', '1', '5'])
    const server = createServer().listen(join(root, 'socket'))
    onTestFinished(() => void server.close())
    for (const path of ['pipe', 'socket', 'inner', ...(canMount ? ['device'] : [])]) {
      await refused(medium.open(path))
      await refused(medium.write(path))
    }
  })

  it('is not reached by whoever swaps a directory for a link while we look', { timeout: 30_000 }, async () => {
    const { root, outside, medium } = await makeMedium()
    await fs.writeFile(join(outside, 'file'), 'stolen')
    const swapping = `
      const { renameSync, symlinkSync } = require('node:fs')
      const { root, outside } = require('node:worker_threads').workerData
      symlinkSync(outside, root + '/link')
      for (;;) {
        renameSync(root + '/inner', root + '/aside')
        renameSync(root + '/link', root + '/inner')
        renameSync(root + '/inner', root + '/link')
        renameSync(root + '/aside', root + '/inner')
      }`
    const worker = new Worker(swapping, { eval: true, workerData: { root, outside } })
    onTestFinished(async () => void (await worker.terminate()))
    await new Promise((resolve) => worker.once('online', resolve))
    const seen = new Map<string, number>()
    for (let round = 0; round < 2000; round++) {
      const found = await text(medium, 'inner/file').catch((error: unknown) => (error as MirrorError).code)
      seen.set(String(found), (seen.get(String(found)) ?? 0) + 1)
      const listed = await medium.list('inner', 9).catch(() => [])
      expect(listed.map(({ name }) => name)).not.toContain('secret')
      await medium.remove('inner/secret').catch(() => {})
      await medium.rename('inner/secret', 'stolen').catch(() => {})
    }
    expect([...seen.keys()]).toContain('plain')
    expect([...seen.keys()]).not.toContain('stolen')
    expect((await fs.readdir(outside)).sort()).toEqual(['file', 'secret'])
  })
})

describe.skipIf(!canMount)('a medium that is a disk of its own', () => {
  it('tells when it is full, and takes more when there is room again', async () => {
    const root = await mountSmallDisk(1)
    const medium = await diskMedia.open(root, { isToBeWritten: true })
    await medium.writeWhole('ballast', Buffer.alloc(512 * 1024))
    const file = await medium.write('large')
    const failure = await file.write(Buffer.alloc(2 * 1024 * 1024, 1), 0).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(MirrorError)
    expect(failure).toMatchObject({ code: 'MEDIUM_FULL', message: `cannot write ${root}/large: no room left` })
    await medium.remove('ballast')
    await file.write(Buffer.alloc(768 * 1024, 1), 0)
    await file.sync()
    await file.close()
  })

  it('is refused once it was pulled out, though the directory is there on which it was mounted', async () => {
    const root = await mountSmallDisk(1)
    const medium = await diskMedia.open(root, { isToBeWritten: true })
    await medium.writeWhole('file', Buffer.from('x'))
    execFileSync('umount', [root])
    onTestFinished(() => void execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', root]))
    const gone = { code: 'MEDIUM_UNREADABLE', message: expect.stringContaining('the medium is no longer there') }
    await expect(medium.open('file')).rejects.toMatchObject(gone)
    await expect(medium.writeWhole('other', Buffer.from('x'))).rejects.toMatchObject(gone)
    await expect(medium.freeBytes()).rejects.toMatchObject(gone)
    expect(await fs.readdir(root)).toEqual([])
  })
})
