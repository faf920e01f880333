import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { uuid } from '../images/manifests.js'
import { madeUpBytes } from '../support/made-up-bytes.js'
import { until } from '../support/running-mirror.js'
import { temporaryDirectory } from '../support/temporary.js'
import { ClosedSite, type EndedJob } from './closed-site.js'
import { MIB, madeUpImage, writeMadeUpBundle } from './made-up-bundle.js'
import { resign } from './resigned.js'
import { sha256Of } from './volumes.js'

/* Bundles that lie, signed by a key that is trusted all the same: what a signature is worth is who has the key. */

const TIB = 2 ** 40
const kept = madeUpImage(uuid(1), madeUpBytes(MIB + 9, 1), { name: 'kept' })
const lied = madeUpImage(uuid(2), madeUpBytes(2 * MIB, 2), { name: 'lied about' })
const liedPath = `files/${lied.image.files[0]!.sha256}`
const wrongSha1 = 'ab'.repeat(20)

interface Lie {
  readonly is: string
  readonly lie: (directory: string) => Promise<void>
  /** What the operator is told: what is wrong, and what would be right. */
  readonly told: readonly string[]
}

const inVolume = (volume: (json: VolumeJson) => unknown) => (directory: string) => resign(directory, { volume })
const inBundle = (bundle: (json: BundleJson) => unknown) => (directory: string) => resign(directory, { bundle })

interface VolumeJson {
  files: { path: string; sizeBytes: number; sha256: string }[]
  blocks: { blockBytes: number; count: number; sizeBytes: number }
  parity: unknown
  volumes: number
}
interface BundleJson {
  images: { manifest: { files: { sha1: string }[] }; files: { sizeBytes: number; sha1: string }[] }[]
  provenance: { sizeBytes: number }
}

/** Says of a file that it has another size, with all numbers that must fit that. */
function resize(volume: VolumeJson, path: string, sizeBytes: number): void {
  volume.files.find((file) => file.path === path)!.sizeBytes = sizeBytes
  volume.blocks.blockBytes = MIB
  volume.blocks.count = volume.files.reduce((sum, file) => sum + Math.ceil(file.sizeBytes / MIB), 0)
  volume.blocks.sizeBytes = 32 * volume.blocks.count
  volume.parity = null
}

async function sparse(directory: string, path: string, sizeBytes: number): Promise<void> {
  for (const place of [directory, join(directory, 'copies')]) await fs.truncate(join(place, path), sizeBytes)
}

const REFUSED: readonly Lie[] = [
  {
    is: 'a path that leads out of the medium',
    lie: inVolume(({ files }: VolumeJson) => Object.assign(files[0]!, { path: '../../../etc/passwd' })),
    told: ['volume.json: files[0].path is "../../../etc/passwd", which is no path that a volume has'],
  },
  {
    is: 'a name twice',
    lie: inVolume(({ files }: VolumeJson) => files.splice(1, 0, files[0]!)),
    told: ['files[1].path comes twice'],
  },
  {
    is: 'an image twice',
    lie: inBundle(({ images }: BundleJson) => images.push(images[0]!)),
    told: [`is image ${uuid(2)}, which is in the bundle, or required by it, already`],
  },
  {
    is: 'another number of volumes than there are',
    lie: inVolume((volume: VolumeJson) => Object.assign(volume, { volumes: 3 })),
    told: ['says that it is one of 3 volumes: the bundle has 1'],
  },
  {
    is: 'an index too deep to be one',
    lie: (directory) => resign(directory, { bundleText: '['.repeat(MIB) }),
    told: ['bundle.json is nested deeper than 32 levels'],
  },
  {
    is: 'an index of a gigabyte',
    lie: (directory) => sparse(directory, 'volume.json', 2 ** 30),
    told: ['volume.json has 1073741824 bytes: it may have at most 67108864'],
  },
  {
    is: 'an index of a terabyte, of which nothing is there',
    lie: (directory) => sparse(directory, 'bundle.json', TIB),
    told: ['bundle.json has 1099511627776 bytes: it may have at most 67108864'],
  },
  {
    is: 'small files of a terabyte, as one index says and the other does not',
    lie: async (directory) => {
      await resign(directory, { volume: (volume: VolumeJson) => resize(volume, 'provenance.jsonl', TIB) })
      await fs.truncate(join(directory, 'provenance.jsonl'), TIB)
    },
    told: ['says provenance.jsonl has 1099511627776 bytes; by bundle.json it has 0'],
  },
  {
    is: 'more blocks than their hashes may take of our memory',
    lie: inVolume((volume: VolumeJson) => resize(volume, 'provenance.jsonl', 9 * TIB)),
    told: ['volume.json has more blocks than we read: 94371'],
  },
  {
    is: 'groups of blocks that are larger than our memory for one',
    lie: inVolume((volume: VolumeJson) => {
      resize(volume, 'provenance.jsonl', 0)
      const [groups, parityShards] = [Math.ceil(volume.blocks.count / 200), 50]
      const file = { path: 'parity/0001.rs', sizeBytes: groups * parityShards * MIB, sha256: 'ab'.repeat(32) }
      volume.parity = { dataShards: 200, parityShards, groups, files: [file] }
      volume.blocks.sizeBytes += 32 * groups * parityShards
    }),
    told: ['volume.json has larger groups of blocks than we heal'],
  },
  {
    is: 'an image file that is longer than the image',
    lie: async (directory) => {
      await resign(directory, { volume: (volume: VolumeJson) => resize(volume, liedPath, TIB) })
      await fs.truncate(join(directory, liedPath), TIB)
    },
    told: [`says ${liedPath} has 1099511627776 bytes; by bundle.json it has ${2 * MIB}`],
  },
  {
    is: 'an image of another size than its manifest says',
    lie: inBundle(({ images }: BundleJson) => Object.assign(images[0]!.files[0]!, { sizeBytes: 5 })),
    told: [`is of 5 bytes, and of ${2 * MIB} in the manifest`],
  },
  {
    is: 'an index that is a pipe',
    lie: async (directory) => {
      for (const place of [directory, join(directory, 'copies')]) {
        await fs.rm(join(place, 'bundle.json'))
        execFileSync('mkfifo', [join(place, 'bundle.json')])
      }
    },
    told: ['bundle.json: it is no regular file'],
  },
]

