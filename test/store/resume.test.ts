import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { silentLog } from '../../src/parts/log.js'
import { CHUNK_BYTES, type PartialBlob } from '../../src/store/blob-store.js'
import { type OpenStoreOptions, openStore } from '../../src/store/open-store.js'
import type { Store } from '../../src/store/store.js'
import { digestOf, east, expectedOf, readBlob, west } from '../contracts/blob-store.contract.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, systemError } from './faulty-file-system.js'
import { type Crash, RecordingFileSystem } from './recording-file-system.js'

const bytes = randomBytes(4 * CHUNK_BYTES + 321)
const sha256 = digestOf('sha256', bytes).hex
const expected = expectedOf(bytes, 'sha1')

/** A machine that can be killed and lose its power: it goes on with what is then left of its disk. */
async function makeMachine(options: Partial<OpenStoreOptions> = {}) {
  let boot = 1
  let directory = await temporaryDirectory()
  let fileSystem = new RecordingFileSystem(directory)
  let store: Store | undefined
  onTestFinished(() => store?.close())
  const start = async () => {
    store = await openStore({
      directory,
      fileSystem,
      log: silentLog,
      boot: `boot ${boot}`,
      isForManyStarts: true,
      ...options,
    })
    return store.blobs
  }
  const stop = async () => {
    await store?.close()
    store = undefined
  }
  return {
    start,
    stop,
    at: (...path: string[]) => join(directory, ...path),
    async crash(crash: Crash) {
      const abandoned = store
      store = undefined
      directory = await temporaryDirectory()
      fileSystem = await fileSystem.goOnIn(directory, crash)
      await abandoned?.close()
      if (crash !== 'killed') boot++
      return await start()
    },
  }
}

/** Brings what is missing, and keeps the file. */
async function finish(partial: PartialBlob): Promise<void> {
  let at = 0
  for (const { startBytes, endBytes } of [...partial.extents]) {
    await partial.write(at, bytes.subarray(at, startBytes), west)
    at = endBytes
  }
  await partial.write(at, bytes.subarray(at), west)
  await partial.verify()
  await partial.keep()
  await partial.close()
}

function heldBytes({ extents }: PartialBlob): number {
  return extents.reduce((sum, { startBytes, endBytes }) => sum + endBytes - startBytes, 0)
}

