import { describe, expect, it } from 'vitest'
import { isMirrorError } from '../../../src/errors.js'
import type { BundleIndex } from '../../../src/images/bundle/bundle-index.js'
import { formatBundleIndex } from '../../../src/images/bundle/format-bundle-index.js'
import { parseBundleIndex } from '../../../src/images/bundle/parse-bundle-index.js'
import { uuid } from '../manifests.js'
import { bundledImage, bundleIndex, MIB, sha256Of, withChange } from './bundles.js'

const told = JSON.parse(formatBundleIndex(bundleIndex()).toString('utf8'))
const [firstFile] = told.images[0].files

/** What is said of the sample index once the value at `path` is another one. */
function complaintAfter(path: string, value: unknown): Promise<string> {
  return complaintAbout(Buffer.from(JSON.stringify(withChange(told, path, value))))
}

async function complaintAbout(bytes: Buffer): Promise<string> {
  try {
    await parseBundleIndex(bytes)
  } catch (error) {
    if (isMirrorError(error, 'BUNDLE_INVALID')) return error.message
    throw error
  }
  return 'none'
}

describe('bundle.json', () => {
  it('is read as it was written', async () => {
    expect(await parseBundleIndex(formatBundleIndex(bundleIndex()))).toEqual(bundleIndex())
    const bare: BundleIndex = {
      ...bundleIndex({ for: undefined, series: undefined, select: [], pieces: [], images: [], requires: [] }),
      docker: { objects: [], layers: [], tags: [] },
    }
    expect(await parseBundleIndex(formatBundleIndex(bare))).toEqual(bare)
  })

  it('is the same bytes for the same index, whoever had it in his hands between', async () => {
    const bytes = formatBundleIndex(bundleIndex())
    expect(formatBundleIndex(await parseBundleIndex(bytes)).equals(bytes)).toBe(true)
  })

  it('has a line for each image, with the manifest as IMGAPI writes it', () => {
    const index = bundleIndex()
    const lines = formatBundleIndex(index).toString('utf8').split('\n')
    for (const { manifest } of index.images) {
      expect(lines.filter((line) => line.includes(`{"manifest":${manifest.json},`))).toHaveLength(1)
    }
  })

  it('may say more than we know', async () => {
    expect(await complaintAfter('weather', 'fine')).toBe('none')
  })

  it.each<[string, string, unknown, string]>([
    ['is of something else', 'format', 'tar', 'format is "tar"; right is "imgapi-mirror bundle"'],
    ['is of a later version', 'version', 2, 'of version 2, which takes a newer release'],
    ['does not say who made it', 'from', undefined, 'from is missing; right is an object'],
    ['has a site of two lines', 'from.site', 'a\nb', 'from.site is "a\\nb"; right is one line'],
    ['has a site that rings bells', 'from.site', '\u0007', 'from.site'],
    ['has a key that is none', 'for.key', '../../x', 'for.key'],
    ['has half a volume', 'volumes', 1.5, 'volumes is 1.5'],
    ['has endless volumes', 'volumes', 1e9, 'right is a whole number from 1 to 9999'],
    ['has no list of images', 'images', {}, 'images is {}; right is a list'],
    ['has an image that is null', 'images.1', null, 'images[1] is null'],
    ['has an image twice', 'images.1', told.images[0], 'images[1] is image'],
    [
      'requires an image that it has',
      'requires.0.uuid',
      uuid(2),
      'builds on aaaaaaaa-0000-4000-8000-000000000009, which neither',
    ],
    ['requires an image twice', 'requires.1', told.requires[0], 'requires has'],
    ['has an image before its origin', 'images', told.images.toReversed(), 'neither stands before it nor'],
    ['leaves out what it requires', 'requires', [], 'images[0] builds on'],
    ['has a manifest without a name', 'images.0.manifest.name', undefined, 'no manifest we can use'],
    ['has a uuid that leads away', 'images.0.manifest.uuid', '../../etc', 'no valid uuid'],
    ['has no file', 'images.0.files', [], 'images[0] has 0 files, and its manifest 1'],
    ['lies about a size', 'images.0.files.0.sizeBytes', 7, 'files[0] is of 7 bytes, and of'],
    ['has a negative size', 'images.0.files.0.sizeBytes', -1, 'files[0].sizeBytes is -1'],
    ['has a size beyond counting', 'images.0.files.0.sizeBytes', 2 ** 60, 'sizeBytes'],
    [
      'has another sha1 than its manifest',
      'images.0.files.0.sha1',
      'a'.repeat(40),
      'is of another sha1 than in the manifest',
    ],
    ['has no md5', 'images.0.files.0.md5', undefined, 'md5 is missing'],
    ['has an upper-case SHA-256', 'pieces.0.sha256', 'A'.repeat(64), 'pieces[0].sha256'],
    [
      'says two things of one file',
      'requires.0.files.0',
      { ...firstFile, sizeBytes: 4 },
      'sizeBytes is otherwise than where the same file stands before',
    ],
    ['has an icon of a strange kind', 'images.1.icon.type', 'image/svg+xml', 'icon.type'],
    ['has an icon of a gigabyte', 'images.1.icon.sizeBytes', 2 ** 30, 'icon.sizeBytes'],
    ['has a piece of no file', 'pieces.0.sha256', sha256Of('x'), 'is of no file of this bundle'],
    ['has a piece behind the end', 'pieces.0.endBytes', 3 * MIB + 6, 'pieces[0].endBytes'],
    ['has a piece that ends before it starts', 'pieces.2.endBytes', MIB, 'pieces[2].startBytes'],
    ['has a piece that ends anywhere', 'pieces.0.endBytes', 5, 'no multiple of 1048576 bytes'],
    ['has bytes twice', 'pieces.1.endBytes', 3 * MIB, 'pieces[2] has bytes that another'],
    ['has a piece on a volume that is none', 'pieces.0.volume', 3, 'pieces[0].volume is 3'],
    ['has a series before the first', 'series.number', 0, 'series.number'],
    ['has an object in a strange place', 'docker.objects.0.in', ['../x'], 'in[0] is "../x"'],
    ['has an object twice', 'docker.objects.1', told.docker.objects[0], 'docker.objects has'],
    ['has a tag twice', 'docker.tags.1', told.docker.tags[0], 'docker.tags has'],
    ['has a tag that is a path', 'docker.tags.0.tag', 'a/b', 'tags[0].tag is "a/b"'],
    ['has a tag of another digest', 'docker.tags.0.digest', 'md5:1', 'tags[0].digest'],
  ])('is refused when it %s', async (_fault, path, value, complaint) => {
    expect(await complaintAfter(path, value)).toContain(complaint)
  })

  it.each([
    ['nothing', Buffer.alloc(0), 'not JSON'],
    ['no object', Buffer.from('[]'), 'not a JSON object'],
    ['no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 'not UTF-8'],
    ['cut', formatBundleIndex(bundleIndex()).subarray(0, -3), 'not JSON'],
    ['a depth bomb', Buffer.alloc(1024 * 1024, '['), 'nested deeper than 32 levels'],
    ['a depth bomb in a manifest', Buffer.from(`{"a":${'{"a":'.repeat(100)}`), 'nested deeper than 32 levels'],
    ['millions of nothing', Buffer.from(`[${'{},'.repeat(1_100_000)}{}]`), 'more than 1000000 objects and lists'],
    ['millions of numbers', Buffer.from(`[${'1,'.repeat(4_000_001)}1]`), 'more than 4000000 values'],
    ['a bomb behind a text with quotes', Buffer.from(`{"a\\\\\\"[":"\\\\",${'"b":['.repeat(40)}`), 'nested deeper'],
  ])('is refused when it is %s', async (_fault, bytes, complaint) => {
    expect(await complaintAbout(bytes)).toContain(complaint)
  })

  it('is refused by its length alone', async () => {
    const startMs = performance.now()
    expect(await complaintAbout(Buffer.alloc(64 * MIB + 1))).toBe('bundle.json is longer than 67108864 bytes')
    expect(performance.now() - startMs).toBeLessThan(1_000)
  })

  it('is not written longer than anybody would read it', () => {
    const select = Array.from({ length: 20_000 }, () => 'x'.repeat(4_000))
    expect(() => formatBundleIndex(bundleIndex({ select }))).toThrow('select fewer images at a time')
  })

  it('holds files to all digests that were measured, also where the manifest has none', async () => {
    const { manifest } = bundledImage(1, {
      files: [{ size: 3 * MIB + 5, compression: 'none' }],
      type: 'docker',
      tags: { 'docker:id': `sha256:${bundledImage(1).files[0]!.sha256}` },
    })
    const index = bundleIndex({ images: [{ ...bundledImage(1), manifest }], pieces: [] })
    const [image] = (await parseBundleIndex(formatBundleIndex(index))).images
    expect(image!.manifest.files[0]!.digests.map(({ algorithm }) => algorithm)).toEqual(['sha256', 'sha1', 'md5'])
    expect(image!.manifest.json).toBe(manifest.json)
  })

  it('lets others have their turns while a long one is read', async () => {
    const images = Array.from({ length: 2_000 }, (_, number) => bundledImage(number + 100, {}, MIB))
    const bytes = formatBundleIndex(bundleIndex({ images, pieces: [], docker: { objects: [], layers: [], tags: [] } }))
    let turns = 0
    let isRead = false
    const others = (async () => {
      for (; !isRead; turns++) await new Promise((resolve) => setImmediate(resolve))
    })()
    expect((await parseBundleIndex(bytes)).images).toHaveLength(2_000)
    isRead = true
    await others
    expect(turns).toBeGreaterThanOrEqual(7)
  })
})