const DAMAGED: readonly Lie[] = [
  {
    is: 'an image file that is a link to a file with the right bytes',
    lie: async (directory) => {
      const target = join(await temporaryDirectory(), 'bytes')
      await fs.rename(join(directory, liedPath), target)
      await fs.symlink(target, join(directory, liedPath))
    },
    told: [`${2 * MIB} bytes that are lacking here are damaged on it`],
  },
  {
    is: 'an image file that is a device, or a pipe where none can be made',
    lie: async (directory) => {
      await fs.rm(join(directory, liedPath))
      try {
        execFileSync('mknod', [join(directory, liedPath), 'c', '1', '5'], { stdio: 'ignore' })
      } catch {
        execFileSync('mkfifo', [join(directory, liedPath)])
      }
    },
    told: [`${2 * MIB} bytes that are lacking here are damaged on it`],
  },
  {
    is: 'an image file whose SHA-1 is another one than both indexes and its manifest say',
    lie: inBundle(({ images: [image] }: BundleJson) => {
      image!.files[0]!.sha1 = wrongSha1
      image!.manifest.files[0]!.sha1 = wrongSha1
    }),
    told: [`${liedPath} is not what bundle.json says`, `promised sha1:${wrongSha1}`, lied.image.files[0]!.sha1],
  },
]

async function siteWithAnImage(): Promise<ClosedSite> {
  const medium = await temporaryDirectory()
  await writeMadeUpBundle(medium, [kept])
  const site = await ClosedSite.start()
  await site.import(medium)
  return site
}

async function expectOnlyKept(site: ClosedSite): Promise<void> {
  expect(await site.listed()).toEqual([uuid(1)])
  expect((await site.file(uuid(1))).equals(kept.bytes)).toBe(true)
}

/** How much more memory was resident, at most, while this was done. */
async function peakBytesOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.memoryUsage.rss()
  let peak = before
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5)
  try {
    await work()
  } finally {
    clearInterval(watch)
  }
  return peak - before
}

it('refuses bundles that lie, in words and in little memory, and takes the honest one beside them', async () => {
  const medium = await temporaryDirectory()
  const lies = [
    ...REFUSED.map((each) => ({ ...each, outcome: 'refused' })),
    ...DAMAGED.map((each) => ({ ...each, outcome: 'damaged' })),
  ]
  for (const [number, { lie }] of lies.entries()) {
    const { volumes } = await writeMadeUpBundle(join(medium, String(number)), [lied], { parityPercent: 0 })
    await lie(volumes[0]!)
  }
  const good = await writeMadeUpBundle(join(medium, 'good'), [kept])
  const site = await ClosedSite.start()
  let ended: EndedJob | undefined
  expect(await peakBytesOf(async () => (ended = await site.import(medium)))).toBeLessThan(256 * MIB)
  const { result, state } = ended!
  expect(state).toBe('done')
  for (const [number, { is, outcome, told }] of lies.entries()) {
    const found = result.volumes.find(({ directory }) => directory.startsWith(`${number}/`))
    expect(found, is).toMatchObject({ outcome, takenBytes: 0 })
    for (const words of told) expect(found!.note, is).toContain(words)
  }
  expect(result.volumes.find(({ bundle }) => bundle === good.id)).toMatchObject({ outcome: 'taken' })
  await expectOnlyKept(site)
  expect(await fs.readdir(join(site.data, 'partial'))).toEqual([])
})

