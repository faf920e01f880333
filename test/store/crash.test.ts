import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Claim } from '../../src/images/claim.js'
import { silentLog } from '../../src/parts/log.js'
import { openStore } from '../../src/store/open-store.js'
import type { Store } from '../../src/store/store.js'
import { digestOf, east, expectedOf, readBlob, receive, west } from '../contracts/blob-store.contract.js'
import { image, uuid } from '../images/manifests.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'
import { type Crash, RecordingFileSystem } from './recording-file-system.js'

const first = randomBytes(3000)
const second = randomBytes(2000)
const third = randomBytes(5000)
const icon = { contentType: 'image/png', bytes: Buffer.from('a png') } as const

function claim(number: number): Claim {
  const heard = { firstHeardMs: 1, lastHeardMs: 1, withdrawnMs: undefined, isListed: true, whereabouts: [undefined] }
  return { upstream: 'east', manifest: image({ uuid: uuid(number) }), ...heard }
}

/** What the store has promised, once the change of that number is on the disk, and until another one begins. */
interface Promised {
  readonly afterChanges: number
  untilChanges?: number
  readonly what: string
  readonly isKept: (store: Store) => Promise<boolean>
}

/** A short life of a store, everything in it kept once. */
async function live(directory: string) {
  const fileSystem = new RecordingFileSystem(directory)
  const promised: Promised[] = []
  const store = await openStore({ directory, fileSystem, log: silentLog, boot: 'before', isForManyStarts: true })
  const promise = (what: string, isKept: Promised['isKept']) =>
    promised.push({ afterChanges: fileSystem.count, what, isKept })
  const promiseBlob = (what: string, bytes: Buffer) =>
    promise(what, async ({ blobs }) => (await readBlob(blobs, digestOf('sha256', bytes).hex))?.equals(bytes) === true)

  await receive(store.blobs, expectedOf(first, 'sha1'), first, 1000)
  promiseBlob('the first blob', first)
  const dropped = await store.blobs.receive(expectedOf(second, 'md5'))
  await dropped.write(0, second.subarray(0, 10), east)
  await receive(store.blobs, expectedOf(second, 'sha256'), second, 1000)
  promiseBlob('the second blob', second)
  await dropped.close()

  const held = {
    manifest: image(),
    files: [{ sha256: digestOf('sha256', first).hex, extents: [], corrections: [] }],
    upstream: 'east',
  }
  await store.images.keep({ ...held, heldSinceMs: 1 })
  promise('the image', async ({ images }) => images.get(uuid(1)) !== undefined)
  await store.images.keep({ ...held, heldSinceMs: 2 })
  promise('the image as it was kept last', async ({ images }) => images.get(uuid(1))?.heldSinceMs === 2)

  await store.icons.keep(uuid(1), icon)
  promise('the icon', async ({ icons }) => (await icons.get(uuid(1)))?.bytes.equals(icon.bytes) === true)

  for (const number of [1, 2, 3]) {
    const listing = { validator: `"${number}"` }
    await store.claims.record({ upstream: 'east', heardMs: number, changed: [claim(number)], withdrawn: [], listing })
    promise(`claim ${number}`, async ({ claims }) => {
      const heard = await claims.load()
      const uuids = heard.claims.map(({ manifest }) => manifest.uuid)
      const isHeard = [1, 2, 3].slice(0, number).every((each) => uuids.includes(uuid(each)))
      return isHeard && heard.listings.get('east')!.heardMs >= number
    })
  }
  await store.close()
  return { fileSystem, promised }
}

