import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Claim } from '../../src/images/claim.js'
import { silentLog } from '../../src/parts/log.js'
import { openStore } from '../../src/store/open-store.js'
import type { Store } from '../../src/store/store.js'
import { digestOf, expectedOf, readBlob, receive } from '../contracts/blob-store.contract.js'
import { image, uuid } from '../images/manifests.js'
import { temporaryDirectory } from '../support/temporary.js'
import { type Crash, RecordingFileSystem } from './recording-file-system.js'

const first = randomBytes(3000)
const second = randomBytes(2000)
const icon = { contentType: 'image/png', bytes: Buffer.from('a png') } as const

function claim(number: number): Claim {
  const heard = { firstHeardMs: 1, lastHeardMs: 1, withdrawnMs: undefined, isListed: true, whereabouts: [undefined] }
  return { upstream: 'east', manifest: image({ uuid: uuid(number) }), ...heard }
}

/** What the store has promised to keep, once the change of that number is on the disk. */
interface Promised {
  readonly afterChanges: number
  readonly what: string
  readonly isKept: (store: Store) => Promise<boolean>
}

/** A short life of a store, everything in it kept once. */
async function live(directory: string) {
  const fileSystem = new RecordingFileSystem(directory)
  const promised: Promised[] = []
  const store = await openStore({ directory, fileSystem, log: silentLog })
  const promise = (what: string, isKept: Promised['isKept']) =>
    promised.push({ afterChanges: fileSystem.count, what, isKept })
  const promiseBlob = (what: string, bytes: Buffer) =>
    promise(what, async ({ blobs }) => (await readBlob(blobs, digestOf('sha256', bytes).hex))?.equals(bytes) === true)

  await receive(store.blobs, expectedOf(first, 'sha1'), first, 1000)
  promiseBlob('the first blob', first)
  const dropped = await store.blobs.receive(expectedOf(second, 'md5'))
  await dropped.append(second.subarray(0, 10))
  await receive(store.blobs, expectedOf(second, 'sha256'), second, 1000)
  promiseBlob('the second blob', second)
  await dropped.close()

  const held = {
    manifest: image(),
    files: [{ sha256: digestOf('sha256', first).hex }],
    upstream: 'east',
    locations: [],
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

/** What must be true of a store after any crash, whatever it had promised. */
async function expectSound({ blobs, images }: Store, root: string): Promise<void> {
  for (const ref of blobs.all()) {
    const bytes = await readBlob(blobs, ref.sha256)
    expect(bytes && digestOf('sha256', bytes).hex).toBe(ref.sha256)
    expect(digestOf('sha1', bytes!).hex).toBe(ref.sha1)
    expect(await blobs.fingerprint(ref.sha256)).toMatchObject(ref)
  }
  // The files of a held image were kept before it.
  for (const { files } of images.all())
    for (const { sha256 } of files) expect(await blobs.open(sha256).then(close)).toBe(true)
  expect(await fs.readdir(join(root, 'partial'))).toEqual([])
  expect(await fs.readdir(join(root, 'quarantine'))).toEqual([])
}

async function close(blob: { close(): Promise<void> } | undefined): Promise<boolean> {
  await blob?.close()
  return blob !== undefined
}

describe('a store that crashes after any change to the disk', () => {
  it.each<[Crash, string]>([
    ['killed', 'without the index'],
    ['power lost', 'without the index'],
    ['names first', 'without the index'],
    ['power lost', 'with an index that knows more than there is'],
  ])('%s, %s: has all it promised, and nothing that is not whole', async (crash, index) => {
    const directory = await temporaryDirectory()
    const { fileSystem, promised } = await live(directory)
    expect(fileSystem.count).toBeGreaterThan(60)
    for (let count = 0; count <= fileSystem.count; count++) {
      const root = await fs.mkdtemp(join(tmpdir(), 'imgapi-mirror-crash-'))
      try {
        await fileSystem.replay(root, count, crash)
        const hasFormat = (await fs.readdir(root)).includes('FORMAT')
        if (index.startsWith('with an') && hasFormat)
          await fs.cp(join(directory, 'index'), join(root, 'index'), { recursive: true })
        const store = await openStore({ directory: root, log: silentLog })
        try {
          await expectSound(store, root)
          for (const { afterChanges, what, isKept } of promised) {
            // `load` answers once; the last claim promises those before it.
            if (afterChanges > count || (what.startsWith('claim') && what !== lastClaim(promised, count))) continue
            expect(await isKept(store), `${what} after change ${count}`).toBe(true)
          }
          await receive(store.blobs, expectedOf(first, 'sha1'), first) // and it goes on
        } finally {
          await store.close()
        }
      } finally {
        await fs.rm(root, { recursive: true })
      }
    }
  })
})

function lastClaim(promised: readonly Promised[], count: number): string | undefined {
  return promised.findLast(({ what, afterChanges }) => what.startsWith('claim') && afterChanges <= count)?.what
}
