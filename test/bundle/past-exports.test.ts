import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { PastExports } from '../../src/bundle/past-exports.js'
import type { BundleIndex } from '../../src/images/bundle/bundle-index.js'
import type { ExportRecord, ExportStore } from '../../src/store/export-store.js'
import { image, uuid } from '../images/manifests.js'

class RememberedExports implements ExportStore {
  records: readonly ExportRecord[] = []

  async load(): Promise<readonly ExportRecord[]> {
    return this.records
  }

  async save(records: readonly ExportRecord[]): Promise<void> {
    this.records = records
  }
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** With so many images of one file. */
function indexOf(images: number, series?: BundleIndex['series']): BundleIndex {
  const { manifest } = { manifest: image({ uuid: uuid(1) }) }
  const bundled = { manifest, files: [{ sha256: sha256('file') }] }
  return { images: Array.from({ length: images }, () => bundled), requires: [], series, for: undefined } as never
}

async function begin(
  past: PastExports,
  name: string,
  { images = 1, series }: { images?: number; series?: string } = {},
) {
  const place = series === undefined ? undefined : await past.placeOf(series, name)
  await past.begin(sha256(name), name, indexOf(images, place), 0)
  return sha256(name)
}

it('gives each number of a series to one bundle, also when two are planned at the same time', async () => {
  const past = new PastExports(new RememberedExports())
  const [one, other] = [await past.placeOf('weekly', 'one'), await past.placeOf('weekly', 'other')]
  expect([one.number, other.number]).toEqual([1, 1])
  const begun = [
    past.begin(sha256('one'), 'one', indexOf(1, one), 0),
    past.begin(sha256('other'), 'other', indexOf(1, other), 0),
  ]
  await expect(Promise.all(begun)).rejects.toMatchObject({
    code: 'QUERY_INVALID',
    message: expect.stringContaining('number 1 of weekly'),
  })
  // What was begun may be begun again, and the other has the next number.
  await past.begin(sha256('one'), 'one', indexOf(1, one), 0)
  expect(await past.placeOf('weekly', 'one')).toEqual({ name: 'weekly', number: 1, previous: undefined })
  expect(await past.placeOf('weekly', 'other')).toEqual({ name: 'weekly', number: 2, previous: sha256('one') })
})

it('counts a series on, however many bundles were made since its last one, and keeps no more records than it says', async () => {
  const store = new RememberedExports()
  const first = new PastExports(store)
  const weekly = await begin(first, 'weekly', { series: 'weekly' })
  const [template] = store.records
  store.records = [
    ...store.records,
    ...Array.from({ length: 1_999 }, (_, place) => ({ ...template!, id: sha256(`${place}`), series: undefined })),
  ]
  const past = new PastExports(store)
  for (const name of ['a', 'b', 'c']) await begin(past, name)
  expect(store.records.length).toBe(2_001)
  expect(await past.placeOf('weekly', 'next')).toEqual({ name: 'weekly', number: 2, previous: weekly })
})

it('forgets what the oldest bundles had before it remembers too much, and says so', async () => {
  const store = new RememberedExports()
  const past = new PastExports(store)
  const [old, young] = [await begin(past, 'old', { images: 120_000 }), await begin(past, 'young', { images: 120_000 })]
  expect((await past.receiverOf(young)).hasImage(uuid(1), [sha256('file')])).toBe(true)
  await expect(past.receiverOf(old)).rejects.toThrow(`it is no longer known here what bundle ${old} had`)
})