describe('of a bundle', () => {
  it('a directory that is a link to a volume is none', async () => {
    const [medium, elsewhere] = [await temporaryDirectory(), await temporaryDirectory()]
    const { volumes } = await writeMadeUpBundle(elsewhere, [lied])
    await fs.symlink(volumes[0]!, join(medium, 'volume'))
    const site = await siteWithAnImage()
    expect(await site.import(medium)).toMatchObject({ state: 'failed', error: { code: 'BUNDLE_INVALID' } })
    await expectOnlyKept(site)
  })

  it('an image that lies about a file that is here already is not taken, and named', async () => {
    const medium = await temporaryDirectory()
    // Another uuid, the same bytes.
    const twin = madeUpImage(uuid(3), kept.bytes, { name: 'twin' })
    const { volumes } = await writeMadeUpBundle(medium, [twin, lied])
    await resign(volumes[0]!, {
      bundle: ({ images: [image] }: BundleJson) => {
        image!.files[0]!.sha1 = wrongSha1
        image!.manifest.files[0]!.sha1 = wrongSha1
      },
    })
    const site = await siteWithAnImage()
    const { result } = await site.import(medium)
    expect(result.imagesRefused).toMatchObject([{ uuid: uuid(3), name: 'twin' }])
    expect(result.imagesRefused[0]!.why).toContain(
      `says its sha1 is ${wrongSha1}; right is ${kept.image.files[0]!.sha1}`,
    )
    expect(await site.listed()).toEqual([uuid(1), uuid(2)])
  })

  it('an object of a registry with another digest is told, and the rest is taken', async () => {
    const medium = await temporaryDirectory()
    const [object, promised] = [Buffer.from('{"not":"it"}'), sha256Of(Buffer.from('it'))]
    const place = ['docker.io/library/busybox']
    const { volumes } = await writeMadeUpBundle(medium, [lied], {
      docker: {
        objects: [
          {
            digest: { algorithm: 'sha256', hex: promised },
            sizeBytes: object.length,
            mediaType: 'application/vnd.oci.image.config.v1+json',
            repositories: place,
          },
        ],
        layers: [],
        tags: [],
        bytes: new Map([[promised, object]]),
      },
    })
    await resign(volumes[0]!, {
      volume: ({ files }: VolumeJson) => {
        files.find(({ path }) => path === `docker/${promised}`)!.sha256 = promised
      },
    })
    const site = await siteWithAnImage()
    const { result } = await site.import(medium)
    expect(result.volumes).toMatchObject([{ outcome: 'damaged' }])
    expect(result.volumes[0]!.note).toBe(`docker/${promised} has the sha256 ${sha256Of(object)}; right is ${promised}`)
    expect(result.lacking).toMatchObject([{ objectsMissing: 1, images: [] }])
    expect(await site.listed()).toEqual([uuid(1), uuid(2)])
  })

  it('provenance that is garbage is taken without it', async () => {
    const medium = await temporaryDirectory()
    const deep = `{"image":"${uuid(2)}","kind":"claim","upstream":${'['.repeat(200)}${']'.repeat(200)}}`
    const long = `{"image":"${uuid(2)}","kind":"claim","upstream":"${'x'.repeat(MIB)}","firstSeenMs":1}`
    const others = Array.from({ length: 20_000 }, (_, number) =>
      JSON.stringify({ image: uuid(number + 10), kind: 'claim', upstream: 'of no image here', firstSeenMs: 1 }),
    )
    const odd = JSON.stringify({ image: uuid(2), kind: 'ledger', seq: -1, hash: '../x', entry: null })
    const good = JSON.stringify({ image: uuid(2), kind: 'claim', upstream: 'joyent', firstSeenMs: 7 })
    const provenance = [deep, long, ...others, odd, '\0\u001b[2J', good].join('\n')
    await writeMadeUpBundle(medium, [lied], { provenance })
    const site = await siteWithAnImage()
    expect((await site.import(medium)).result).toMatchObject({ imagesHeld: 1, lacking: [] })
    let facts: object | undefined
    // Entries are written about a second after what they tell of.
    await until(async () => {
      const ledger: { kind: string; facts: object }[] = (await site.api('GET', `/api/explain/${uuid(2)}`)).body.image
        .ledger
      facts = ledger.find(({ kind }) => kind === 'imported')?.facts
      return facts !== undefined
    })
    expect(facts).toMatchObject({ claims: [{ upstream: 'joyent', firstSeenMs: 7 }], entries: [] })
  })
})
