import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Arrival } from '../../src/store/arrival-store.js'
import { DiskArrivalStore } from '../../src/store/disk-arrival-store.js'
import { nodeFileSystem } from '../../src/store/file-system.js'
import { RecordingLog } from '../support/recording-log.js'
import { temporaryDirectory } from '../support/temporary.js'

const BUNDLE = Buffer.from('{"format": "imgapi-mirror bundle"}')
const ID = createHash('sha256').update(BUNDLE).digest('hex')

const ARRIVAL: Arrival = {
  id: ID,
  from: { site: 'north', key: 'AB12' },
  signedBy: { key: 'AB12', isTrusted: true },
  series: { name: 'weekly', number: 3, previous: null },
  images: 2,
  volumes: 3,
  volumesCome: [2],
  firstComeMs: 1_700_000_000_000,
  lastComeMs: 1_700_000_000_001,
  endedMs: null,
}

async function makeRig() {
  const root = await temporaryDirectory()
  const partial = join(root, 'partial')
  await mkdir(partial)
  const log = new RecordingLog()
  const open = () => DiskArrivalStore.open({ root, partial, fileSystem: nodeFileSystem, log })
  return { root, open, directory: join(root, 'bundles') }
}

it('gives back which bundles have come, and what was kept of them', async () => {
  const { open } = await makeRig()
  const store = await open()
  expect(await store.load()).toEqual({ arrivals: [], excused: [] })
  expect(await store.document(ID, 'bundle.json')).toBeUndefined()
  await store.keepDocument(ID, 'bundle.json', BUNDLE)
  const saved = { arrivals: [ARRIVAL], excused: [{ name: 'weekly', upTo: 1 }] }
  await store.save(saved)
  const again = await open()
  expect(await again.load()).toMatchObject(saved)
  expect(await again.document(ID, 'bundle.json')).toEqual(BUNDLE)
})

it('forgets what was kept of a bundle that ended, also when a crash came in between', async () => {
  const { directory, open } = await makeRig()
  const store = await open()
  await store.keepDocument(ID, 'bundle.json', BUNDLE)
  await store.save({ arrivals: [{ ...ARRIVAL, endedMs: 1 }], excused: [] })
  await (await open()).load()
  expect(await readdir(directory)).toEqual(['arrivals.json'])
  await store.forgetDocuments(ID)
})

it('takes a damaged list for none, and keeps it, and what was kept of bundles, for whoever wants to know', async () => {
  const { directory, open, root } = await makeRig()
  const store = await open()
  await store.keepDocument(ID, 'bundle.json', BUNDLE)
  await store.save({ arrivals: [ARRIVAL], excused: [] })
  const path = join(directory, 'arrivals.json')
  await writeFile(path, (await readFile(path, 'utf8')).replace('north', 'south'))
  expect(await (await open()).load()).toEqual({ arrivals: [], excused: [] })
  expect(await readdir(join(root, 'quarantine'))).toHaveLength(2)
  expect(await readdir(directory)).toEqual([ID])
})

it('finds out a bundle.json that is not what it is named by, and puts it away', async () => {
  const { directory, open } = await makeRig()
  const store = await open()
  await store.keepDocument(ID, 'bundle.json', BUNDLE)
  expect(await store.audit()).toEqual([])
  const path = join(directory, ID, 'bundle.json')
  await writeFile(path, 'something else')
  expect(await store.audit()).toMatchObject([{ kind: 'bundle', path, isMended: false }])
  expect(await store.document(ID, 'bundle.json')).toBeUndefined()
})
