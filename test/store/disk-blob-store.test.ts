import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { Level } from 'level'
import { describe, expect, it, onTestFinished } from 'vitest'
import { CHUNK_BYTES, type Fingerprint, type PartialBlob } from '../../src/store/blob-store.js'
import { openStore } from '../../src/store/open-store.js'
import { sealJson } from '../../src/store/sealed-json.js'
import type { Store } from '../../src/store/store.js'
import { blobStoreContract, digestOf, expectedOf, readBlob, receive } from '../contracts/blob-store.contract.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, type Step, systemError } from './faulty-file-system.js'

const run = promisify(execFile)
const bytes = randomBytes(CHUNK_BYTES + 777)
const sha256 = digestOf('sha256', bytes).hex

/** A store on a faulty disk, opened as often as one likes. Every case ends with an empty `partial/`. */
async function makeRig() {
  const directory = await temporaryDirectory()
  const fileSystem = new FaultyFileSystem()
  const log = new RecordingLog()
  let store: Store | undefined
  const close = async () => {
    await store?.close()
    store = undefined
  }
  const open = async () => {
    await close()
    log.lines.length = 0
    store = await openStore({ directory, log, fileSystem })
    return store
  }
  onTestFinished(async () => {
    await close()
    expect(await fs.readdir(join(directory, 'partial'))).toEqual([])
  })
  const at = (...path: string[]) => join(directory, ...path)
  return {
    directory,
    fileSystem,
    log,
    at,
    blobPath: (hex: string) => at('blobs', 'sha256', hex.slice(0, 2), hex),
    fingerprintPath: (hex: string) => at('fingerprints', 'sha256', hex.slice(0, 2), `${hex}.json`),
    open,
    close,
  }
}

blobStoreContract('DiskBlobStore', async () => {
  const directory = await temporaryDirectory()
  const store = await openStore({ directory, log: new RecordingLog() })
  return {
    store: store.blobs,
    end: async () => {
      expect(await fs.readdir(join(directory, 'partial'))).toEqual([])
      await store.close()
    },
  }
})

blobStoreContract('DiskBlobStore on a disk that takes little at a time', async () => {
  const directory = await temporaryDirectory()
  const fileSystem = new FaultyFileSystem()
  const store = await openStore({ directory, log: new RecordingLog(), fileSystem })
  fileSystem.takesAtMostBytes = 40_000
  return {
    store: store.blobs,
    end: async () => {
      expect(await fs.readdir(join(directory, 'partial'))).toEqual([])
      await store.close()
    },
  }
})

