import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ReadChecks, SAMPLE_OF, TRUST_MS, type VerifyOnRead } from '../../../src/mirror/keeping/read-checks.js'
import { VerifiedBlob } from '../../../src/mirror/keeping/verified-blob.js'
import { FakeClock } from '../../support/fake-clock.js'
import { blobPath, flipBit, MIB } from './damage.js'
import { makeKeepingRig } from './keeping-rig.js'

async function makeRig(mode: VerifyOnRead = 'always') {
  const rig = await makeKeepingRig()
  const made = await rig.keep(1, { bytes: randomBytes(2 * MIB + 99) })
  const damaged: number[] = []
  const reads: [number, number][] = []
  const checks = new ReadChecks(mode, rig.clock)
  const open = async () => {
    const blob = (await rig.store.blobs.open(made.sha256))!
    const watched = {
      ref: blob.ref,
      isDamaged: false,
      read: (buffer: Uint8Array, positionBytes: number) => {
        reads.push([positionBytes, buffer.length])
        return blob.read(buffer, positionBytes)
      },
      close: () => blob.close(),
    }
    return new VerifiedBlob(watched, {
      blobs: rig.store.blobs,
      checks,
      counters: rig.counters,
      onDamage: (_sha256, index) => damaged.push(index),
    })
  }
  return Object.assign(rig, { ...made, path: blobPath(rig.directory, made.bytes), damaged, reads, checks, open })
}

describe('a verified blob', () => {
  it('gives the bytes it was kept with, wherever a reading begins and ends', async () => {
    const { bytes, open } = await makeRig()
    const blob = await open()
    for (const [start, length] of [
      [0, 10],
      [MIB - 3, 10],
      [MIB, MIB],
      [2 * MIB + 90, 9],
      [5, 2 * MIB],
    ] as const) {
      const found = Buffer.alloc(length)
      let filledBytes = 0
      while (filledBytes < length) filledBytes += await blob.read(found.subarray(filledBytes), start + filledBytes)
      expect(found.equals(bytes.subarray(start, start + length))).toBe(true)
    }
    await blob.close()
  })

  it('gives no byte of a bad MiB, and all of the good ones', async () => {
    const { bytes, damaged, open, path } = await makeRig()
    await flipBit(path, MIB + 1000)
    const blob = await open()
    const buffer = Buffer.alloc(10)
    await blob.read(buffer, 3)
    buffer.fill(0)
    await expect(blob.read(buffer, MIB)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    expect(buffer.equals(Buffer.alloc(10))).toBe(true)
    expect(damaged).toEqual([1])
    await blob.read(buffer, 7)
    expect(buffer.equals(bytes.subarray(7, 17))).toBe(true)
    // And not when it is asked again either.
    await expect(blob.read(buffer, MIB + 500_000)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    await blob.read(buffer, 2 * MIB)
    expect(buffer.equals(bytes.subarray(2 * MIB, 2 * MIB + 10))).toBe(true)
    await blob.close()
  })

  it('reads a MiB once for all pieces that are taken of it, also by two at a time', async () => {
    const { open, reads } = await makeRig()
    const blob = await open()
    const piece = () => Buffer.alloc(128 * 1024)
    await Promise.all([0, 1, 2, 3].map((index) => blob.read(piece(), index * 128 * 1024)))
    expect(reads).toEqual([[0, MIB]])
    await blob.close()
  })

  it('is read as it is where a check is not wanted', async () => {
    const { open, reads } = await makeRig('never')
    const blob = await open()
    await blob.read(Buffer.alloc(10), 5)
    expect(reads).toEqual([[5, 10]])
    await blob.close()
  })
})

describe('sampled checks', () => {
  it('look at every MiB the first time, then at one in sixteen, and at all again after a week', () => {
    const clock = new FakeClock()
    let dice = 0.99
    const checks = new ReadChecks('sampled', clock, () => dice)
    expect(checks.wants('a', 9)).toBe(true)
    checks.passed('a', 9, 20)
    expect(checks.wants('a', 9)).toBe(false)
    expect(checks.wants('a', 8)).toBe(true)
    expect(checks.wants('b', 9)).toBe(true)
    dice = 0.99 / SAMPLE_OF
    expect(checks.wants('a', 9)).toBe(true)
    dice = 1.01 / SAMPLE_OF
    expect(checks.wants('a', 9)).toBe(false)
  })

  it('trust nothing for longer than a week', async () => {
    const clock = new FakeClock()
    const checks = new ReadChecks('sampled', clock, () => 0.99)
    checks.passed('a', 0, 1)
    await clock.advance(TRUST_MS - 1)
    expect(checks.wants('a', 0)).toBe(false)
    await clock.advance(1)
    expect(checks.wants('a', 0)).toBe(true)
  })
})