/** Another life: a download broken off and taken up, one given up, a blob let go of, one that rots and is mended. */
async function liveOn(directory: string) {
  const fileSystem = new RecordingFileSystem(directory)
  const promised: Promised[] = []
  const store = await openStore({
    directory,
    fileSystem,
    log: silentLog,
    boot: 'before',
    syncIntervalBytes: 2000,
    isForManyStarts: true,
  })
  const { blobs } = store
  const promise = (what: string, isKept: Promised['isKept']) => {
    const one: Promised = { afterChanges: fileSystem.count, what, isKept }
    promised.push(one)
    const end = () => {
      one.untilChanges = fileSystem.count
    }
    return { end }
  }
  const promiseBlob = (what: string, bytes: Buffer) =>
    promise(what, async ({ blobs }) => (await readBlob(blobs, digestOf('sha256', bytes).hex))?.equals(bytes) === true)
  const promiseNone = (what: string, bytes: Buffer) =>
    promise(what, async ({ blobs }) => blobs.find(digestOf('sha1', bytes)) === undefined)
  const receivedOf = ({ blobs }: Store, bytes: Buffer) =>
    [...blobs.suspended()].find(({ expected }) => expected.sizeBytes === bytes.length)?.receivedBytes

  await receive(blobs, expectedOf(first, 'sha1'), first, 1000)
  const firstIsKept = promiseBlob('the first blob', first)
  await receive(blobs, expectedOf(second, 'sha1'), second)
  const secondIsKept = promiseBlob('the second blob', second)

  const beginning = await blobs.receive(expectedOf(third, 'sha1'))
  await beginning.write(4000, third.subarray(4000, 4500), west)
  for (let at = 0; at < 3500; at += 500) await beginning.write(at, third.subarray(at, at + 500), east)
  await beginning.suspend()
  const isSuspended = promise('the suspended download', async (store) => receivedOf(store, third) === 3500)
  const end = await blobs.receive(expectedOf(third, 'sha1'))
  await end.write(3500, third.subarray(3500, 4000), east)
  await end.write(4500, third.subarray(4500), west)
  await end.verify()
  isSuspended.end()
  await end.keep()
  promiseBlob('the third blob', third)
  await end.close()

  const dropped = await blobs.receive(expectedOf(first.subarray(1), 'sha1'))
  await dropped.write(0, first.subarray(1, 2500), east)
  await dropped.suspend()
  const again = await blobs.receive(expectedOf(first.subarray(1), 'sha1'))
  await again.close()
  promise('no trace of what was given up', async (store) => receivedOf(store, first.subarray(1)) === undefined)

  firstIsKept.end()
  await blobs.letGo(digestOf('sha256', first).hex)
  promiseNone('no first blob', first)

  const { hex } = digestOf('sha256', second)
  secondIsKept.end()
  const rot = { fromChanges: fileSystem.count, untilChanges: 0 }
  const file = await fileSystem.open(join(directory, 'blobs', 'sha256', hex.slice(0, 2), hex), 'write')
  await file.write(Buffer.from('rot'), 500)
  await file.sync()
  await file.close()
  await blobs.quarantine(hex, { found: 'by a test' })
  rot.untilChanges = fileSystem.count
  const isAside = promiseNone('no second blob', second)
  isAside.end()
  await blobs.repair(hex, new Map([[0, second]]))
  promiseBlob('the second blob, mended', second)
  await store.close()
  return { fileSystem, promised, rot }
}

/** What must be true of a store after any crash, whatever it had promised. `isRotten`: one blob is damaged on the disk. */
async function expectSound({ blobs, images }: Store, root: string, isRotten = false): Promise<void> {
  for (const ref of blobs.all()) {
    if (isRotten && ref.sha256 === digestOf('sha256', second).hex) continue
    const bytes = await readBlob(blobs, ref.sha256)
    expect(bytes && digestOf('sha256', bytes).hex).toBe(ref.sha256)
    expect(digestOf('sha1', bytes!).hex).toBe(ref.sha1)
    expect(await blobs.fingerprint(ref.sha256)).toMatchObject(ref)
  }
  // The files of a held image were kept before it.
  for (const { files } of images.all())
    for (const { sha256 } of files) expect(await blobs.open(sha256).then(close)).toBe(true)
  expect(await fs.readdir(join(root, 'partial'))).toHaveLength([...blobs.suspended()].length)
  for (const { expected } of [...blobs.suspended()]) {
    const content = [first, second, third, first.subarray(1)].find(({ length }) => length === expected.sizeBytes)!
    const partial = await blobs.receive(expected)
    let at = 0
    for (const { startBytes, endBytes } of [...partial.extents]) {
      await partial.write(at, content.subarray(at, startBytes), east)
      at = endBytes
    }
    await partial.write(at, content.subarray(at), east)
    await partial.verify()
    await partial.keep()
    await partial.close()
  }
  expect(await fs.readdir(join(root, 'partial'))).toEqual([])
}

