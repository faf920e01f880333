import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/parts/log.js'
import { DataDirectory } from '../../src/store/data-directory.js'
import { openStore } from '../../src/store/open-store.js'
import { digestOf, expectedOf, readBlob, receive } from '../contracts/blob-store.contract.js'
import { image, uuid } from '../images/manifests.js'
import { RecordingLog } from '../support/recording-log.js'
import { canMount, mountSmallDisk } from '../support/small-disk.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'

const MIB = 1024 * 1024

/** Somebody else takes all there is. */
async function fill(disk: string): Promise<void> {
  const file = await fs.open(join(disk, 'stranger'), 'a')
  try {
    for (const bytes of [Buffer.alloc(MIB), Buffer.alloc(4096), Buffer.alloc(1)]) {
      await expect(
        (async () => {
          for (;;) await file.write(bytes)
        })(),
      ).rejects.toMatchObject({ code: 'ENOSPC' })
    }
  } finally {
    await file.close()
  }
  expect((await fs.statfs(disk)).bavail).toBe(0)
}

describe.skipIf(!canMount)('a data directory on a disk of 64 MiB', () => {
  const bytes = randomBytes(3 * MIB)
  const { hex } = digestOf('sha256', bytes)

  async function holdAnImage() {
    const disk = await mountSmallDisk(64)
    const directory = join(disk, 'data')
    const store = await openStore({ directory, log: silentLog })
    await receive(store.blobs, expectedOf(bytes, 'sha256'), bytes, MIB)
    const files = [{ sha256: hex, extents: [], corrections: [] }]
    await store.images.keep({ manifest: image(), files, upstream: 'east', heldSinceMs: 1 })
    await store.close()
    return { disk, directory }
  }

  async function expectItServes(directory: string, log = new RecordingLog()) {
    const store = await openStore({ directory, log })
    try {
      expect(store.images.get(uuid(1))).toBeDefined()
      expect((await readBlob(store.blobs, hex))?.equals(bytes)).toBe(true)
    } finally {
      await store.close()
    }
    return log
  }

  it('is opened, and serves, when others have filled the disk, and holds room again when there is some', async () => {
    const { disk, directory } = await holdAnImage()
    await fill(disk)
    const log = await expectItServes(directory)
    expect(log.lines.filter(({ message }) => /the room held for this was let go of/.test(message))).toHaveLength(1)
    expect(await fs.readdir(directory)).not.toContain('ballast')

    await fs.rm(join(disk, 'stranger'))
    await expectItServes(directory)
    await fill(disk)
    await expectItServes(directory)
  })

  it('says that the disk is full when nothing is left to let go of', async () => {
    const { disk, directory } = await holdAnImage()
    await fs.rm(join(directory, 'ballast'))
    await fill(disk)
    await expect(openStore({ directory, log: silentLog })).rejects.toMatchObject({
      code: 'STORE_FULL',
      message: expect.stringMatching(/the disk is full \(0 bytes free\); make room/),
    })
  })

  it('says that it is read-only', async () => {
    const { disk, directory } = await holdAnImage()
    execFileSync('mount', ['-o', 'remount,ro', disk])
    await expect(openStore({ directory, log: silentLog })).rejects.toMatchObject({
      code: 'STORE_UNUSABLE',
      message: expect.stringContaining('read-only'),
    })
    expect((await fs.stat(join(directory, 'ballast'))).size).toBeGreaterThan(0)
  })
})

describe('a data directory whose lock cannot be opened', () => {
  async function withUnusableLock() {
    const directory = await temporaryDirectory()
    await (await DataDirectory.open(directory, { fileSystem: new FaultyFileSystem(), log: silentLog })).close()
    // Not damage, which is mended: nobody can open this for writing.
    await fs.rm(join(directory, 'lock', 'LOCK'))
    await fs.mkdir(join(directory, 'lock', 'LOCK'))
    return directory
  }

  it('names the permission that is missing', async () => {
    const directory = await withUnusableLock()
    const fileSystem = new FaultyFileSystem()
    fileSystem.before = (step, path) => {
      if (step === 'makeDirectory' && path.endsWith('lock')) throw systemError('EACCES')
    }
    await expect(DataDirectory.open(directory, { fileSystem, log: silentLog })).rejects.toMatchObject({
      code: 'STORE_UNUSABLE',
      message: expect.stringContaining('no permission'),
    })
  })

  it('keeps its ballast while there is room, and says what level says', async () => {
    const directory = await withUnusableLock()
    const opening = DataDirectory.open(directory, { fileSystem: new FaultyFileSystem(), log: silentLog })
    await expect(opening).rejects.toMatchObject({
      code: 'STORE_BROKEN',
      message: expect.stringMatching(/LOCK.*directory/),
    })
    expect((await fs.stat(join(directory, 'ballast'))).size).toBe(MIB)
  })
})