describe('a download that was cut off', () => {
  it('by a kill has all but half a MiB of what had come', async () => {
    const machine = await makeMachine()
    const partial = await (await machine.start()).receive(expected)
    const half = 2 * CHUNK_BYTES + 100
    for (let at = 0; at < half; at += 10_000) await partial.write(at, bytes.subarray(at, at + 10_000), east)
    const blobs = await machine.crash('killed')
    const again = await blobs.receive(expected)
    expect(again.receivedBytes).toBeGreaterThan(half - CHUNK_BYTES / 2)
    await finish(again)
    expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
  })

  it.each<Crash>(['power lost', 'names first', 'sizes first'])(
    'by a power cut (%s) has what was synced',
    async (crash) => {
      const machine = await makeMachine({ syncIntervalBytes: CHUNK_BYTES })
      const partial = await (await machine.start()).receive(expected)
      for (let at = 0; at < 3.5 * CHUNK_BYTES; at += 65_536)
        await partial.write(at, bytes.subarray(at, at + 65_536), east)
      const blobs = await machine.crash(crash)
      const again = await blobs.receive(expected)
      // The last sync may still have been under way: two intervals.
      expect(again.receivedBytes).toBeGreaterThanOrEqual(1.5 * CHUNK_BYTES)
      expect(again.receivedBytes).toBeLessThan(3.5 * CHUNK_BYTES)
      await finish(again)
      expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
    },
  )

  it.each<Crash>(['power lost', 'sizes first'])(
    'by a kill, and a power cut (%s) soon after, is right',
    async (crash) => {
      const machine = await makeMachine()
      const partial = await (await machine.start()).receive(expected)
      await partial.write(0, bytes.subarray(0, 3 * CHUNK_BYTES), east)
      await (await machine.crash('killed')).receive(expected)
      const again = await (await machine.crash(crash)).receive(expected)
      expect(again.receivedBytes).toBe(3 * CHUNK_BYTES)
      await finish(again)
    },
  )

  it('by a power cut before anything was synced begins anew', async () => {
    const machine = await makeMachine()
    const partial = await (await machine.start()).receive(expected)
    await partial.write(0, bytes.subarray(0, 3 * CHUNK_BYTES), east)
    const blobs = await machine.crash('sizes first')
    expect([...blobs.suspended()]).toEqual([])
    const again = await blobs.receive(expected)
    expect(again.receivedBytes).toBe(0)
    await finish(again)
  })

  it('is synced after a while, too, however little has come', async () => {
    let now = Date.now()
    const machine = await makeMachine({ now: () => now })
    const partial = await (await machine.start()).receive(expected)
    await partial.write(0, bytes.subarray(0, 1000), east)
    now += 5_000
    await partial.write(1000, bytes.subarray(1000, 2000), east)
    now += 5_000
    await partial.write(2000, bytes.subarray(2000, 3000), east) // waits for the sync before
    const blobs = await machine.crash('power lost')
    const again = await blobs.receive(expected)
    expect(again.receivedBytes).toBeGreaterThanOrEqual(2000)
    await finish(again)
  })

  it('by stopping in order has every byte', async () => {
    const machine = await makeMachine()
    const partial = await (await machine.start()).receive(expected)
    await partial.write(5, bytes.subarray(5, 1234), east)
    await partial.suspend()
    await machine.stop()
    const blobs = await machine.crash('power lost')
    const again = await blobs.receive(expected)
    expect(again.extents).toEqual([{ startBytes: 5, endBytes: 1234, ...east }])
    await finish(again)
  })

  it('is not taken up when it had been refused', async () => {
    const machine = await makeMachine({ syncIntervalBytes: CHUNK_BYTES })
    const partial = await (await machine.start()).receive(expected)
    await partial.write(0, Buffer.alloc(bytes.length), east)
    await expect(partial.verify()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    const blobs = await machine.crash('killed')
    expect([...blobs.suspended()]).toEqual([])
    expect(await fs.readdir(machine.at('partial'))).toEqual([])
  })

  it('is found wrong in the end when its bytes were changed meanwhile', async () => {
    const machine = await makeMachine()
    const partial = await (await machine.start()).receive(expected)
    await partial.write(0, bytes.subarray(0, 2 * CHUNK_BYTES), east)
    await machine.stop()
    const [name] = await fs.readdir(machine.at('partial'))
    const file = await fs.open(machine.at('partial', name!, 'bytes'), 'r+')
    await file.write(Buffer.from('rot'), 0, 3, 500)
    await file.close()
    const blobs = await machine.start()
    const again = await blobs.receive(expected)
    expect(again.receivedBytes).toBe(2 * CHUNK_BYTES)
    await expect(finish(again)).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    await again.suspend()
    expect([...blobs.suspended()]).toEqual([])
    expect([...blobs.all()]).toEqual([])
  })

  it('comes out right, or is found out, whatever happens on the way', async () => {
    const place = fc.nat(bytes.length - 1)
    const happening = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('write' as const),
          place,
          sizeBytes: fc.integer({ min: 1, max: 900_000 }),
        }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('suspend' as const) }) },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant('crash' as const),
          crash: fc.constantFrom<Crash>('killed', 'power lost', 'names first', 'sizes first'),
        }),
      },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { maxLength: 12 }), async (happenings) => {
        const machine = await makeMachine({ syncIntervalBytes: 600_000 })
        let blobs = await machine.start()
        let partial = await blobs.receive(expected)
        for (const one of happenings) {
          const before = heldBytes(partial)
          if (one.kind === 'write') {
            const free = partial.extents.find(({ endBytes }) => endBytes > one.place)?.startBytes ?? bytes.length
            const endBytes = Math.min(free, one.place + one.sizeBytes)
            if (endBytes > one.place) await partial.write(one.place, bytes.subarray(one.place, endBytes), east)
            continue
          }
          if (one.kind === 'suspend') await partial.suspend()
          else blobs = await machine.crash(one.crash)
          partial = await blobs.receive(expected)
          if (one.kind === 'suspend') expect(heldBytes(partial)).toBe(before)
          else if (one.crash === 'killed') expect(heldBytes(partial)).toBeGreaterThan(before - CHUNK_BYTES / 2)
          for (const { startBytes, endBytes } of partial.extents) {
            const here = Buffer.alloc(endBytes - startBytes)
            await partial.read(here, startBytes)
            expect(here.equals(bytes.subarray(startBytes, endBytes))).toBe(true)
          }
        }
        await finish(partial)
        expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
        await machine.stop()
        expect(await fs.readdir(machine.at('partial'))).toEqual([])
      }),
      { numRuns: 15 },
    )
  })

  it('has a disk that cannot write its journal: bytes come in all the same', async () => {
    const fileSystem = new FaultyFileSystem()
    const log = new RecordingLog()
    const store = await openStore({ directory: await temporaryDirectory(), fileSystem, log })
    onTestFinished(() => store.close())
    const partial = await store.blobs.receive(expected)
    fileSystem.before = (step, path) => {
      if (step === 'file.write' && path.endsWith('journal')) throw systemError('ENOSPC')
    }
    for (let at = 0; at < bytes.length; at += 100_000) await partial.write(at, bytes.subarray(at, at + 100_000), east)
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1)
    await partial.verify()
    expect((await partial.keep()).sha256).toBe(sha256)
    await partial.close()
  })

  it('is forgotten in peace while it is being synced', async () => {
    const log = new RecordingLog()
    const directory = await temporaryDirectory()
    const store = await openStore({ directory, log, syncIntervalBytes: 100_000, isForManyStarts: true })
    onTestFinished(() => store.close())
    for (let round = 0; round < 5; round++) {
      const partial = await store.blobs.receive(expected)
      await partial.write(0, bytes.subarray(0, 200_000), east)
      await partial.discard()
      await partial.close()
    }
    expect(log.lines).toEqual([])
  })

  it('says so when it cannot be suspended, and lets go of the file', async () => {
    const fileSystem = new FaultyFileSystem()
    const store = await openStore({ directory: await temporaryDirectory(), fileSystem, log: silentLog })
    onTestFinished(() => store.close())
    const partial = await store.blobs.receive(expected)
    await partial.write(0, bytes.subarray(0, 1000), east)
    fileSystem.before = (step) => {
      if (step === 'file.sync') throw systemError('EIO')
    }
    await expect(partial.suspend()).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    fileSystem.before = () => {}
    const again = await store.blobs.receive(expected)
    await finish(again)
  })
})

