import { createHash } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Log, silentLog } from '../../src/parts/log.js'
import { DiskRegistryStore } from '../../src/store/disk-registry-store.js'
import { type FileSystem, nodeFileSystem } from '../../src/store/file-system.js'
import type { KeptObject } from '../../src/store/registry-store.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyFileSystem, type Step, systemError } from './faulty-file-system.js'
import { type Crash, RecordingFileSystem } from './recording-file-system.js'

const OCI = 'application/vnd.oci.image.manifest.v1+json'
const SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
const HUB = 'docker.io'
const BUSYBOX = 'library/busybox'

function objectOf(text: string): KeptObject {
  const bytes = Buffer.from(text)
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, mediaType: OCI, bytes }
}

const digestOf = (text: string) => objectOf(text).digest
const latest = (digest: string) => ({ host: HUB, repository: BUSYBOX, tag: 'latest', digest })

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await fs.mkdir(partial)
  const fileSystem = new FaultyFileSystem()
  const log = new RecordingLog()
  return {
    fileSystem,
    log,
    path: (name: string) => join(root, 'registry', name),
    objectPath: (digest: string) => join(root, 'registry', 'objects', digest.slice(7, 9), digest.slice(7)),
    quarantine: () => fs.readdir(join(root, 'quarantine')).catch(() => []),
    open: () => DiskRegistryStore.open({ root, partial, fileSystem, log }),
  }
}

const errorsOf = (log: RecordingLog) =>
  log.lines.flatMap(({ level, message }) => (level === 'error' ? [message] : [])).join()

/** Changes one byte of a file in its middle. */
async function damage(path: string): Promise<void> {
  const bytes = await fs.readFile(path)
  bytes[bytes.length >> 1]! ^= 0x20
  await fs.writeFile(path, bytes)
}

