import * as fs from 'node:fs/promises'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { findVolumes } from '../../src/bundle/find-volumes.js'
import { openVolume } from '../../src/bundle/volume-reader.js'
import { parseBundleIndex } from '../../src/images/bundle/parse-bundle-index.js'
import type { VolumeIndex } from '../../src/images/bundle/volume-index.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyMedium } from './faulty-medium.js'
import { makeSigner } from './signers.js'
import { bundleJsonOf, openDisk, openMadeUp, readFile, trustedKeys, writeMadeUp } from './volumes.js'

const KIB = 1024
const MIB = 1024 * KIB
const sizes = [3 * MIB + 17, 5, 700_000, 65_536, 0]

/** A volume on a medium that can be told what is bad. */
async function makeVolume(changes: Parameters<typeof writeMadeUp>[1] = {}) {
  const root = await temporaryDirectory()
  const medium = new FaultyMedium(await openDisk(root))
  const { files, index } = await writeMadeUp(medium, { sizes, ...changes })
  const at = (path: string) => join(root, 'volume', path)
  const open = async () => {
    const volume = await openMadeUp(medium)
    onTestFinished(() => volume.close())
    return volume
  }
  /** Reads everything: what is given is right, and this is what is not. */
  const readAll = async () => {
    const volume = await openMadeUp(medium)
    try {
      const lost: Record<string, number[]> = {}
      let healedBlocks = 0
      for (const { path, bytes } of files) {
        const found = await readFile(volume, path)
        const { blockBytes } = volume.volume.blocks
        for (const block of found.lost)
          bytes.copy(found.bytes, block * blockBytes, block * blockBytes, (block + 1) * blockBytes)
        expect(found.bytes.equals(bytes), path).toBe(true)
        if (found.lost.length > 0) lost[path] = found.lost
        healedBlocks += found.healedBlocks
      }
      return { lost, healedBlocks }
    } finally {
      await volume.close()
    }
  }
  return { root, medium, files, index, at, open, readAll }
}

/** Where block number `block` of a volume lies. */
function placeOf({ files, blocks }: VolumeIndex, block: number) {
  let first = 0
  for (const { path, sizeBytes } of files) {
    const count = Math.ceil(sizeBytes / blocks.blockBytes)
    if (block < first + count) return { path, block: block - first, startBytes: (block - first) * blocks.blockBytes }
    first += count
  }
  throw new Error(`there is no block ${block}`)
}

/** Makes blocks of data unreadable. */
function spoil(medium: FaultyMedium, index: VolumeIndex, blocks: readonly number[]): void {
  const { blockBytes } = index.blocks
  const bad = blocks.map((block) => placeOf(index, block))
  medium.isBad = (path, startBytes, endBytes) =>
    bad.some(
      (each) => path.endsWith(each.path) && each.startBytes < endBytes && startBytes < each.startBytes + blockBytes,
    )
}

async function flip(path: string, position: number): Promise<void> {
  const bytes = await fs.readFile(path)
  bytes[position]! ^= 0x80
  await fs.writeFile(path, bytes)
}

