import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Extent } from '../../src/store/blob-store.js'
import { nodeFileSystem } from '../../src/store/file-system.js'
import { PartialJournal, readJournal } from '../../src/store/partial-journal.js'
import { writeFully } from '../../src/store/whole-files.js'
import { east, expectedOf, west } from '../contracts/blob-store.contract.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'

const MIB = 1024 * 1024
const expected = { ...expectedOf(randomBytes(10), 'sha1'), sizeBytes: 100 * MIB }

/** Each of a MiB, so that each is written down at once. */
const extent = (startMib: number, source = east): Extent => ({
  startBytes: startMib * MIB,
  endBytes: (startMib + 1) * MIB,
  ...source,
})

async function makeJournal(fileSystem = new FaultyFileSystem()) {
  const path = join(await temporaryDirectory(), 'journal')
  const file = await fileSystem.open(path, 'create')
  const beginning = PartialJournal.beginning(expected, 'this boot', [])
  await writeFully(file, beginning.text, 0)
  return { path, journal: new PartialJournal(file, beginning) }
}

async function read(path: string, boot = 'this boot') {
  const file = await nodeFileSystem.open(path, 'read')
  try {
    return await readJournal(file, boot)
  } finally {
    await file.close()
  }
}

/** A journal with some of everything, and its length after each step. */
async function makeFullJournal() {
  const { path, journal } = await makeJournal()
  const steps: { sizeBytes: number; extents: readonly Extent[]; syncedExtents: readonly Extent[] }[] = []
  let syncedExtents: readonly Extent[] = []
  const note = async () => {
    const { extents } = (await read(path))!
    steps.push({ sizeBytes: (await fs.stat(path)).size, extents: extents.list, syncedExtents })
  }
  await note()
  for (const [index, source] of [east, east, west, east].entries()) {
    await journal.add(extent(index * 2, source))
    await note()
    if (index % 2 === 1) {
      syncedExtents = (await read(path))!.extents.list
      await journal.sync(async () => {})
      await note()
    }
  }
  await journal.splice({ ...extent(0, west), endBytes: 1000 })
  await note()
  await journal.close()
  return { path, steps }
}

describe('PartialJournal', () => {
  it('says what was added, from whom', async () => {
    const { path, journal } = await makeJournal()
    await journal.add(extent(0))
    await journal.add(extent(1))
    await journal.add(extent(5, west))
    const written = (await read(path))!
    expect(written.expected).toEqual(expected)
    expect(written.extents.list).toEqual([{ ...extent(0), endBytes: 2 * MIB }, extent(5, west)])
    expect(written.isRefused).toBe(false)
    await journal.close()
  })

  it('owes no more than half a MiB, however small the pieces and whoever brings them', async () => {
    const { path, journal } = await makeJournal()
    for (let at = 0; at < MIB; at += 10_000) {
      await journal.add({ startBytes: at, endBytes: at + 10_000, ...east })
      await journal.add({ startBytes: 9 * MIB + at, endBytes: 9 * MIB + at + 10_000, ...west })
      const noted = (await read(path))!.extents
      expect(noted.totalBytes).toBeGreaterThan(2 * (at + 10_000) - MIB / 2 - 20_000)
    }
    // One line a half MiB and source, and not one a piece.
    expect((await fs.readFile(path, 'utf8')).split('\n').length).toBeLessThan(12)
    await journal.close()
  })

  it('is believed after another start of the machine only as far as it was synced', async () => {
    const { path, journal } = await makeJournal()
    await journal.add(extent(0))
    let added: Promise<void> | undefined
    await journal.sync(async () => {
      // Comes while the bytes are being synced, and may be too late for that.
      added = journal.add(extent(1))
      await added
    })
    await journal.add(extent(2))
    expect((await read(path))!.extents.totalBytes).toBe(3 * MIB)
    expect((await read(path, 'another boot'))!.extents.list).toEqual([extent(0)])
    await journal.close()
  })

  it('begins again with what there is, as synced', async () => {
    const { path, journal } = await makeJournal()
    await journal.close()
    const extents = [extent(0), extent(1, west), extent(7)]
    await fs.writeFile(path, PartialJournal.beginning(expected, 'this boot', extents).text)
    expect((await read(path, 'another boot'))!.extents.list).toEqual(extents)
  })

  it('remembers that the file was refused, until it is mended', async () => {
    const { path, journal } = await makeJournal()
    await journal.add(extent(0))
    await journal.refuse()
    expect((await read(path))!.isRefused).toBe(true)
    await journal.splice({ startBytes: 5, endBytes: 10, ...west })
    expect((await read(path))!.isRefused).toBe(false)
    expect((await read(path))!.extents.list.map(({ upstream }) => upstream)).toEqual(['east', 'west', 'east'])
    await journal.close()
  })

  it('writes over a line that could not be finished', async () => {
    const fileSystem = new FaultyFileSystem()
    const { path, journal } = await makeJournal(fileSystem)
    fileSystem.takesAtMostBytes = 20
    let writes = 0
    fileSystem.before = (step) => {
      if (step === 'file.write' && ++writes === 3) throw systemError('ENOSPC')
    }
    await expect(journal.add(extent(0))).rejects.toThrow('ENOSPC')
    expect((await read(path))!.extents.totalBytes).toBe(0)
    await journal.add(extent(1))
    expect((await read(path))!.extents.totalBytes).toBe(2 * MIB)
    await journal.close()
  })

  it('torn anywhere says what it said before', async () => {
    const { path, steps } = await makeFullJournal()
    const whole = await fs.readFile(path)
    for (let length = 0; length <= whole.length; length++) {
      await fs.writeFile(path, whole.subarray(0, length))
      const said = steps.findLast(({ sizeBytes }) => sizeBytes <= length)
      expect((await read(path))?.extents.list).toEqual(said?.extents)
      expect((await read(path, 'another boot'))?.extents.list).toEqual(said?.syncedExtents)
    }
  })

  it('damaged anywhere says less, and nothing else', async () => {
    const { path, steps } = await makeFullJournal()
    const whole = await fs.readFile(path)
    const damage = fc.tuple(fc.nat(whole.length - 1), fc.uint8Array({ minLength: 1, maxLength: 20 }))
    await fc.assert(
      fc.asyncProperty(damage, async ([place, bytes]) => {
        const damaged = Buffer.from(whole)
        damaged.set(bytes.subarray(0, whole.length - place), place)
        if (damaged.equals(whole)) return
        await fs.writeFile(path, damaged)
        const said = steps.filter(({ sizeBytes }) => sizeBytes <= place + bytes.length)
        const found = (await read(path))?.extents.list
        expect([undefined, ...said.map(({ extents }) => extents)]).toContainEqual(found)
      }),
      { numRuns: 200 },
    )
  })
})
