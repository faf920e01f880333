import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Candidate, chooseImages, type Exportable } from '../../src/bundle/choose-images.js'
import type { ByteRange } from '../../src/bundle/inventory.js'
import { missingRanges } from '../../src/bundle/missing-ranges.js'
import { type FileToPack, type PlannedFile, packVolumes } from '../../src/bundle/pack-volumes.js'
import { type BundleContents, planBundle } from '../../src/bundle/plan-export.js'
import { ANYBODY, receiverWith } from '../../src/bundle/receiver.js'
import { volumeSizeBytes } from '../../src/bundle/volume-layout.js'
import { parseBundleIndex } from '../../src/images/bundle/parse-bundle-index.js'
import type { Manifest } from '../../src/images/manifest.js'
import type { Uuid } from '../../src/images/uuid.js'
import { bundledImage, bundleIndex, MIB } from '../images/bundle/bundles.js'
import { uuid } from '../images/manifests.js'

/** A forest: image number i builds on one with a lower number, or on none. */
const forest = fc
  .array(fc.integer({ min: -1, max: 30 }), { minLength: 1, maxLength: 20 })
  .map((origins) => origins.map((origin, number) => (origin < number && origin >= 0 ? origin : undefined)))

interface World {
  readonly origins: readonly (number | undefined)[]
  readonly there: ReadonlySet<number>
  readonly selected: readonly number[]
  readonly unavailable: ReadonlySet<number>
}

const world: fc.Arbitrary<World> = forest.chain((origins) => {
  const numbers = fc.uniqueArray(fc.nat(origins.length - 1), { maxLength: origins.length })
  return fc.record({
    origins: fc.constant(origins),
    there: numbers.map((some) => new Set(some)),
    selected: numbers,
    unavailable: fc.uniqueArray(fc.nat(origins.length - 1), { maxLength: 2 }).map((some) => new Set(some)),
  })
})

function imagesOf({ origins }: World) {
  return origins.map((origin, number) => bundledImage(number, origin === undefined ? {} : { origin: uuid(origin) }))
}

/** Base first. */
function chainOf(origins: World['origins'], number: number): number[] {
  const chain = [number]
  for (let next = origins[number]; next !== undefined; next = origins[next]) chain.unshift(next)
  return chain
}

function choose(given: World) {
  const images = imagesOf(given)
  const numberOf = new Map(images.map(({ manifest }, number) => [manifest.uuid, number]))
  const candidates = given.selected.map((number): Candidate => {
    const chain = chainOf(given.origins, number).map((each) => images[each]!.manifest)
    return { manifest: images[number]!.manifest, why: 'selected', chain, obstacle: undefined }
  })
  const sha256s = (number: number) => images[number]!.files.map(({ sha256 }) => sha256)
  const receiver = receiverWith(
    new Map([...given.there].map((number): [Uuid, string[]] => [images[number]!.manifest.uuid, sha256s(number)])),
  )
  const exportable = ({ uuid: of }: Manifest): Exportable | string => {
    const number = numberOf.get(of)!
    if (given.unavailable.has(number)) return 'is not to be had'
    return { ...images[number]!, isHeld: true, pulledBytes: 0, hasStandIns: false }
  }
  const choice = chooseImages(candidates, receiver, exportable)
  const numbers = (some: readonly { uuid: Uuid }[]) => some.map((each) => numberOf.get(each.uuid)!)
  return {
    images: numbers(choice.images.map(({ manifest }) => manifest)),
    whys: choice.images.map(({ why }) => why),
    requires: numbers(choice.requires),
    alreadyThere: choice.alreadyThere,
    warnings: choice.warnings,
  }
}

