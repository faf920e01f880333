import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { uuid } from '../../images/manifests.js'
import { type Crash, RecordingFileSystem } from '../../store/recording-file-system.js'
import { temporaryDirectory } from '../../support/temporary.js'
import { by, makePublishingRig, manifestOf, type PublishingRig } from './publishing-rig.js'

const forAll = { ...by, forceAllChannels: false }
const [first, second] = [randomBytes(3000), randomBytes(2000)]
const icon = { contentType: 'image/gif', bytes: Buffer.from('GIF89a'), sha1: undefined } as const

/** Everything that is done to an image, one after the other. */
const STEPS: readonly [string, (rig: PublishingRig) => Promise<unknown>][] = [
  ['import', ({ publishing }) => publishing.import(uuid(1), manifestOf(uuid(1)), by)],
  ['a file', (rig) => rig.publishing.addFile(uuid(1), rig.upload(first), by)],
  [
    'a file cut',
    (rig) => rig.publishing.addFile(uuid(1), rig.upload(second, { sizeBytes: 9999 }), by).catch(() => undefined),
  ],
  ['another file', (rig) => rig.publishing.addFile(uuid(1), rig.upload(second), by)],
  ['an icon', ({ publishing }) => publishing.setIcon(uuid(1), icon, by)],
  ['another uuid', ({ publishing }) => publishing.update(uuid(1), { uuid: uuid(2) }, by)],
  ['activation', ({ publishing }) => publishing.activate(uuid(2), by)],
  ['a description', ({ publishing }) => publishing.update(uuid(2), { description: 'd' }, by)],
  ['deletion', ({ publishing }) => publishing.delete(uuid(2), forAll)],
]

/** What clients can see of it all. Publication dates differ from life to life. */
async function seenBy(rig: PublishingRig): Promise<string> {
  const images = [...rig.store.images.all()].map(async ({ manifest: { uuid: id } }) => {
    const { json, files, hasIcon } = await rig.get(id)
    const bytes =
      files.length > 0
        ? createHash('sha256')
            .update(await rig.read(id))
            .digest('hex')
        : ''
    const seenIcon = hasIcon ? (await rig.mirror.getIcon(id, new AbortController().signal)).bytes.toString() : ''
    return [json.replace(/"published_at":"[^"]+",/, ''), bytes, seenIcon].join()
  })
  return JSON.stringify({ images: (await Promise.all(images)).sort(), listed: await rig.listed() })
}

describe('a mirror that crashes while an image is published', () => {
  // What file systems make of unsynced bytes besides is the store's own: test/store/crash.test.ts.
  it.each<[Crash]>([['killed'], ['power lost']])(
    '%s: has it as it was before, or as it was to be',
    { timeout: 120_000 },
    async (crash) => {
      const directory = await temporaryDirectory()
      const fileSystem = new RecordingFileSystem(directory)
      const rig = await makePublishingRig({ directory, fileSystem })
      /** After so many changes of the disk it was seen so. */
      const seen = [{ count: fileSystem.count, what: 'nothing', state: await seenBy(rig) }]
      for (const [what, step] of STEPS) {
        await step(rig)
        seen.push({ count: fileSystem.count, what, state: await seenBy(rig) })
      }
      await rig.close()
      expect(fileSystem.count).toBeGreaterThan(60)

      for (let count = seen[0]!.count; count <= fileSystem.count; count++) {
        const isNews = seen.some((each) => each.count === count)
        if (!isNews && !fileSystem.isOfConsequence(count, crash)) continue
        const done = seen.findLastIndex((each) => each.count <= count)
        const root = await temporaryDirectory()
        await fileSystem.replay(root, count, crash)
        const after = await makePublishingRig({ directory: root })
        const state = await seenBy(after)
        const may = seen.slice(done, done + 2)
        if (!may.some((each) => each.state === state)) {
          const before = may.map(({ what }) => what).join(' or ')
          expect.fail(`after change ${count}, ${before}: ${state.slice(0, 2000)}`)
        }
        expect(await after.partials()).toEqual([])
        const needed = [...after.store.images.all()].flatMap(({ files }) => files.map(({ sha256 }) => sha256))
        expect(after.blobs().sort()).toEqual(needed.sort())
        expect(await after.store.unsettled.load()).toEqual([])
        // No image has a file that is not there, and it goes on.
        await after.publish(uuid(9), first)
        expect((await after.read(uuid(9))).equals(first)).toBe(true)
        expect(await after.store.images.audit()).toEqual([])
        await after.close()
        await fs.rm(root, { recursive: true })
      }
    },
  )
})
