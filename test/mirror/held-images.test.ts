import { expect, it } from 'vitest'
import { HeldImages } from '../../src/mirror/held-images.js'
import { makeKeepingRig } from './keeping/keeping-rig.js'

it('tells of an image whose upstream left while its file came who gave the bytes', async () => {
  const rig = await makeKeepingRig()
  const { manifest, sha256, uuid } = await rig.keep(1)
  await rig.store.images.forget(uuid)
  rig.catalogue.letGo(uuid)
  expect(rig.catalogue.offersOf(uuid)).toEqual([])
  const told: unknown[] = []
  const held = new HeldImages({
    store: rig.store,
    catalogue: rig.catalogue,
    recompression: { isMislabelled: async () => false, setApart: async () => {} } as never,
    record: (kind, image, facts) => void told.push({ kind, image, facts }),
    log: rig.log,
  })
  const { sizeBytes } = manifest.files[0]!
  const extents = [{ startBytes: 0, endBytes: sizeBytes, upstream: 'gone', location: 'http://127.0.0.1/' }]
  held.holdIfWhole(manifest, { fileIndex: 0, landed: { extents, corrections: [] } })
  await held.heldIfWhole(manifest)
  expect(told).toMatchObject([{ kind: 'held', image: uuid, facts: { upstream: 'gone', files: [{ sha256 }] } }])
})
