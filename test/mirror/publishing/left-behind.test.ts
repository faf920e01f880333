import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { uuid } from '../../images/manifests.js'
import { by, makePublishingRig, manifestOf } from './publishing-rig.js'

const forAll = { ...by, forceAllChannels: false }
const hexOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe('a file that belongs to no image of ours any more', () => {
  it('leaves at the next start when it was being read while its image was deleted', async () => {
    const rig = await makePublishingRig()
    const bytes = randomBytes(3000)
    await rig.publish(uuid(1), bytes)
    const reading = await rig.store.blobs.open(hexOf(bytes))
    await rig.publishing.delete(uuid(1), forAll)
    expect(rig.blobs()).toEqual([hexOf(bytes)])
    await reading!.close()
    await rig.reopen()
    expect(rig.blobs()).toEqual([])
    expect(await rig.store.unsettled.load()).toEqual([])
  })

  it('stays when nothing says that publishing left it there', async () => {
    const rig = await makePublishingRig()
    const bytes = randomBytes(3000)
    await rig.publish(uuid(1), bytes)
    await rig.store.images.forget(uuid(1))
    await rig.reopen()
    await rig.reopen()
    expect(rig.blobs()).toEqual([hexOf(bytes)])
  })

  it('stays when it is the file of another image, of a manifest of Docker, or of a layer that was made here', async () => {
    const rig = await makePublishingRig()
    const [shared, layer, made, nobodys] = [1, 2, 3, 4].map((each) => randomBytes(1000 + each)) as Buffer[]
    for (const [place, bytes] of [shared, layer, made, nobodys].entries()) await rig.publish(uuid(place + 1), bytes!)
    await rig.publish(uuid(5), shared!)
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: `sha256:${'c'.repeat(64)}`, size: 2 },
        layers: [
          {
            mediaType: 'application/vnd.oci.image.layer.v1.tar',
            digest: `sha256:${hexOf(layer!)}`,
            size: layer!.length,
          },
        ],
      }),
    )
    const object = {
      digest: `sha256:${hexOf(manifest)}`,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      bytes: manifest,
    }
    await rig.store.registry.keepObject('docker.io', 'library/x', object)
    const [sha256, fromSha256] = [hexOf(made!), 'd'.repeat(64)]
    const measured = { sha1: 'e'.repeat(40), md5: 'f'.repeat(32), sizeBytes: made!.length }
    await rig.store.registry.keepDerivation({ fromSha256, sha256, ...measured, how: 'zstd to gzip', atMs: 1 })
    // As a crash leaves it: the records are gone, and publishing had written down whose files they were.
    await rig.store.unsettled.save([shared, layer, made, nobodys].map((bytes) => hexOf(bytes!)))
    for (const place of [1, 2, 3, 4]) await rig.store.images.forget(uuid(place))
    await rig.reopen()
    expect(rig.blobs().sort()).toEqual([shared, layer, made].map((bytes) => hexOf(bytes!)).sort())
    expect(await rig.store.unsettled.load()).toEqual([])
  })
})

describe('an image of ours whose record is damaged', () => {
  it('is told in the status, also after an audit and a restart, and its file stays whoever else deletes it', async () => {
    const rig = await makePublishingRig()
    const bytes = randomBytes(3000)
    await rig.publish(uuid(1), bytes)
    await rig.publish(uuid(2), bytes)
    const path = join(rig.directory, 'images', `${uuid(1)}.json`)
    const good = await fs.readFile(path)
    await rig.close()
    await fs.writeFile(path, good.subarray(0, 100))
    await rig.reopen()
    await rig.publishing.delete(uuid(2), forAll)
    await rig.store.images.audit()
    for (let start = 0; start < 2; start++) {
      expect(rig.mirror.status().keeping.damagedRecords).toEqual([{ uuid: uuid(1), path }])
      expect(rig.blobs()).toEqual([hexOf(bytes)])
      await rig.reopen()
    }
    // Somebody puts it right.
    await rig.close()
    await fs.writeFile(path, good)
    await rig.reopen()
    expect(rig.mirror.status().keeping.damagedRecords).toEqual([])
    expect((await rig.read(uuid(1))).equals(bytes)).toBe(true)
    await rig.publishing.delete(uuid(1), forAll)
    expect(rig.blobs()).toEqual([])
  })

  it('keeps the files of others too while nobody knows which are its own, and lets go of them when it is settled', async () => {
    const rig = await makePublishingRig()
    const bytes = randomBytes(3000)
    const path = join(rig.directory, 'images', `${uuid(1)}.json`)
    await rig.publishing.import(uuid(1), manifestOf(uuid(1)), by)
    await rig.publish(uuid(2), bytes)
    await rig.close()
    await fs.writeFile(path, 'not ours')
    await rig.reopen()
    await rig.publishing.delete(uuid(2), forAll)
    expect(rig.blobs()).toEqual([hexOf(bytes)])
    await rig.close()
    await fs.rm(path)
    await rig.reopen()
    expect(rig.blobs()).toEqual([])
  })

  it('leaves its file where it is, however much room others want', async () => {
    const room = { quotaBytes: async () => 5000, pins: [], scrub: undefined, verifyOnRead: 'always' } as const
    const rig = await makePublishingRig({ keeping: room })
    const bytes = randomBytes(3000)
    await rig.publish(uuid(1), bytes)
    const path = join(rig.directory, 'images', `${uuid(1)}.json`)
    const good = await fs.readFile(path)
    await rig.close()
    await fs.writeFile(path, good.subarray(0, 100))
    await rig.reopen()
    await expect(rig.publish(uuid(2), randomBytes(3000))).rejects.toMatchObject({ code: 'STORE_FULL' })
    expect(rig.blobs()).toEqual([hexOf(bytes)])
    expect(rig.mirror.status().keeping.room).toMatchObject({ usedBytes: 3000, evictableBytes: 0 })
    await rig.close()
    await fs.writeFile(path, good)
    await rig.reopen()
    expect((await rig.read(uuid(1))).equals(bytes)).toBe(true)
  })
})