describe('the images of a bundle', () => {
  it('are what the receiver lacks of all that was selected and what it builds on, if it can be had whole', () => {
    fc.assert(
      fc.property(world, (given) => {
        const { images, requires, warnings } = choose(given)
        const whole = given.selected.filter((number) =>
          chainOf(given.origins, number).every((each) => !given.unavailable.has(each)),
        )
        const wanted = new Set(whole.flatMap((number) => chainOf(given.origins, number)))
        const lacking = [...wanted].filter((number) => !given.there.has(number))
        expect([...images].sort((a, b) => a - b)).toEqual(lacking.sort((a, b) => a - b))
        const builtOn = lacking.flatMap((number) => chainOf(given.origins, number).slice(0, -1))
        const required = [...new Set(builtOn)].filter((number) => given.there.has(number))
        expect([...requires].sort((a, b) => a - b)).toEqual(required.sort((a, b) => a - b))
        expect(warnings).toHaveLength(given.selected.length - whole.length)
      }),
    )
  })

  it('come behind what they build on, each once', () => {
    fc.assert(
      fc.property(world, (given) => {
        const { images, requires } = choose(given)
        expect(new Set([...images, ...requires]).size).toBe(images.length + requires.length)
        const before = new Set(requires)
        for (const number of images) {
          const origin = given.origins[number]
          if (origin !== undefined) expect(before.has(origin)).toBe(true)
          before.add(number)
        }
      }),
    )
  })

  it('are told why they are there, and those that are not needed are counted', () => {
    const given = {
      origins: [undefined, 0, 1, 1],
      there: new Set([0, 3]),
      selected: [3, 2],
      unavailable: new Set<number>(),
    }
    expect(choose(given)).toEqual({
      images: [1, 2],
      whys: ['origin', 'selected'],
      requires: [0],
      alreadyThere: 1,
      warnings: [],
    })
  })

  it('are not taken for being there while nobody knows what they are', () => {
    const [image] = imagesOf({ origins: [undefined], there: new Set(), selected: [], unavailable: new Set() })
    const sha256s = image!.files.map(({ sha256 }) => sha256)
    const receiver = receiverWith(new Map([[image!.manifest.uuid, sha256s]]))
    const candidate: Candidate = {
      manifest: image!.manifest,
      why: 'wanted',
      chain: [image!.manifest],
      obstacle: undefined,
    }
    const asked = (hasStandIns: boolean) =>
      chooseImages([candidate], receiver, () => ({ ...image!, isHeld: false, pulledBytes: 5, hasStandIns })).images
    expect(asked(true)).toHaveLength(1)
    expect(asked(false)).toHaveLength(0)
  })
})

const parts = fc.uniqueArray(fc.nat(20 * MIB), { maxLength: 12 }).map((bounds): ByteRange[] => {
  const sorted = bounds.sort((one, other) => one - other)
  return Array.from({ length: Math.floor(sorted.length / 2) }, (_, place) => {
    return { startBytes: sorted[2 * place]!, endBytes: sorted[2 * place + 1]! }
  })
})

describe('what is missing of a file', () => {
  it('covers every byte that is not there, in whole MiB, and repeats no whole MiB that is', () => {
    fc.assert(
      fc.property(parts, fc.integer({ min: 1, max: 20 * MIB }), (there, sizeBytes) => {
        const known = there.filter(({ endBytes }) => endBytes <= sizeBytes)
        const missing = missingRanges(sizeBytes, known)
        for (const { endBytes, startBytes } of missing) {
          expect(startBytes % MIB).toBe(0)
          expect(endBytes === sizeBytes || endBytes % MIB === 0).toBe(true)
          expect(startBytes).toBeLessThan(endBytes)
        }
        for (let start = 0; start < sizeBytes; start += MIB) {
          const end = Math.min(sizeBytes, start + MIB)
          const isThere = known.some((part) => part.startBytes <= start && part.endBytes >= end)
          const isSent = missing.some((range) => range.startBytes <= start && range.endBytes >= end)
          expect(isSent).toBe(!isThere)
        }
      }),
    )
  })
})

const filesToPack = fc.array(fc.integer({ min: 1, max: 9 * MIB }), { minLength: 1, maxLength: 25 }).map((sizes) =>
  sizes.map((sizeBytes, number): FileToPack => {
    const sha256 = String(number).padStart(64, '0')
    return { sha256, sizeBytes, ranges: [{ startBytes: 0, endBytes: sizeBytes }] }
  }),
)
const COMMON: PlannedFile[] = [{ path: 'README.txt', sizeBytes: 1000 }]
const measure = (files: readonly PlannedFile[]) =>
  files.reduce((sum, { path, sizeBytes }) => sum + path.length + Math.ceil(sizeBytes * 1.1), 5000)