describe('DiskRegistryStore', () => {
  describe('objects', () => {
    it('come back byte by byte, with their type and their repositories, after a restart too', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      const one = objectOf('{ "one" :\n 1 }')
      const two = objectOf('{"two":2}')
      await store.keepObject(HUB, BUSYBOX, one)
      await store.keepObject('quay.io', 'some/where', one)
      await store.keepObject(HUB, BUSYBOX, two)
      for (const each of [store, await rig.open()]) {
        expect(await each.object(one.digest)).toEqual(one)
        expect(each.objectSizeBytes(one.digest)).toBe(one.bytes.length)
        expect([...each.repositoriesOf(one.digest)]).toEqual(['docker.io/library/busybox', 'quay.io/some/where'])
        expect([...each.objectsOf(HUB, BUSYBOX)]).toEqual([one.digest, two.digest])
        expect([...each.objectsOf('quay.io', 'some/where')]).toEqual([one.digest])
      }
      expect(await fs.readFile(rig.objectPath(one.digest), 'utf8')).toBe('{ "one" :\n 1 }')
    })

    it('that are not kept are undefined', async () => {
      const store = await (await makeRig()).open()
      expect(await store.object(digestOf('nothing'))).toBeUndefined()
      expect(store.objectSizeBytes(digestOf('nothing'))).toBeUndefined()
      expect(store.repositoriesOf(digestOf('nothing')).size).toBe(0)
      expect(store.objectsOf(HUB, BUSYBOX).size).toBe(0)
    })

    it('are written once, however often they are kept', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      const object = objectOf('{}')
      const renamed: string[] = []
      rig.fileSystem.before = (step, path) => void (step === 'rename' && renamed.push(path))
      await Promise.all([1, 2, 3].map(() => store.keepObject(HUB, BUSYBOX, object)))
      await store.keepObject(HUB, BUSYBOX, object)
      expect(renamed).toEqual([rig.objectPath(object.digest)])
      expect((await fs.readFile(rig.path('objects.jsonl'), 'utf8')).trimEnd().split('\n')).toHaveLength(1)
    })

    it('of schema 1 are checked by their bytes, whose digest is another', async () => {
      const rig = await makeRig()
      const signed = { ...objectOf('signed'), digest: digestOf('payload'), mediaType: SIGNED }
      await (await rig.open()).keepObject(HUB, BUSYBOX, signed)
      const store = await rig.open()
      expect(await store.object(signed.digest)).toEqual(signed)
      await damage(rig.objectPath(signed.digest))
      expect(await store.object(signed.digest)).toBeUndefined()
    })

    it.each(['../../../etc/passwd', 'sha256:../x', `sha512:${'a'.repeat(128)}`, `sha256:${'A'.repeat(64)}`])(
      'are not kept under %s',
      async (digest) => {
        const store = await (await makeRig()).open()
        await expect(store.keepObject(HUB, BUSYBOX, { ...objectOf('x'), digest })).rejects.toThrow('is not the digest')
        expect(await store.object(digest)).toBeUndefined()
      },
    )

    it('are not kept under the digest of other bytes', async () => {
      const store = await (await makeRig()).open()
      const wrong = { ...objectOf('{}'), digest: digestOf('other') }
      await expect(store.keepObject(HUB, BUSYBOX, wrong)).rejects.toThrow('is of other bytes')
    })

    it('that are damaged are set aside, told, and can be kept again', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      const object = objectOf('{"good":true}')
      await store.keepObject(HUB, BUSYBOX, object)
      await damage(rig.objectPath(object.digest))
      expect(await store.object(object.digest)).toBeUndefined()
      expect(store.objectSizeBytes(object.digest)).toBeUndefined()
      expect(store.objectsOf(HUB, BUSYBOX).size).toBe(0)
      expect(await rig.quarantine()).toHaveLength(2)
      expect(errorsOf(rig.log)).toContain(object.digest)
      expect((await rig.open()).objectSizeBytes(object.digest)).toBeUndefined()
      await store.keepObject(HUB, BUSYBOX, object)
      expect(await (await rig.open()).object(object.digest)).toEqual(object)
    })

    it('that are damaged or gone are found by an audit', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      const [good, bad, gone] = ['good', 'bad!', 'gone'].map(objectOf)
      for (const object of [good!, bad!, gone!]) await store.keepObject(HUB, BUSYBOX, object)
      expect(await store.audit()).toEqual([])
      await damage(rig.objectPath(bad!.digest))
      await fs.rm(rig.objectPath(gone!.digest))
      expect(await store.audit()).toEqual([
        { kind: 'registry', path: rig.objectPath(bad!.digest), complaint: 'it is not what was kept', isMended: false },
        { kind: 'registry', path: rig.objectPath(gone!.digest), complaint: 'it has vanished', isMended: false },
      ])
      expect([...store.objectsOf(HUB, BUSYBOX)]).toEqual([good!.digest])
      expect(await store.audit()).toEqual([])
    })

    it.each<[string, Step]>([
      ['written', 'file.write'],
      ['synced', 'file.sync'],
      ['given its name', 'rename'],
    ])('are not known when they could not be %s, and are kept at the next try', async (_what, failing) => {
      const rig = await makeRig()
      const store = await rig.open()
      const object = objectOf('{}')
      rig.fileSystem.before = (step) => {
        if (step === failing) throw systemError('ENOSPC')
      }
      await expect(store.keepObject(HUB, BUSYBOX, object)).rejects.toMatchObject({ code: 'STORE_FULL' })
      expect(store.objectSizeBytes(object.digest)).toBeUndefined()
      rig.fileSystem.before = () => {}
      await store.keepObject(HUB, BUSYBOX, object)
      expect(await (await rig.open()).object(object.digest)).toEqual(object)
    })
  })

  describe('tags', () => {
    it('mean what was seen last, and remember what they have meant', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      expect(await store.sawTag(latest(digestOf('a')), 1000)).toBe(true)
      expect(await store.sawTag(latest(digestOf('a')), 2000)).toBe(false)
      expect(await store.sawTag(latest(digestOf('b')), 3000)).toBe(true)
      expect(await store.sawTag(latest(digestOf('b')), 2500)).toBe(false)
      await store.close()
      const [a, b] = [
        { ...latest(digestOf('a')), firstSeenMs: 1000, lastSeenMs: 2000 },
        { ...latest(digestOf('b')), firstSeenMs: 3000, lastSeenMs: 3000 },
      ]
      for (const each of [store, await rig.open()]) {
        expect(each.tag(HUB, BUSYBOX, 'latest')).toEqual({ ...b, firstSeenMs: 2500 })
        expect(each.historyOf(HUB, BUSYBOX, 'latest')).toEqual([a, { ...b, firstSeenMs: 2500 }])
      }
    })

    it('are told by repository, by host, and all', async () => {
      const store = await (await makeRig()).open()
      await store.sawTag(latest(digestOf('a')), 1)
      await store.sawTag({ ...latest(digestOf('b')), tag: '1.36' }, 1)
      await store.sawTag({ ...latest(digestOf('c')), repository: 'library/alpine' }, 1)
      await store.sawTag({ ...latest(digestOf('d')), host: 'quay.io' }, 1)
      const names = (tags: Iterable<{ host: string; repository: string; tag: string }>) =>
        [...tags].map(({ host, repository, tag }) => `${host}/${repository}:${tag}`).sort()
      expect(names(store.tags(HUB, BUSYBOX))).toEqual([
        'docker.io/library/busybox:1.36',
        'docker.io/library/busybox:latest',
      ])
      expect(names(store.tags(HUB))).toHaveLength(3)
      expect(names(store.tags())).toHaveLength(4)
      expect(names(store.tags('quay.io', 'library/alpine'))).toEqual([])
    })

    it('that are lost are not listed, keep their history, and may come back', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      await store.sawTag(latest(digestOf('a')), 1000)
      await store.sawTag(latest(digestOf('a')), 2000)
      await store.lostTag(HUB, BUSYBOX, 'latest', 3000)
      await store.lostTag(HUB, BUSYBOX, 'unknown', 3000)
      for (const each of [store, await rig.open()]) {
        expect(each.tag(HUB, BUSYBOX, 'latest')).toBeUndefined()
        expect([...each.tags()]).toEqual([])
        expect(each.historyOf(HUB, BUSYBOX, 'latest')).toMatchObject([{ firstSeenMs: 1000, lastSeenMs: 2000 }])
      }
      expect(await store.sawTag(latest(digestOf('a')), 4000)).toBe(true)
      for (const each of [store, await rig.open()]) {
        expect(each.historyOf(HUB, BUSYBOX, 'latest')).toMatchObject([
          { firstSeenMs: 1000, lastSeenMs: 2000 },
          { firstSeenMs: 4000, lastSeenMs: 4000 },
        ])
      }
    })

    it('are news to one only of two who see them at once', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      const news = await Promise.all([5, 6, 4].map((seenMs) => store.sawTag(latest(digestOf('a')), seenMs)))
      expect(news).toEqual([true, false, false])
      expect((await rig.open()).historyOf(HUB, BUSYBOX, 'latest')).toMatchObject([{ firstSeenMs: 4, lastSeenMs: 6 }])
    })

    it('that move while others do mean the same after a restart', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      const [one, two] = [digestOf('1'), digestOf('2')]
      const stable = { ...latest(one), tag: 'stable' }
      await store.sawTag(latest(one), 1000)
      // Seen again, which is not written at once but with the news that come next.
      await store.sawTag(latest(one), 2000)
      await Promise.all([store.sawTag(latest(two), 3000), store.sawTag(stable, 3000)])
      await store.close()
      const found = await rig.open()
      for (const each of [store, found]) {
        expect(each.historyOf(HUB, BUSYBOX, 'latest')).toMatchObject([
          { digest: one, firstSeenMs: 1000, lastSeenMs: 2000 },
          { digest: two, firstSeenMs: 3000, lastSeenMs: 3000 },
        ])
      }
      await found.close()
    })

    it('cost no write when they mean what they meant', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      await store.sawTag(latest(digestOf('a')), 1)
      const before = await fs.readFile(rig.path('tags.jsonl'), 'utf8')
      for (let seenMs = 2; seenMs < 50; seenMs++) await store.sawTag(latest(digestOf('a')), seenMs)
      expect(await fs.readFile(rig.path('tags.jsonl'), 'utf8')).toBe(before)
      await store.close()
      expect((await rig.open()).tag(HUB, BUSYBOX, 'latest')?.lastSeenMs).toBe(49)
    })

    it('are as they were when the disk refuses', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      await store.sawTag(latest(digestOf('a')), 1)
      rig.fileSystem.before = (step) => {
        if (step === 'file.sync') throw systemError('EIO')
      }
      await expect(store.sawTag(latest(digestOf('b')), 2)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
      rig.fileSystem.before = () => {}
      for (const each of [store, await rig.open()]) {
        expect(each.tag(HUB, BUSYBOX, 'latest')?.digest).toBe(digestOf('a'))
      }
    })

    it('keep every move when their file is written anew', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      await Promise.all(Array.from({ length: 40 }, (_, index) => store.sawTag(latest(digestOf(`${index}`)), index)))
      await store.lostTag(HUB, BUSYBOX, 'latest', 50)
      await store.sawTag(latest(digestOf('39')), 60)
      const history = store.historyOf(HUB, BUSYBOX, 'latest')
      expect(history).toHaveLength(41)
      // Each round writes down anew when 400 tags were seen last.
      for (let round = 0; round < 30; round++) {
        for (let place = 0; place < 400; place++) {
          await store.sawTag({ ...latest(digestOf('many')), repository: `many/${place}` }, 100 + round)
        }
        await store.lostTag(HUB, `many/${round}`, 'latest', 100 + round)
        await store.sawTag({ ...latest(digestOf('many')), repository: `many/${round}` }, 100 + round)
      }
      const { size } = await fs.stat(rig.path('tags.jsonl'))
      expect(size).toBeLessThan(2 * 1024 * 1024)
      const again = await rig.open()
      expect(again.historyOf(HUB, BUSYBOX, 'latest')).toEqual(history)
      expect([...again.tags()]).toHaveLength(401)
    })
  })

  describe('what is let go of', () => {
    it('is gone, line and file, and stays gone after a restart; its size is no longer counted', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      expect(store.sizeBytes).toBe(0)
      const [one, two] = [objectOf('one'), objectOf('x'.repeat(5000))]
      await store.keepObject(HUB, BUSYBOX, one)
      await store.keepObject(HUB, BUSYBOX, two)
      await store.keepObject('quay.io', 'some/where', one)
      expect(store.sizeBytes).toBe(4096 + 512 + 8192)
      expect(store.objectCostBytes(two.digest)).toBe(8192)
      await store.letGoOfObjects([one.digest, digestOf('never kept')])
      for (const each of [store, await rig.open()]) {
        expect([...each.objects()]).toEqual([two.digest])
        expect(await each.object(one.digest)).toBeUndefined()
        expect([...each.objectsOf(HUB, BUSYBOX)]).toEqual([two.digest])
        expect(each.objectsOf('quay.io', 'some/where').size).toBe(0)
        expect(each.sizeBytes).toBe(8192)
        expect(await each.audit()).toEqual([])
      }
      await expect(fs.stat(rig.objectPath(one.digest))).rejects.toThrow('ENOENT')
      await store.keepObject(HUB, BUSYBOX, one)
      expect((await rig.open()).objectSizeBytes(one.digest)).toBe(3)
    })

    it('leaves no file behind that no line speaks of, whenever it was interrupted', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      const objects = ['one', 'two'].map(objectOf)
      for (const object of objects) await store.keepObject(HUB, BUSYBOX, object)
      rig.fileSystem.before = (step) => {
        if (step === 'remove') throw systemError('EIO')
      }
      const [one, two] = objects.map(({ digest }) => digest)
      await expect(store.letGoOfObjects([one!])).rejects.toMatchObject({ code: 'STORE_BROKEN' })
      rig.fileSystem.before = () => {}
      expect((await fs.stat(rig.objectPath(one!))).isFile()).toBe(true)
      const again = await rig.open()
      await expect(fs.stat(rig.objectPath(one!))).rejects.toThrow('ENOENT')
      expect((await again.object(two!))?.digest).toBe(two)
      expect(await rig.quarantine()).toEqual([])
    })

    it('of tags takes all they have meant along, and nothing of others', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      for (const [seenMs, text] of ['a', 'b', 'a'].entries()) await store.sawTag(latest(digestOf(text)), seenMs)
      await store.sawTag({ ...latest(digestOf('a')), tag: 'other' }, 1)
      await store.lostTag(HUB, BUSYBOX, 'other', 2)
      expect(store.sizeBytes).toBe(2 * 4096 + 2 * 512)
      expect(store.tagCostBytes(HUB, BUSYBOX, 'latest')).toBe(4096 + 2 * 512)
      expect([...store.histories()].map((history) => history.length)).toEqual([3, 1])
      await store.forgetTags([latest('')])
      for (const each of [store, await rig.open()]) {
        expect(each.tag(HUB, BUSYBOX, 'latest')).toBeUndefined()
        expect(each.historyOf(HUB, BUSYBOX, 'latest')).toEqual([])
        expect(each.historyOf(HUB, BUSYBOX, 'other')).toHaveLength(1)
        expect(each.sizeBytes).toBe(4096)
      }
      expect(await store.sawTag(latest(digestOf('c')), 9)).toBe(true)
      expect((await rig.open()).historyOf(HUB, BUSYBOX, 'latest')).toHaveLength(1)
    })
  })

  describe('derivations', () => {
    it('come back after a restart', async () => {
      const rig = await makeRig()
      const derivation = {
        fromSha256: 'a'.repeat(64),
        sha256: 'b'.repeat(64),
        sha1: 'c'.repeat(40),
        md5: 'd'.repeat(32),
        sizeBytes: 5,
        how: 'zstd to gzip',
        atMs: 7,
      }
      const store = await rig.open()
      await store.keepDerivation(derivation)
      for (const each of [store, await rig.open()]) {
        expect(each.derivationOf(derivation.fromSha256)).toEqual(derivation)
        expect(each.derivationOf(derivation.sha256)).toBeUndefined()
      }
    })
  })

  describe('lines', () => {
    it('that a crash has torn are cut off', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      await store.sawTag(latest(digestOf('a')), 1)
      await fs.appendFile(rig.path('tags.jsonl'), '{"seen":{"host":"docker.io"')
      const again = await rig.open()
      expect(again.tag(HUB, BUSYBOX, 'latest')?.digest).toBe(digestOf('a'))
      expect(await rig.quarantine()).toEqual([])
      await again.sawTag({ ...latest(digestOf('b')), tag: 'next' }, 2)
      expect([...(await rig.open()).tags()]).toHaveLength(2)
    })

    it('that are damaged at start are told, set aside, and gone from the file', async () => {
      const rig = await makeRig()
      const store = await rig.open()
      for (const tag of ['one', 'two', 'three']) await store.sawTag({ ...latest(digestOf(tag)), tag }, 1)
      await damage(rig.path('tags.jsonl'))
      const again = await rig.open()
      expect([...again.tags()].map(({ tag }) => tag)).toEqual(['one', 'three'])
      expect(errorsOf(rig.log)).toContain('what tags mean')
      expect(await rig.quarantine()).toHaveLength(1)
      expect([...(await rig.open()).tags()]).toHaveLength(2)
      expect(await rig.quarantine()).toHaveLength(1)
    })

    it.each(['tags.jsonl', 'objects.jsonl', 'derivations.jsonl'])(
      'that rot in %s are written anew from memory by an audit',
      async (name) => {
        const rig = await makeRig()
        const store = await rig.open()
        await store.sawTag(latest(digestOf('a')), 1)
        await store.keepObject(HUB, BUSYBOX, objectOf('a'))
        const sums = { sha256: 'b'.repeat(64), sha1: 'c'.repeat(40), md5: 'd'.repeat(32), sizeBytes: 5 }
        await store.keepDerivation({ ...sums, fromSha256: 'a'.repeat(64), how: 'zstd to gzip', atMs: 7 })
        const before = await fs.readFile(rig.path(name), 'utf8')
        await damage(rig.path(name))
        expect(await store.audit()).toMatchObject([{ kind: 'registry', path: rig.path(name), isMended: true }])
        expect(await fs.readFile(rig.path(name), 'utf8')).toBe(before)
        await fs.rm(rig.path(name))
        expect(await store.audit()).toMatchObject([{ path: rig.path(name), isMended: true }])
        expect(await fs.readFile(rig.path(name), 'utf8')).toBe(before)
        expect(await store.audit()).toEqual([])
      },
    )
  })

  describe('after a crash', () => {
    it.each<Crash>(['killed', 'power lost', 'names first', 'sizes first'])(
      '(%s) between any two changes of the disk, has everything it had promised, and nothing damaged',
      async (crash) => {
        const directory = await temporaryDirectory()
        const fileSystem = new RecordingFileSystem(directory)
        const promised: { afterChanges: number; isKept: (store: DiskRegistryStore) => Promise<boolean> | boolean }[] =
          []
        const promise = (isKept: (store: DiskRegistryStore) => Promise<boolean> | boolean) =>
          promised.push({ afterChanges: fileSystem.count, isKept })
        await fileSystem.makeDirectory(join(directory, 'partial'))
        await fileSystem.syncDirectory(directory)
        const open = (root: string, disk: FileSystem, log: Log) =>
          DiskRegistryStore.open({ root, partial: join(root, 'partial'), fileSystem: disk, log })
        const store = await open(directory, fileSystem, silentLog)
        const objects = ['one', 'two'].map(objectOf)
        const [first] = objects
        for (const object of objects) {
          await store.keepObject(HUB, BUSYBOX, object)
          promise(async (found) => (await found.object(object.digest))?.bytes.equals(object.bytes) === true)
        }
        await store.keepObject('quay.io', 'some/where', first!)
        promise((found) => found.repositoriesOf(first!.digest).size === 2)
        for (const [seenMs, digest] of [first!.digest, digestOf('two'), first!.digest].entries()) {
          await store.sawTag(latest(digest), seenMs)
          promise((found) => found.historyOf(HUB, BUSYBOX, 'latest')[seenMs]?.digest === digest)
        }
        await store.lostTag(HUB, BUSYBOX, 'latest', 9)
        promise((found) => found.tag(HUB, BUSYBOX, 'latest') === undefined)
        await store.close()

        for (let count = 3; count <= fileSystem.count; count++) {
          const isNews = promised.some(({ afterChanges }) => afterChanges === count)
          if (!isNews && !fileSystem.isOfConsequence(count, crash)) continue
          const root = await temporaryDirectory()
          await fileSystem.replay(root, count, crash)
          const log = new RecordingLog()
          const found = await open(root, nodeFileSystem, log)
          for (const { afterChanges, isKept } of promised) {
            if (afterChanges <= count) expect(await isKept(found)).toBe(true)
          }
          // What is spoken of is there, and nobody is alarmed.
          expect(await found.audit()).toEqual([])
          expect(errorsOf(log)).toBe('')
          await found.keepObject(HUB, BUSYBOX, first!)
          expect(await found.object(first!.digest)).toEqual(first)
        }
      },
    )
  })
})