describe('what is left in partial/ at start', () => {
  const name = `sha1-${digestOf('sha1', bytes).hex}-${bytes.length}`
  async function startWith(prepare: (path: string) => Promise<void>) {
    const directory = await temporaryDirectory()
    const log = new RecordingLog()
    await (await openStore({ directory, log })).close()
    await prepare(join(directory, 'partial'))
    const store = await openStore({ directory, log })
    onTestFinished(() => store.close())
    return { blobs: store.blobs, log, left: () => fs.readdir(join(directory, 'partial')) }
  }

  it.each<[string, (path: string) => Promise<unknown>]>([
    ['empty', async () => {}],
    ['without a journal', (path) => fs.writeFile(join(path, 'bytes'), bytes)],
    ['without bytes', (path) => fs.writeFile(join(path, 'journal'), 'x\n')],
    [
      'with a journal that makes no sense',
      async (path) => {
        await fs.writeFile(join(path, 'bytes'), bytes)
        await fs.writeFile(join(path, 'journal'), '{"journal":1}\n{}\n')
        await fs.writeFile(join(path, 'something'), 'else')
      },
    ],
  ])('is removed when it is %s', async (_state, prepare) => {
    const { blobs, log, left } = await startWith(async (path) => {
      await fs.mkdir(join(path, name))
      await prepare(join(path, name))
    })
    expect([...blobs.suspended()]).toEqual([])
    expect(await left()).toEqual([])
    expect(log.lines.some(({ message }) => message.includes('of no use'))).toBe(true)
    await finish(await blobs.receive(expected))
  })

  it('is left alone, and named, when it is none of ours', async () => {
    const { log, left } = await startWith((path) => fs.mkdir(join(path, 'holiday')))
    expect(await left()).toEqual(['holiday'])
    expect(log.lines.some(({ level, facts }) => level === 'warn' && String(facts.path).endsWith('holiday'))).toBe(true)
  })

  it('stops neither us nor the file when it cannot be removed', async () => {
    const { blobs, log } = await startWith(async (path) => {
      await fs.mkdir(join(path, name, 'deeper'), { recursive: true })
    })
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1)
    await finish(await blobs.receive(expected))
    expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
  })
})