describe('files on volumes', () => {
  it('are all there, each byte once, in order, split only where they must be, and no volume is too large', async () => {
    await fc.assert(
      fc.asyncProperty(filesToPack, fc.integer({ min: 3 * MIB, max: 20 * MIB }), async (files, volumeBytes) => {
        const { pieces, volumes } = await packVolumes({ files, common: COMMON, volumeBytes, measure })
        for (const { sha256, sizeBytes } of files) {
          const own = pieces.filter((piece) => piece.sha256 === sha256)
          expect(own[0]!.startBytes).toBe(0)
          expect(own.at(-1)!.endBytes).toBe(sizeBytes)
          for (const [place, piece] of own.slice(1).entries()) expect(piece.startBytes).toBe(own[place]!.endBytes)
          const fitsWhole = measure([...COMMON, { path: `files/${sha256}`, sizeBytes }]) + 200 <= volumeBytes
          if (fitsWhole && sizeBytes <= volumeBytes / 1.2 - 2 * MIB) expect(own).toHaveLength(1)
        }
        expect([...new Set(pieces.map(({ sha256 }) => sha256))]).toEqual(files.map(({ sha256 }) => sha256))
        for (let volume = 1; volume <= volumes; volume++) {
          const on = pieces.filter((piece) => piece.volume === volume)
          expect(on.length).toBeGreaterThan(0)
          const contents = on.map((piece) => ({
            path: `files/${piece.sha256}`,
            sizeBytes: piece.endBytes - piece.startBytes,
          }))
          expect(measure([...COMMON, ...contents])).toBeLessThanOrEqual(volumeBytes)
        }
        expect(await packVolumes({ files, common: COMMON, volumeBytes, measure })).toEqual({ pieces, volumes })
      }),
      { numRuns: 60 },
    )
  })

  it('are split at 4 GiB less one MiB where a volume has no limit: FAT takes no more', async () => {
    const sizeBytes = 9 * 1024 ** 3 + 5
    const files = [{ sha256: '0'.repeat(64), sizeBytes, ranges: [{ startBytes: 0, endBytes: sizeBytes }] }]
    const { pieces, volumes } = await packVolumes({ files, common: COMMON, volumeBytes: undefined, measure })
    expect(volumes).toBe(1)
    expect(pieces.map(({ endBytes, startBytes }) => endBytes - startBytes)).toEqual([
      4 * 1024 ** 3 - MIB,
      4 * 1024 ** 3 - MIB,
      1024 ** 3 + 2 * MIB + 5,
    ])
  })

  it('are refused volumes that hold next to nothing, and told which would do', async () => {
    const files = [{ sha256: '0'.repeat(64), sizeBytes: 9, ranges: [{ startBytes: 0, endBytes: 9 }] }]
    const packing = packVolumes({ files, common: COMMON, volumeBytes: MIB, measure })
    await expect(packing).rejects.toThrow(
      'too small: what each of them must have takes most of that; right is 2MiB or more',
    )
  })
})

describe('a bundle', () => {
  const { images, requires, docker } = bundleIndex()
  const contents: BundleContents = {
    ...{ images, requires, docker, series: undefined, for: undefined, select: ['name=~base'] },
    from: { site: 'open', key: '0123456789ABCDEF' },
  }
  const provenance = Buffer.from('{"kind":"head"}\n')

  it('is what its reader takes, every volume has everything small, and none is larger than it may be', async () => {
    const form = { volumeBytes: 4 * MIB, parityPercent: 10 }
    const planned = await planBundle(contents, provenance, ANYBODY, form, volumeSizeBytes)
    expect((await parseBundleIndex(planned.json)).pieces).toEqual(planned.index.pieces)
    expect(planned.volumes.length).toBeGreaterThan(1)
    for (const { files, sizeBytes } of planned.volumes) {
      const paths = files.map(({ path }) => path)
      expect(paths).toContain('README.txt')
      expect(paths).toContain('provenance.jsonl')
      for (const { manifest } of images) expect(paths).toContain(`manifests/${manifest.uuid}.json`)
      expect(paths.some((path) => path.startsWith('docker/'))).toBe(true)
      expect(paths.some((path) => path.startsWith('icons/'))).toBe(true)
      expect(sizeBytes).toBeLessThanOrEqual(form.volumeBytes)
    }
    const again = await planBundle(contents, provenance, ANYBODY, form, volumeSizeBytes)
    expect(again.json.equals(planned.json)).toBe(true)
    expect(again.readme.equals(planned.readme)).toBe(true)
  })

  it('leaves out bytes that are there, and says so by its pieces', async () => {
    const [first, second] = images.map(({ files }) => files[0]!.sha256)
    const receiver = {
      ...ANYBODY,
      hasFile: (sha256: string) => sha256 === first,
      partsOf: (sha256: string) => (sha256 === second ? [{ startBytes: 5, endBytes: 2 * MIB + 5 }] : []),
    }
    const form = { volumeBytes: undefined, parityPercent: 0 }
    const { index } = await planBundle(contents, provenance, receiver, form, volumeSizeBytes)
    const own = index.pieces.filter(({ sha256 }) => sha256 === first || sha256 === second)
    expect(own).toEqual([
      { sha256: second, startBytes: 0, endBytes: MIB, volume: 1 },
      { sha256: second, startBytes: 2 * MIB, endBytes: 3 * MIB + 5, volume: 1 },
    ])
  })
})
