import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { volumeSizeBytes } from '../../src/bundle/volume-layout.js'
import { parseVolumeIndex } from '../../src/images/bundle/parse-volume-index.js'
import { isMinisigned, parseMinisignKey } from '../../src/parts/minisign.js'
import { documentedParity } from '../support/documented-parity.js'
import { canMount, mountSmallDisk } from '../support/small-disk.js'
import { temporaryDirectory } from '../support/temporary.js'
import { FaultyMedium } from './faulty-medium.js'
import {
  bundleJsonOf,
  contentOf,
  madeUpContents,
  openDisk,
  sha256Of,
  signer,
  snapshot,
  writeMadeUp,
} from './volumes.js'

const KIB = 1024
const MIB = 1024 * KIB
const sizes = [3 * MIB + 17, 5, 700_000, 65_536, 0]

describe('a volume that was written', () => {
  it('has its files under their names, whole, and says so', async () => {
    const root = await temporaryDirectory()
    const { files, index } = await writeMadeUp(await openDisk(root), { sizes })
    for (const { path, bytes } of files) {
      expect((await fs.readFile(join(root, 'volume', path))).equals(bytes), path).toBe(true)
    }
    const listed = files.map(({ path, bytes }) => ({ path, sizeBytes: bytes.length, sha256: sha256Of(bytes) }))
    expect(index.files).toEqual(listed.sort((one, other) => (one.path < other.path ? -1 : 1)))
    expect(parseVolumeIndex(await fs.readFile(join(root, 'volume/volume.json')))).toEqual(index)
    const found = await snapshot(join(root, 'volume'))
    for (const name of ['bundle.json', 'bundle.json.minisig', 'volume.json', 'volume.json.minisig']) {
      expect(found[`copies/${name}`]).toBe(found[name])
    }
    expect(found['copies/blocks.sha256']).toBe(found['parity/blocks.sha256'])
    expect(Object.keys(found).filter((path) => path.endsWith('.partial'))).toEqual([])
  })

  it('is signed as minisign reads it', async () => {
    const root = await temporaryDirectory()
    await writeMadeUp(await openDisk(root))
    const key = parseMinisignKey(signer.publicKey)!
    for (const name of ['bundle.json', 'volume.json']) {
      const text = await fs.readFile(join(root, 'volume', name))
      const signature = await fs.readFile(join(root, 'volume', `${name}.minisig`), 'utf8')
      expect(isMinisigned(key, text, signature)).toBe(true)
    }
  })

  it.each([
    { parityPercent: 10, dataShards: 20, parityShards: 2 },
    { parityPercent: 3, dataShards: 33, parityShards: 1 },
    { parityPercent: 50, dataShards: 20, parityShards: 10 },
  ])('has the blocks and the parity that docs/bundle-format.md describes: $parityPercent %', async (expected) => {
    const root = await temporaryDirectory()
    const { index } = await writeMadeUp(await openDisk(root), { sizes, parityPercent: expected.parityPercent })
    const { dataShards, parityShards, groups, files } = index.parity!
    expect({ ...expected, dataShards, parityShards }).toEqual(expected)
    const { blockBytes } = index.blocks
    const contents = await Promise.all(index.files.map(({ path }) => fs.readFile(join(root, 'volume', path))))
    const blocks = contents.flatMap((bytes) => cut(bytes, blockBytes))
    expect([index.blocks.count, groups]).toEqual([blocks.length, Math.ceil(blocks.length / dataShards)])
    const filled = (block: Buffer | undefined) => Buffer.concat([block ?? Buffer.alloc(0)], blockBytes)
    const rows: Buffer[][] = Array.from({ length: parityShards }, () => [])
    for (let group = 0; group < groups; group++) {
      const data = Array.from({ length: dataShards }, (_, shard) => filled(blocks[shard * groups + group]))
      for (const [row, bytes] of documentedParity(data, parityShards).entries()) rows[row]!.push(Buffer.from(bytes))
    }
    const parity = Buffer.concat(await Promise.all(files.map(({ path }) => fs.readFile(join(root, 'volume', path)))))
    expect(parity.equals(Buffer.concat(rows.flat()))).toBe(true)
    const hashes = [...blocks, ...cut(parity, blockBytes)].map((block) => sha256Of(block)).join('')
    const written = await fs.readFile(join(root, 'volume/parity/blocks.sha256'))
    expect(written.toString('hex') === hashes).toBe(true)
    expect(index.blocks).toMatchObject({ sizeBytes: written.length, sha256: sha256Of(written) })
  })

  it('has no parity where none is wanted', async () => {
    const root = await temporaryDirectory()
    const { index } = await writeMadeUp(await openDisk(root), { sizes, parityPercent: 0 })
    expect(index.parity).toBeUndefined()
    expect(await fs.readdir(join(root, 'volume/parity'))).toEqual(['blocks.sha256'])
  })

  it.each([0, 1, 10, 37])(
    'takes no more than was planned, and little less, at %i %% of parity',
    async (parityPercent) => {
      const root = await temporaryDirectory()
      const many = [...sizes, ...Array.from({ length: 60 }, (_, index) => index * 100 + 1)]
      const { files, index } = await writeMadeUp(await openDisk(root), { sizes: many, parityPercent })
      const bundleJsonBytes = bundleJsonOf('made up').length
      const plan = files.map(({ path, bytes }) => ({ path, sizeBytes: bytes.length }))
      const planned = volumeSizeBytes(plan, { parityPercent, bundleJsonBytes })
      const used = Number(execFileSync('du', ['-sB1', join(root, 'volume')], { encoding: 'utf8' }).split('\t')[0])
      expect(planned).toBeGreaterThanOrEqual(used)
      expect(planned - used).toBeLessThan(256 * KIB + 2 * KIB * index.files.length)
    },
  )
})