describe('a volume', () => {
  it('gives what was written', async () => {
    const { open, readAll, index } = await makeVolume()
    expect(await readAll()).toEqual({ lost: {}, healedBlocks: 0 })
    const volume = await open()
    const bundleJson = bundleJsonOf('made up')
    expect(volume.bundleJson.equals(bundleJson)).toBe(true)
    expect([volume.bundle, volume.volume, volume.id]).toEqual([await parseBundleIndex(bundleJson), index, index.bundle])
    expect(volume.signedBy).toEqual({ key: trustedKeys.names[0], isTrusted: true })
    await expect(readFile(volume, 'files/none')).rejects.toMatchObject({ code: 'BUNDLE_INVALID' })
  })

  it('heals every burst of bad sectors that parity is made for, wherever it is', async () => {
    const { medium, index, readAll } = await makeVolume()
    const most = index.parity!.parityShards * index.parity!.groups
    await fc.assert(
      fc.asyncProperty(
        fc
          .nat({ max: index.blocks.count - 1 })
          .chain((first) => fc.tuple(fc.constant(first), fc.integer({ min: 1, max: most }))),
        async ([first, length]) => {
          const burst = Array.from({ length }, (_, next) => first + next).filter((block) => block < index.blocks.count)
          spoil(medium, index, burst)
          expect(await readAll()).toEqual({ lost: {}, healedBlocks: burst.length })
        },
      ),
      { numRuns: 8, examples: [[[0, most]], [[index.blocks.count - most, most]]] },
    )
  }, 120_000)

  it('names what is lost, and only that, of any damage', async () => {
    const { medium, index, readAll } = await makeVolume({ sizes: [1_500_000, 9000], parityPercent: 20 })
    const { count } = index.blocks
    const { groups, parityShards } = index.parity!
    const everyBlock = Array.from({ length: count }, (_, block) => block)
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.subarray(everyBlock),
          fc.tuple(fc.nat({ max: count }), fc.nat({ max: count })).map(([a, b]) => everyBlock.slice(a, a + b)),
        ),
        async (bad) => {
          spoil(medium, index, bad)
          const badIn = new Map<number, number>()
          for (const block of bad) badIn.set(block % groups, (badIn.get(block % groups) ?? 0) + 1)
          const lost: Record<string, number[]> = {}
          const isLost = (block: number) => badIn.get(block % groups)! > parityShards
          for (const block of bad.filter(isLost)) {
            const place = placeOf(index, block)
            lost[place.path] = [...(lost[place.path] ?? []), place.block]
          }
          const healedBlocks = bad.filter((block) => !isLost(block)).length
          expect(await readAll()).toEqual({ lost, healedBlocks })
        },
      ),
      { numRuns: 8, examples: [[everyBlock]] },
    )
  }, 120_000)

  it.each([
    ['flipped bits', (path: string) => flip(path, 5000)],
    ['a file that is too short', (path: string) => fs.truncate(path, 2 * MIB + 900_001)],
    ['a file that is too long', (path: string) => fs.appendFile(path, 'more')],
  ])('heals %s', async (_damage, harm) => {
    const { files, at, readAll } = await makeVolume({ parityPercent: 20 })
    await harm(at(files[2]!.path))
    expect((await readAll()).lost).toEqual({})
  })

  it('heals a file that is missing, or has become a link', async () => {
    const { files, at, readAll } = await makeVolume({ parityPercent: 20 })
    await fs.rm(at(files[4]!.path))
    expect(await readAll()).toMatchObject({ lost: {}, healedBlocks: 171 })
    await fs.symlink(at(files[2]!.path), at(files[4]!.path))
    expect(await readAll()).toMatchObject({ lost: {}, healedBlocks: 171 })
  })

  it('heals with what is left of its parity', async () => {
    const { files, at, readAll, index } = await makeVolume()
    await flip(at(files[2]!.path), 0)
    await fs.rm(at('parity/0001.rs'))
    expect(await readAll()).toEqual({ lost: {}, healedBlocks: 1 })
    await fs.rm(at('parity/0000.rs'))
    expect(await readAll()).toEqual({ lost: { [files[2]!.path]: [0] }, healedBlocks: 0 })
    expect(index.parity?.files).toHaveLength(2)
  })

  it('has nothing to heal with when it was written without parity, and gives the rest', async () => {
    const { medium, index, readAll } = await makeVolume({ parityPercent: 0 })
    spoil(medium, index, [3])
    const { path, block } = placeOf(index, 3)
    expect(await readAll()).toEqual({ lost: { [path]: [block] }, healedBlocks: 0 })
  })

  it('gives up when nothing can be read any more, as when it was pulled out', async () => {
    const { medium, open, files, index } = await makeVolume({ sizes: [24 * MIB], parityPercent: 1 })
    const volume = await open()
    expect(index.parity!.groups).toBeLessThan(256)
    medium.isBad = () => true
    await expect(readFile(volume, files[2]!.path)).rejects.toMatchObject({
      code: 'MEDIUM_UNREADABLE',
      message: expect.stringContaining('can be read any more'),
    })
  })
})