describe('DiskBlobStore', () => {
  it('names blobs so that sha256sum agrees', async () => {
    const rig = await makeRig()
    const { blobs } = await rig.open()
    for (const sizeBytes of [0, 1, 100_000, bytes.length]) {
      const content = bytes.subarray(0, sizeBytes)
      await receive(blobs, expectedOf(content, 'sha1'), content)
    }
    const { stdout } = await run('find', [rig.at('blobs'), '-type', 'f', '-exec', 'sha256sum', '{}', ';'])
    const lines = stdout.trim().split('\n')
    expect(lines).toHaveLength(4)
    for (const line of lines) {
      const [hex, path] = line.split(/\s+/)
      expect(basename(path!)).toBe(hex)
    }
  })

  it('knows its blobs again after a restart, without reading a fingerprint', async () => {
    const rig = await makeRig()
    const kept = await receive((await rig.open()).blobs, expectedOf(bytes, 'sha1'), bytes)
    const opened: string[] = []
    await rig.close()
    rig.fileSystem.before = (step, path) => void (step === 'open' && opened.push(path))
    const { blobs } = await rig.open()
    expect(opened.filter((path) => path.includes('fingerprints'))).toEqual([])
    const { chunks: _, ...ref } = kept
    expect(blobs.find(digestOf('sha1', bytes))).toEqual(ref)
    expect(await blobs.fingerprint(sha256)).toEqual(kept)
  })

  describe('when the index', () => {
    async function rigWithBlobs() {
      const rig = await makeRig()
      const { blobs } = await rig.open()
      const contents = Array.from({ length: 20 }, (_, index) => bytes.subarray(0, 1000 + index))
      for (const content of contents) await receive(blobs, expectedOf(content, 'sha1'), content)
      await rig.close()
      const expectAll = async () => {
        const { blobs } = await rig.open()
        for (const content of contents) {
          const ref = blobs.find(digestOf('sha1', content), content.length)
          expect(ref && (await readBlob(blobs, ref.sha256))?.equals(content)).toBe(true)
        }
        expect([...blobs.all()]).toHaveLength(contents.length)
      }
      return { ...rig, expectAll }
    }

    it('is deleted, it is rebuilt from the fingerprints, and no blob is read', async () => {
      const rig = await rigWithBlobs()
      await fs.rm(rig.at('index'), { recursive: true })
      await rig.expectAll()
      expect(rig.log.lines.filter((line) => line.level !== 'info')).toEqual([])
      await rig.expectAll()
      expect(rig.log.lines).toEqual([]) // the second time from the index
    })

    it('is no database any more, it is rebuilt from the files', async () => {
      const rig = await rigWithBlobs()
      for (const name of await fs.readdir(rig.at('index'))) await fs.writeFile(rig.at('index', name), 'nonsense')
      await rig.expectAll()
      await rig.expectAll()
      expect(rig.log.lines).toEqual([])
    })

    it.each(Array.from({ length: 12 }, (_, index) => index))(
      'has flipped bytes (place %i), no blob is lost',
      async (n) => {
        const rig = await rigWithBlobs()
        const names = (await fs.readdir(rig.at('index'))).filter((name) => /\.(log|ldb)$/.test(name))
        for (const name of names) {
          const content = await fs.readFile(rig.at('index', name))
          const place = Math.floor((content.length * (n + 0.5)) / 12)
          for (let offset = place; offset < Math.min(place + 4, content.length); offset++) content[offset]! ^= 0x55
          await fs.writeFile(rig.at('index', name), content)
        }
        await rig.expectAll()
        await rig.expectAll()
      },
    )

    it('answers with a wrong value, it is not believed', async () => {
      const rig = await rigWithBlobs()
      const level = new Level<string, Buffer>(rig.at('index'), { valueEncoding: 'buffer' })
      const [[key, value]] = (await level.iterator({ limit: 1 }).all()) as [[string, Buffer]]
      value[40]! ^= 1 // in its sha1
      await level.put(key, value)
      await level.close()
      await rig.expectAll()
      expect(rig.log.lines.map((line) => line.message)).toContain('the index was damaged and is written anew')
      await rig.expectAll()
      expect(rig.log.lines).toEqual([])
    })

    it('was cut short, no blob is lost', async () => {
      const rig = await rigWithBlobs()
      for (const name of await fs.readdir(rig.at('index'))) {
        if (name.endsWith('.log')) await fs.truncate(rig.at('index', name), 500)
      }
      await rig.expectAll()
    })

    it('is deleted while we run, blobs are kept all the same and found after a restart', async () => {
      const rig = await makeRig()
      const { blobs } = await rig.open()
      await fs.rm(rig.at('index'), { recursive: true })
      await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
      expect(blobs.find(digestOf('sha1', bytes))?.sha256).toBe(sha256)
      expect((await rig.open()).blobs.find(digestOf('sha1', bytes))?.sha256).toBe(sha256)
    })
  })

  describe('when the data directory was damaged by hand', () => {
    async function rigWithBlob() {
      const rig = await makeRig()
      await receive((await rig.open()).blobs, expectedOf(bytes, 'sha1'), bytes)
      await rig.close()
      return rig
    }

    it.each([
      ['missing', async (path: string) => fs.rm(path)],
      ['empty', async (path: string) => fs.truncate(path, 0)],
      [
        'changed',
        async (path: string) => {
          const text = await fs.readFile(path, 'utf8')
          await fs.writeFile(path, text.replace(/"md5":"./, '"md5":"x'))
        },
      ],
    ])('a blob whose fingerprint is %s is measured again', async (_state, damage) => {
      const rig = await rigWithBlob()
      await damage(rig.fingerprintPath(sha256))
      await fs.rm(rig.at('index'), { recursive: true })
      const { blobs } = await rig.open()
      expect(await blobs.fingerprint(sha256)).toMatchObject({ sha256, md5: digestOf('md5', bytes).hex })
      expect(await fs.readFile(rig.fingerprintPath(sha256), 'utf8')).toContain(digestOf('md5', bytes).hex)
    })

    it('a fingerprint damaged behind the index is measured again when it is asked for', async () => {
      const rig = await rigWithBlob()
      await fs.truncate(rig.fingerprintPath(sha256), 10)
      const { blobs } = await rig.open()
      expect(await blobs.fingerprint(sha256)).toMatchObject({ sha256, md5: digestOf('md5', bytes).hex })
    })

    it('a blob that is not what its name says, and has no fingerprint, is set aside and not served', async () => {
      const rig = await rigWithBlob()
      await fs.writeFile(rig.blobPath(sha256), 'something else')
      await fs.rm(rig.at('index'), { recursive: true })
      const { blobs } = await rig.open()
      expect(blobs.find(digestOf('sha1', bytes))).toBeUndefined()
      expect(await blobs.open(sha256)).toBeUndefined()
      expect(rig.log.lines).toContainEqual(
        expect.objectContaining({ level: 'error', facts: expect.objectContaining({ sha256 }) }),
      )
      expect(await fs.readdir(rig.at('quarantine'))).toHaveLength(3)
      await receive(blobs, expectedOf(bytes, 'sha1'), bytes) // and the good bytes are welcome again
      expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
    })

    it('a blob that was cut short is set aside when it is opened', async () => {
      const rig = await rigWithBlob()
      await fs.truncate(rig.blobPath(sha256), 100)
      const { blobs } = await rig.open()
      expect(await blobs.open(sha256)).toBeUndefined()
      expect(blobs.find(digestOf('sha1', bytes))).toBeUndefined()
      expect((await fs.readdir(rig.at('quarantine'))).sort()).toEqual([
        expect.stringMatching(new RegExp(`^${sha256}-\\d{8}T\\d{9}Z-[0-9a-f]{8}$`)),
        expect.stringMatching(/\.fingerprint\.json$/),
        expect.stringMatching(/[0-9a-f]\.json$/),
      ])
      expect([...(await rig.open()).blobs.all()]).toEqual([])
    })

    it('a blob that was cut short is replaced when its bytes come again', async () => {
      const rig = await rigWithBlob()
      await fs.truncate(rig.blobPath(sha256), 100)
      const { blobs } = await rig.open()
      await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
      expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
    })

    it('a blob that has vanished is not served, before a restart or after', async () => {
      const rig = await rigWithBlob()
      const { blobs } = await rig.open()
      await fs.rm(rig.blobPath(sha256))
      expect(await blobs.open(sha256)).toBeUndefined()
      expect(blobs.find(digestOf('sha1', bytes))).toBeUndefined()
      await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
      await rig.close()
      await fs.rm(rig.blobPath(sha256))
      expect([...(await rig.open()).blobs.all()]).toEqual([])
    })

    it('a file that is no blob is left alone, and named in the log', async () => {
      const rig = await rigWithBlob()
      const stranger = rig.at('blobs', 'sha256', '00', 'README')
      await fs.mkdir(rig.at('blobs', 'sha256', '00'), { recursive: true })
      await fs.writeFile(stranger, 'hello')
      expect([...(await rig.open()).blobs.all()]).toHaveLength(1)
      expect(rig.log.lines).toContainEqual(expect.objectContaining({ facts: { path: stranger } }))
      expect(await fs.readFile(stranger, 'utf8')).toBe('hello')
    })
  })

  describe('when a kept blob is damaged', () => {
    const { signal } = new AbortController()
    const content = randomBytes(5 * CHUNK_BYTES + 10)
    const name = digestOf('sha256', content).hex
    const chunk = (index: number) => content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)

    /** Changes a byte in each of those chunks. */
    async function rigWithDamage(...chunks: number[]) {
      const rig = await makeRig()
      const { blobs } = await rig.open()
      const fingerprint = await receive(blobs, expectedOf(content, 'sha1'), content)
      const file = await fs.open(rig.blobPath(name), 'r+')
      for (const index of chunks) {
        const position = index * CHUNK_BYTES + 5
        await file.write(Buffer.from([content[position]! ^ 1]), 0, 1, position)
      }
      await file.close()
      return { ...rig, blobs, fingerprint }
    }

    it('is named chunk by chunk', async () => {
      const { blobs } = await rigWithDamage(1, 5)
      expect(await blobs.examine(name, { signal })).toEqual({
        damagedChunks: [1, 5],
        isWhole: false,
        fingerprint: 'good',
      })
      expect(await blobs.examine(name, { signal, fromChunk: 2 })).toEqual({
        damagedChunks: [5],
        isWhole: undefined,
        fingerprint: 'good',
      })
    })

    it('is named from where it was cut, and when there is more than there was', async () => {
      const { blobs, blobPath } = await rigWithDamage()
      await fs.appendFile(blobPath(name), 'more')
      expect(await blobs.examine(name, { signal })).toMatchObject({ damagedChunks: [], isWhole: false })
      await fs.truncate(blobPath(name), 3 * CHUNK_BYTES + 1)
      expect(await blobs.examine(name, { signal })).toMatchObject({ damagedChunks: [3, 4, 5], isWhole: false })
      expect(await blobs.examine(name, { signal, fromChunk: 4 })).toMatchObject({ damagedChunks: [4, 5] })
    })

    it.each([
      ['missing', (path: string) => fs.rm(path)],
      ['damaged', (path: string) => fs.truncate(path, 100)],
      [
        'of other bytes',
        async (path: string) => {
          const { crc32: _, ...written } = JSON.parse(await fs.readFile(path, 'utf8')) as Fingerprint & {
            crc32: string
          }
          await fs.writeFile(path, sealJson(JSON.stringify({ ...written, chunks: written.chunks.toReversed() })))
        },
      ],
    ])('its fingerprint is taken anew when it is %s and the bytes are good', async (_state, damage) => {
      const rig = await rigWithDamage()
      await damage(rig.fingerprintPath(name))
      expect(await rig.blobs.examine(name, { signal })).toEqual({
        damagedChunks: [],
        isWhole: true,
        fingerprint: 'measured again',
      })
      expect(await rig.blobs.fingerprint(name)).toMatchObject({ chunks: rig.fingerprint.chunks })
      expect(await rig.blobs.isChunkGood(name, 0, chunk(0))).toBe(true)
    })

    it('nobody can say where, when its fingerprint is lost as well', async () => {
      const rig = await rigWithDamage(2)
      await fs.rm(rig.fingerprintPath(name))
      expect(await rig.blobs.examine(name, { signal })).toEqual({
        damagedChunks: [0, 1, 2, 3, 4, 5],
        isWhole: false,
        fingerprint: 'lost',
      })
    })

    it('is out of service from the moment it is quarantined, for readers and after a restart', async () => {
      const rig = await rigWithDamage(1)
      const reader = (await rig.blobs.open(name))!
      const reading = reader.read(Buffer.alloc(10), 0)
      const quarantining = rig.blobs.quarantine(name, { found: 'by a test', damagedChunks: [1] })
      expect(rig.blobs.find(digestOf('sha1', content))).toBeUndefined()
      expect(await rig.blobs.open(name)).toBeUndefined()
      await expect(reading).rejects.toMatchObject({ code: 'STORE_BROKEN' })
      await quarantining
      await expect(reader.read(Buffer.alloc(10), 0)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
      await reader.close()
      await rig.blobs.quarantine(name, { again: true })

      const names = (await fs.readdir(rig.at('quarantine'))).sort()
      expect(names).toHaveLength(3)
      const evidence = names.find((each) => /[0-9a-f]\.json$/.test(each))!
      expect(JSON.parse(await fs.readFile(rig.at('quarantine', evidence), 'utf8'))).toMatchObject({
        sha256: name,
        evidence: { found: 'by a test', damagedChunks: [1] },
      })
      const { blobs } = await rig.open()
      expect([...blobs.all()]).toEqual([])
      await receive(blobs, expectedOf(content, 'sha1'), content) // and the good bytes are welcome again
      expect((await readBlob(blobs, name))?.equals(content)).toBe(true)
    })

    it('is out of service even when the disk refuses to move it', async () => {
      const rig = await rigWithDamage(1)
      rig.fileSystem.before = (step) => {
        if (step === 'rename') throw systemError('EROFS')
      }
      await expect(rig.blobs.quarantine(name, {})).rejects.toMatchObject({ code: 'STORE_BROKEN' })
      expect(await rig.blobs.open(name)).toBeUndefined()
      rig.fileSystem.before = () => {}
    })

    it.each(['in quarantine', 'after a restart', 'still kept'])('is mended with its good chunks, %s', async (where) => {
      const rig = await rigWithDamage(1, 5)
      if (where !== 'still kept') await rig.blobs.quarantine(name, {})
      const blobs = where === 'after a restart' ? (await rig.open()).blobs : rig.blobs
      await blobs.repair(name, new Map([1, 5].map((index) => [index, chunk(index)])))
      expect((await readBlob(blobs, name))?.equals(content)).toBe(true)
      expect(await blobs.fingerprint(name)).toEqual(rig.fingerprint)
      expect(await blobs.isChunkGood(name, 1, chunk(1))).toBe(true)
      expect((await rig.open()).blobs.find(digestOf('sha1', content))?.sha256).toBe(name)
    })

    it('is mended with all of its chunks when nobody could say where', async () => {
      const rig = await rigWithDamage(2)
      await fs.rm(rig.fingerprintPath(name))
      await rig.blobs.quarantine(name, {})
      await fs.truncate(rig.at('quarantine', (await fs.readdir(rig.at('quarantine'))).sort()[0]!), content.length)
      await rig.blobs.repair(name, new Map([0, 1, 2, 3, 4, 5].map((index) => [index, chunk(index)])))
      expect((await readBlob(rig.blobs, name))?.equals(content)).toBe(true)
    })

    it('is mended where it was cut short', async () => {
      const rig = await rigWithDamage()
      await fs.truncate(rig.blobPath(name), 4 * CHUNK_BYTES)
      await rig.blobs.quarantine(name, {})
      await rig.blobs.repair(name, new Map([4, 5].map((index) => [index, chunk(index)])))
      expect((await readBlob(rig.blobs, name))?.equals(content)).toBe(true)
    })

    it.each<[string, Map<number, Uint8Array>, string]>([
      ['chunks are missing', new Map([[1, chunk(1)]]), 'still'],
      [
        'the chunks are wrong, too',
        new Map([1, 5].map((index) => [index, Buffer.alloc(chunk(index).length)])),
        'still',
      ],
      ['a chunk is too short', new Map([[1, chunk(1).subarray(1)]]), 'chunk 1'],
    ])('stays where it is when %s', async (_fault, chunks, complaint) => {
      const rig = await rigWithDamage(1, 5)
      await rig.blobs.quarantine(name, {})
      await expect(rig.blobs.repair(name, chunks)).rejects.toMatchObject({
        code: 'STORE_BROKEN',
        message: expect.stringContaining(complaint),
      })
      expect([...rig.blobs.all()]).toEqual([])
      expect(await fs.readdir(rig.at('quarantine'))).toHaveLength(3)
    })

    it('is not mended when there is nothing of it, or no room', async () => {
      const rig = await rigWithDamage(1)
      await expect(rig.blobs.repair(sha256, new Map())).rejects.toMatchObject({ code: 'STORE_BROKEN' })
      rig.fileSystem.freeBytesSaid = content.length
      await expect(rig.blobs.repair(name, new Map([[1, chunk(1)]]))).rejects.toMatchObject({ code: 'STORE_FULL' })
    })
  })

  it('remembers across restarts when a blob was last of use, to the minute after a crash', async () => {
    let now = Date.UTC(2030, 0, 1)
    const directory = await temporaryDirectory()
    const open = (root: string) => openStore({ directory: root, log: new RecordingLog(), now: () => now })
    const store = await open(directory)
    await receive(store.blobs, expectedOf(bytes, 'sha1'), bytes)
    now += 3_600_000
    await readBlob(store.blobs, sha256)
    now += 59_000
    await readBlob(store.blobs, sha256)
    expect(store.blobs.lastUsedMs(sha256)).toBe(now)
    // What a kill at this moment would leave.
    const killed = await temporaryDirectory()
    await fs.cp(directory, killed, { recursive: true })
    await store.close()
    const usedMs = now
    now += 86_400_000
    for (const [root, lossMs] of [
      [directory, 0],
      [killed, 59_000],
    ] as const) {
      const again = await open(root)
      expect(again.blobs.lastUsedMs(sha256)).toBe(usedMs - lossMs)
      await again.close()
    }
  })

  it('opens nothing that is just being let go of', async () => {
    const rig = await makeRig()
    const { blobs } = await rig.open()
    await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
    let opening: Promise<unknown> | undefined
    rig.fileSystem.before = (step, path) => {
      if (step !== 'remove' || path !== rig.blobPath(sha256)) return
      expect(blobs.find(digestOf('sha1', bytes))).toBeUndefined()
      opening = blobs.open(sha256)
    }
    expect(await blobs.letGo(sha256)).toBe(true)
    expect(await opening).toBeUndefined()
    expect(rig.log.lines).toEqual([])
  })

  it('has the blob, or says so, when the disk refuses to let go of it', async () => {
    const rig = await makeRig()
    const { blobs } = await rig.open()
    await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
    rig.fileSystem.before = (step, path) => {
      if (step === 'remove' && path === rig.blobPath(sha256)) throw systemError('EROFS')
    }
    await expect(blobs.letGo(sha256)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
    rig.fileSystem.before = () => {}
    expect(await blobs.letGo(sha256)).toBe(true)
    const left = await fs.readdir(rig.directory, { recursive: true, withFileTypes: true })
    expect(left.filter((entry) => entry.isFile() && entry.name.startsWith(sha256))).toEqual([])
    expect([...(await rig.open()).blobs.all()]).toEqual([])
  })

  it('never shares one sha1 between two sha256, and says so', async () => {
    const rig = await makeRig()
    const other = randomBytes(bytes.length)
    const forged = await receive((await rig.open()).blobs, expectedOf(other, 'md5'), other)
    await rig.close()
    // A collision cannot be made here: the fingerprint on the disk claims one instead.
    const sha1 = digestOf('sha1', bytes).hex
    const fingerprint: Fingerprint = { ...forged, sha1 }
    await fs.writeFile(rig.fingerprintPath(forged.sha256), sealJson(JSON.stringify(fingerprint)))
    await fs.rm(rig.at('index'), { recursive: true })
    const { blobs } = await rig.open()
    await expect(receive(blobs, expectedOf(bytes, 'sha1'), bytes)).rejects.toMatchObject({
      code: 'UPSTREAM_MISBEHAVED',
      message: expect.stringMatching(new RegExp(`${forged.sha256}.*${sha256}`)),
    })
    expect([...blobs.all()].map((ref) => ref.sha256)).toEqual([forged.sha256])
  })

  it('finds neither of two blobs by a digest that both have', async () => {
    const rig = await makeRig()
    const other = randomBytes(bytes.length)
    const { blobs } = await rig.open()
    await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
    const forged = await receive(blobs, expectedOf(other, 'sha1'), other)
    await rig.close()
    const sha1 = digestOf('sha1', bytes).hex
    const md5 = digestOf('md5', bytes).hex
    await fs.writeFile(rig.fingerprintPath(forged.sha256), sealJson(JSON.stringify({ ...forged, sha1, md5 })))
    await fs.rm(rig.at('index'), { recursive: true })
    const again = (await rig.open()).blobs
    expect(again.find({ algorithm: 'sha1', hex: sha1 }, bytes.length)).toBeUndefined()
    expect(again.find({ algorithm: 'md5', hex: md5 }, bytes.length)).toBeUndefined()
    expect(again.find({ algorithm: 'sha256', hex: sha256 })?.sha256).toBe(sha256)
    expect(rig.log.lines.some((line) => line.level === 'error' && line.facts.sha1 === sha1)).toBe(true)
  })

  describe('when the disk is full', () => {
    it('refuses to begin a blob that does not fit beside those under way', async () => {
      const rig = await makeRig()
      const { blobs } = await rig.open()
      rig.fileSystem.freeBytesSaid = 100 * 1024 * 1024
      const expected = { sizeBytes: 50 * 1024 * 1024, digests: [digestOf('sha1', bytes)] }
      const [first, second] = await Promise.allSettled([blobs.receive(expected), blobs.receive(expected)])
      expect(second).toMatchObject({ status: 'rejected', reason: { code: 'STORE_FULL' } })
      await (first as PromiseFulfilledResult<PartialBlob>).value.close()
      await (await blobs.receive(expected)).close() // the room is free again
    })

    const places: [Step, string][] = [
      ['open', 'partial'],
      ['file.write', 'partial'],
      ['file.sync', 'partial'],
      ['makeDirectory', 'fingerprints'],
      ['rename', 'fingerprints'],
      ['syncDirectory', 'fingerprints'],
      ['makeDirectory', 'blobs'],
      ['rename', 'blobs'],
      ['syncDirectory', 'blobs'],
      ['syncDirectory', `blobs/sha256/${sha256.slice(0, 2)}`],
    ]
    it.each(places)('says so at %s in %s, and leaves nothing behind', async (step, place) => {
      const rig = await makeRig()
      const { blobs } = await rig.open()
      let failures = 0
      rig.fileSystem.before = (actual, path) => {
        if (actual !== step || !path.startsWith(rig.at(place))) return
        failures++
        throw systemError('ENOSPC')
      }
      await expect(receive(blobs, expectedOf(bytes, 'sha1'), bytes)).rejects.toMatchObject({ code: 'STORE_FULL' })
      expect(failures).toBeGreaterThan(0)
      rig.fileSystem.before = () => {}
      expect([...blobs.all()]).toEqual([])
      const files = await fs.readdir(rig.directory, { recursive: true, withFileTypes: true })
      const left = files.filter((entry) => entry.isFile() && /blobs|fingerprints|partial/.test(entry.parentPath))
      expect(left.map((entry) => entry.name)).toEqual([])
      await receive(blobs, expectedOf(bytes, 'sha1'), bytes) // and recovers with the disk
      expect((await readBlob(blobs, sha256))?.equals(bytes)).toBe(true)
    })

    it('syncs a directory anew that could not be synced when it was made', async () => {
      const rig = await makeRig()
      const { blobs } = await rig.open()
      const synced: string[] = []
      let isFull = true
      rig.fileSystem.before = (step, path) => {
        if (step !== 'syncDirectory' || path !== rig.at('blobs', 'sha256')) return
        if (isFull) throw systemError('ENOSPC')
        synced.push(path)
      }
      await expect(receive(blobs, expectedOf(bytes, 'sha1'), bytes)).rejects.toMatchObject({ code: 'STORE_FULL' })
      isFull = false
      await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
      expect(synced).toHaveLength(1)
    })

    it('writes on where it was when there is room again', async () => {
      const rig = await makeRig()
      const { blobs } = await rig.open()
      const partial = await blobs.receive(expectedOf(bytes, 'sha1'))
      await partial.append(bytes.subarray(0, 1000))
      rig.fileSystem.takesAtMostBytes = 600
      let writes = 0
      rig.fileSystem.before = (step) => {
        if (step === 'file.write' && ++writes === 2) throw systemError('ENOSPC')
      }
      await expect(partial.append(bytes.subarray(1000))).rejects.toMatchObject({ code: 'STORE_FULL' })
      rig.fileSystem.takesAtMostBytes = Number.POSITIVE_INFINITY
      expect(partial.receivedBytes).toBe(1000)
      await partial.append(bytes.subarray(1000))
      expect((await partial.keep()).sha256).toBe(sha256)
      await partial.close()
    })
  })

  it('says STORE_BROKEN when the disk fails to read', async () => {
    const rig = await makeRig()
    const { blobs } = await rig.open()
    await receive(blobs, expectedOf(bytes, 'sha1'), bytes)
    const blob = (await blobs.open(sha256))!
    rig.fileSystem.before = (step) => {
      if (step === 'file.read') throw systemError('EIO')
    }
    await expect(blob.read(Buffer.alloc(10), 0)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    await blob.close()
    rig.fileSystem.before = () => {}
    const again = (await blobs.open(sha256))!
    await fs.truncate(rig.blobPath(sha256), 5)
    await expect(again.read(Buffer.alloc(10), 0)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    await again.close()
  })

  it('neither verifies nor names bytes that the disk gives back differently', async () => {
    const rig = await makeRig()
    const { blobs } = await rig.open()
    const partial = await blobs.receive(expectedOf(bytes, 'sha1'))
    await partial.append(bytes.subarray(0, 1000))
    const [name] = await fs.readdir(rig.at('partial'))
    const file = await fs.open(rig.at('partial', name!, 'bytes'), 'r+')
    await file.write(Buffer.from('rot'), 0, 3, 500)
    await file.close()
    await partial.append(bytes.subarray(1000))
    await expect(partial.verify()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    await expect(partial.keep()).rejects.toMatchObject({ code: 'UPSTREAM_MISBEHAVED' })
    await partial.close()
    expect([...blobs.all()]).toEqual([])
  })

  it('sweeps what a crash left in partial', async () => {
    const rig = await makeRig()
    await rig.open()
    await rig.close()
    await fs.writeFile(rig.at('partial', 'left-over'), 'half')
    await rig.open()
    expect(await fs.readdir(rig.at('partial'))).toEqual([])
  })

  it('leaves what is still being received when it is closed, keeps what is being kept, and takes nothing new', async () => {
    const rig = await makeRig()
    const store = await rig.open()
    const [arriving, whole] = await Promise.all([
      store.blobs.receive(expectedOf(bytes, 'sha256')),
      store.blobs.receive(expectedOf(bytes, 'sha1')),
    ])
    await arriving.append(bytes.subarray(0, 100))
    await whole.append(bytes)
    const keeping = whole.keep()
    await rig.close()
    expect((await keeping).sha256).toBe(sha256)
    await expect(store.blobs.receive(expectedOf(bytes, 'sha1'))).rejects.toMatchObject({ code: 'CLOSING' })
    const { blobs } = await rig.open()
    expect([...blobs.all()].map((ref) => ref.sha256)).toEqual([sha256])
    expect([...blobs.suspended()]).toMatchObject([{ expected: expectedOf(bytes, 'sha256'), receivedBytes: 100 }])
    const again = await blobs.receive(expectedOf(bytes, 'sha256'))
    await again.append(bytes.subarray(100))
    expect((await again.keep()).sha256).toBe(sha256)
    await again.close()
  })
})