describe('writing a volume again', () => {
  it('changes nothing when it was finished', async () => {
    const root = await temporaryDirectory()
    const medium = new FaultyMedium(await openDisk(root))
    await writeMadeUp(medium, { sizes, bundleSignature: signer.sign(bundleJsonOf('made up'), 'signed on Monday') })
    const before = await snapshot(root)
    medium.changes = 0
    await writeMadeUp(medium, { sizes, bundleSignature: signer.sign(bundleJsonOf('made up'), 'signed on Tuesday') })
    expect([medium.changes, await snapshot(root)]).toEqual([0, before])
  })

  it('puts right what was damaged since, and only that', async () => {
    const root = await temporaryDirectory()
    const medium = new FaultyMedium(await openDisk(root))
    const { files } = await writeMadeUp(medium, { sizes })
    const before = await snapshot(root)
    await flip(join(root, 'volume', files[2]!.path), 1_000_000)
    await flip(join(root, 'volume/parity/0001.rs'), 5)
    await flip(join(root, 'volume/copies/bundle.json'), 5)
    await fs.truncate(join(root, 'volume', files[4]!.path), 1000)
    await fs.appendFile(join(root, 'volume', files[1]!.path), 'more')
    medium.written.clear()
    await writeMadeUp(medium, { sizes })
    expect(await snapshot(root)).toEqual(before)
    expect([...medium.written].sort()).toEqual(
      [files[1]!.path, files[2]!.path, files[4]!.path, 'parity/0001.rs', 'copies/bundle.json.partial']
        .map((path) => `volume/${path}`)
        .sort(),
    )
  })

  it('makes it what is asked for now, and no volume in between', async () => {
    const root = await temporaryDirectory()
    const medium = new FaultyMedium(await openDisk(root))
    await writeMadeUp(medium, { sizes })
    medium.refuse = (path) => path.includes('parity/')
    await expect(writeMadeUp(medium, { sizes, parityPercent: 50 })).rejects.toMatchObject({ code: 'MEDIUM_UNREADABLE' })
    expect(Object.keys(await snapshot(root)).filter((path) => path.endsWith('volume.json'))).toEqual([])
    medium.refuse = undefined
    const { index } = await writeMadeUp(medium, { sizes, parityPercent: 50 })
    expect(index.parity?.parityShards).toBe(10)
  })

  it('goes on after any break with what is there, and ends with the same bytes', async () => {
    const root = await temporaryDirectory()
    await writeMadeUp(await openDisk(root), { sizes })
    const right = await snapshot(root)
    let isFinished = false
    for (let breakAfter = 0; !isFinished; breakAfter += 3) {
      const other = await temporaryDirectory()
      const medium = new FaultyMedium(await openDisk(other))
      medium.changesLeft = breakAfter
      isFinished = await writeMadeUp(medium, { sizes }).then(
        () => true,
        () => false,
      )
      const isThere = Object.keys(await snapshot(other)).includes('volume/volume.json')
      expect(isThere).toBe(isFinished)
      medium.changesLeft = Number.POSITIVE_INFINITY
      await writeMadeUp(medium, { sizes })
      expect(await snapshot(other), `broken after ${breakAfter} changes`).toEqual(right)
    }
  })

  it('reads from the source only what is not there', async () => {
    const root = await temporaryDirectory()
    const [, , file] = madeUpContents(sizes)
    const asked: number[] = []
    const read = (startBytes: number) => {
      asked.push(startBytes)
      return contentOf(file!).read(startBytes)
    }
    const content = { ...contentOf(file!), read }
    await fs.mkdir(join(root, 'volume/files'), { recursive: true })
    await fs.writeFile(join(root, 'volume', file!.path), file!.bytes.subarray(0, 2_500_000))
    await writeMadeUp(await openDisk(root), { contents: [content] })
    await writeMadeUp(await openDisk(root), { contents: [content] })
    expect(asked).toEqual([2 * MIB])
  })
})