async function close(blob: { close(): Promise<void> } | undefined): Promise<boolean> {
  await blob?.close()
  return blob !== undefined
}

interface Life {
  readonly fileSystem: RecordingFileSystem
  readonly promised: readonly Promised[]
}

/** Lets `check` look at what each crash leaves of a life, after each of its changes. */
async function afterEveryChange(
  directory: string,
  { fileSystem, promised, crash, hasIndex }: Life & { crash: Crash; hasIndex: boolean },
  check: (store: Store, count: number, rig: { root: string; log: RecordingLog }) => Promise<void>,
): Promise<void> {
  for (let count = 0; count <= fileSystem.count; count++) {
    // What a crash leaves is looked at again only when it is different, or more was promised of it.
    const isNews = promised.some(({ afterChanges }) => afterChanges === count)
    if (!isNews && !fileSystem.isOfConsequence(count, crash)) continue
    const root = await fs.mkdtemp(join(tmpdir(), 'imgapi-mirror-crash-'))
    try {
      await fileSystem.replay(root, count, crash)
      const hasFormat = (await fs.readdir(root)).includes('FORMAT')
      if (hasIndex && hasFormat) await fs.cp(join(directory, 'index'), join(root, 'index'), { recursive: true })
      const log = new RecordingLog()
      const store = await openStore({
        directory: root,
        log,
        boot: crash === 'killed' ? 'before' : 'after',
        isForManyStarts: true,
      })
      try {
        await check(store, count, { root, log })
      } finally {
        await store.close()
      }
    } finally {
      await fs.rm(root, { recursive: true })
    }
  }
}

const crashes: [Crash, string][] = [
  ['killed', 'without the index'],
  ['power lost', 'without the index'],
  ['names first', 'without the index'],
  ['sizes first', 'without the index'],
  ['power lost', 'with the index of another moment'],
]

describe('a store that crashes after any change to the disk', () => {
  it.each(crashes)('%s, %s: has all it promised, and nothing that is not whole', async (crash, index) => {
    const directory = await temporaryDirectory()
    const { fileSystem, promised } = await live(directory)
    expect(fileSystem.count).toBeGreaterThan(60)
    const options = { fileSystem, promised, crash, hasIndex: index.startsWith('with the') }
    await afterEveryChange(directory, options, async (store, count, { root }) => {
      for (const { afterChanges, what, isKept } of promised) {
        // `load` answers once; the last claim promises those before it.
        if (afterChanges > count || (what.startsWith('claim') && what !== lastClaim(promised, count))) continue
        expect(await isKept(store), `${what} after change ${count}`).toBe(true)
      }
      await expectSound(store, root)
      expect(await fs.readdir(join(root, 'quarantine'))).toEqual([])
      await receive(store.blobs, expectedOf(first, 'sha1'), first) // and it goes on
    })
  })

  it.each(crashes)('%s, %s, while it resumes, lets go and mends: the same', async (crash, index) => {
    const directory = await temporaryDirectory()
    const { fileSystem, promised, rot } = await liveOn(directory)
    const options = { fileSystem, promised, crash, hasIndex: index.startsWith('with the') }
    await afterEveryChange(directory, options, async (store, count, { root, log }) => {
      for (const { afterChanges, untilChanges = Number.POSITIVE_INFINITY, what, isKept } of promised) {
        if (afterChanges > count || untilChanges < count) continue
        expect(await isKept(store), `${what} after change ${count}`).toBe(true)
      }
      // Nothing had to be read again to know what it is.
      expect(log.lines.filter(({ message }) => message.includes('measured again'))).toEqual([])
      await expectSound(store, root, count >= rot.fromChanges && count < rot.untilChanges)
      await store.blobs.letGo(digestOf('sha256', first).hex)
      await receive(store.blobs, expectedOf(first, 'sha1'), first) // and it goes on
    })
  })
})

function lastClaim(promised: readonly Promised[], count: number): string | undefined {
  return promised.findLast(({ what, afterChanges }) => what.startsWith('claim') && afterChanges <= count)?.what
}