describe('the indexes of a volume', () => {
  const twice = [
    ['volume.json', 'copies/volume.json'],
    ['bundle.json', 'copies/bundle.json'],
    ['volume.json.minisig', 'copies/volume.json.minisig'],
    ['bundle.json.minisig', 'copies/bundle.json.minisig'],
    ['parity/blocks.sha256', 'copies/blocks.sha256'],
  ] as const

  it.each(twice)('are read from the other copy when one is bad: %s', async (one, other) => {
    const { at, readAll, files } = await makeVolume({ sizes: [100_000] })
    await flip(at(files[2]!.path), 0)
    for (const path of [one, other]) {
      const before = await fs.readFile(at(path))
      const harms = [
        (file: string) => flip(file, 40),
        (file: string) => fs.truncate(file, 20),
        (file: string) => fs.rm(file),
      ]
      for (const harm of harms) {
        await harm(at(path))
        expect(await readAll()).toEqual({ lost: {}, healedBlocks: 1 })
        await fs.writeFile(at(path), before)
      }
    }
  })

  it('are put together from two copies that are both damaged', async () => {
    const sizes = Array.from({ length: 100 }, (_, index) => index + 1)
    const { at, readAll, medium } = await makeVolume({ sizes })
    await flip(at('volume.json'), 100)
    await flip(at('copies/volume.json'), 6000)
    expect(await readAll()).toEqual({ lost: {}, healedBlocks: 0 })
    medium.isBad = (path, startBytes, endBytes) =>
      path.endsWith('copies/blocks.sha256') ? startBytes < 100 : path.endsWith('blocks.sha256') && endBytes > 5000
    expect(await readAll()).toEqual({ lost: {}, healedBlocks: 0 })
  })

  it('are done without where the hashes of blocks are lost: a file is right or lost then', async () => {
    const { at, readAll, files } = await makeVolume({ sizes: [50_000, 60_000] })
    await fs.rm(at('parity/blocks.sha256'))
    await fs.rm(at('copies/blocks.sha256'))
    expect(await readAll()).toEqual({ lost: {}, healedBlocks: 0 })
    await flip(at(files[2]!.path), 9000)
    const volume = await openMadeUp(await openDisk(dirname(at('.'))))
    onTestFinished(() => volume.close())
    const blocks = []
    for await (const block of volume.blocks(files[2]!.path)) blocks.push(block)
    expect(blocks).toEqual([{ positionBytes: 0, sizeBytes: 50_000, isLost: true }])
  })

  it('are refused when nobody signed them whom we trust, unless that is allowed', async () => {
    const stranger = makeSigner()
    const bundleJson = bundleJsonOf('made up')
    const strangely = { sign: stranger.sign, bundleSignature: stranger.sign(bundleJson, 'a bundle') }
    const { medium } = await makeVolume({ sizes: [10], ...strangely })
    const message = expect.stringContaining(`the key ${stranger.key} signed it, which is not among bundles.trustedKeys`)
    await expect(openMadeUp(medium)).rejects.toMatchObject({ code: 'BUNDLE_UNTRUSTED', message })
    const volume = await openMadeUp(medium, true)
    onTestFinished(() => volume.close())
    expect(volume.signedBy).toEqual({ key: stranger.key, isTrusted: false })
  })

  it.each(['volume.json', 'bundle.json'])('are refused when only %s has a signature of somebody else', async (path) => {
    const { medium, at } = await makeVolume({ sizes: [10] })
    const text = await fs.readFile(at(path))
    for (const place of [path, `copies/${path}`])
      await fs.writeFile(at(`${place}.minisig`), makeSigner().sign(text, 'ours'))
    await expect(openMadeUp(medium)).rejects.toMatchObject({ code: 'BUNDLE_UNTRUSTED' })
  })

  it('are taken as unsigned where the signature is wrong or gone, if that is allowed', async () => {
    const { medium, at } = await makeVolume({ sizes: [10] })
    for (const place of ['bundle.json.minisig', 'copies/bundle.json.minisig']) await fs.rm(at(place))
    const message = expect.stringContaining('has no signature that is right')
    await expect(openMadeUp(medium)).rejects.toMatchObject({ code: 'BUNDLE_UNTRUSTED', message })
    const volume = await openMadeUp(medium, true)
    onTestFinished(() => volume.close())
    expect(volume.signedBy).toBeUndefined()
  })

  it('are refused when they are of another bundle, or contradict each other', async () => {
    const { medium, at } = await makeVolume({ sizes: [10] })
    const other = await makeVolume({ sizes: [10], bundleJson: bundleJsonOf('another') })
    for (const place of ['bundle.json', 'bundle.json.minisig']) {
      for (const path of [place, `copies/${place}`]) await fs.copyFile(other.at(path), at(path))
    }
    await expect(openMadeUp(medium, true)).rejects.toMatchObject({ code: 'BUNDLE_INVALID' })
    const third = await makeVolume({ sizes: [10], bundleJson: bundleJsonOf('made up', 3) })
    const message = expect.stringContaining('says that it is one of 1 volumes: the bundle has 3')
    await expect(openMadeUp(third.medium)).rejects.toMatchObject({ code: 'BUNDLE_INVALID', message })
  })

  it('are refused where they are too large, without being read, or are not there', async () => {
    const { medium, at } = await makeVolume({ sizes: [10] })
    for (const path of ['volume.json', 'copies/volume.json']) await fs.truncate(at(path), 2 ** 40)
    const message = expect.stringContaining('has 1099511627776 bytes: it may have at most')
    await expect(openMadeUp(medium)).rejects.toMatchObject({ code: 'BUNDLE_INVALID', message })
    for (const path of ['volume.json', 'copies/volume.json']) await fs.rm(at(path))
    await expect(openMadeUp(medium)).rejects.toMatchObject({ code: 'MEDIUM_UNREADABLE' })
  })
})

describe('volumes on a medium', () => {
  it('are found where they are: the medium itself, or one or two levels down', async () => {
    const { root, at, medium } = await makeVolume({ sizes: [10] })
    await fs.cp(at('.'), join(root, 'bundles/second'), { recursive: true })
    await fs.rm(join(root, 'bundles/second/volume.json'))
    await fs.cp(at('.'), join(root, 'too/deep/down'), { recursive: true })
    await fs.mkdir(join(root, 'unfinished/copies'), { recursive: true })
    await fs.symlink(at('.'), join(root, 'link'))
    expect(await findVolumes(medium)).toEqual(['volume', 'bundles/second'])
    const itself = await openDisk(at('.').replace(/\/$/, ''))
    expect(await findVolumes(itself)).toEqual([''])
    const volume = await openVolume(itself, '', { trustedKeys, isUntrustedAllowed: false })
    expect((await readFile(volume, 'README.txt')).lost).toEqual([])
    await volume.close()
  })
})