describe('a volume is not finished', () => {
  const isUnfinished = async (root: string) =>
    expect(await fs.readdir(join(root, 'volume')).catch(() => [])).not.toContain('volume.json')

  it.each([
    ['is another', (bytes: Buffer) => Buffer.from(bytes).fill(1, 5, 6)],
    ['ends too early', (bytes: Buffer) => bytes.subarray(0, -1)],
    ['goes on', (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('!')])],
  ])('when a content %s', async (_fault, spoil) => {
    const root = await temporaryDirectory()
    const [, , file] = madeUpContents([100_000])
    const spoilt = { ...contentOf(file!), read: contentOf({ path: file!.path, bytes: spoil(file!.bytes) }).read }
    await expect(writeMadeUp(await openDisk(root), { contents: [spoilt] })).rejects.toMatchObject({
      code: 'STORE_BROKEN',
    })
    await isUnfinished(root)
  })

  it('when the medium does not give back what was written to it', async () => {
    const root = await temporaryDirectory()
    const medium = new FaultyMedium(await openDisk(root))
    medium.isLying = (path) => path.includes('files/')
    const failure = {
      code: 'MEDIUM_UNREADABLE',
      message: expect.stringContaining('does not give back what was written'),
    }
    await expect(writeMadeUp(medium, { sizes })).rejects.toMatchObject(failure)
    await isUnfinished(root)
    await expect(writeMadeUp(medium, { sizes, parityPercent: 0 })).rejects.toMatchObject(failure)
    await isUnfinished(root)
  })

  it('when it is aborted', async () => {
    const root = await temporaryDirectory()
    const controller = new AbortController()
    const onProgress = (_path: string, doneBytes: number) => doneBytes > MIB && controller.abort(new Error('enough'))
    const writing = writeMadeUp(await openDisk(root), { sizes, signal: controller.signal, onProgress })
    await expect(writing).rejects.toThrow('enough')
    await isUnfinished(root)
  })

  it.skipIf(!canMount)('when the medium has too little room, which is known before anything is written', async () => {
    const root = await mountSmallDisk(4)
    const writing = writeMadeUp(await openDisk(root), { sizes: [5 * MIB] })
    const message = expect.stringMatching(/has \d+ bytes free: for the rest of volume 1 it lacks \d+/)
    await expect(writing).rejects.toMatchObject({ code: 'MEDIUM_FULL', message })
    expect(await snapshot(root)).toEqual({})
  })

  it.skipIf(!canMount)('when somebody else fills the medium, and goes on once there is room', async () => {
    const root = await mountSmallDisk(8)
    const ballast = join(root, 'somebody-elses')
    const medium = await openDisk(root)
    let isFilled = false
    const onProgress = () => {
      if (!isFilled) execFileSync('sh', ['-c', `dd if=/dev/zero of=${ballast} bs=64k 2>/dev/null || true`])
      isFilled = true
    }
    await expect(writeMadeUp(medium, { sizes: [5 * MIB], onProgress })).rejects.toMatchObject({ code: 'MEDIUM_FULL' })
    await isUnfinished(root)
    await fs.rm(ballast)
    const { files } = await writeMadeUp(medium, { sizes: [5 * MIB] })
    expect((await fs.readFile(join(root, 'volume', files[2]!.path))).equals(files[2]!.bytes)).toBe(true)
  })
})

function cut(bytes: Buffer, blockBytes: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / blockBytes) }, (_, block) =>
    bytes.subarray(block * blockBytes, (block + 1) * blockBytes),
  )
}

async function flip(path: string, position: number): Promise<void> {
  const file = await fs.open(path, 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, position)
  byte[0]! ^= 1
  await file.write(byte, 0, 1, position)
  await file.close()
}
