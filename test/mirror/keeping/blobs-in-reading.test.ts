import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { LARGE_PIECE_BYTES, PIECE_BYTES } from '../../../src/mirror/file-stream.js'
import { type BlobInReading, BlobsInReading } from '../../../src/mirror/keeping/blobs-in-reading.js'
import { ReadChecks, type VerifyOnRead } from '../../../src/mirror/keeping/read-checks.js'
import { blobPath, flipBit, MIB } from './damage.js'
import { makeKeepingRig } from './keeping-rig.js'

/** More than are kept for those who come by: see shared-pieces.ts. */
const MANY = 160

interface Made {
  readonly sizeBytes?: number
  readonly dice?: () => number
}

async function makeRig(mode: VerifyOnRead, { sizeBytes = 2 * MIB + 99, dice = () => 0.99 }: Made = {}) {
  const rig = await makeKeepingRig()
  const made = await rig.keep(1, { bytes: randomBytes(sizeBytes) })
  const damaged: number[] = []
  const reads: [number, number][] = []
  const checks = new ReadChecks(mode, rig.clock, dice)
  const counters = rig.counters
  const blobs = new BlobsInReading({
    blobs: rig.store.blobs,
    checks,
    counters,
    onDamage: (_sha256, index) => damaged.push(index),
  })
  const join = async (): Promise<BlobInReading> => {
    const blob = (await rig.store.blobs.open(made.sha256))!
    return blobs.join({
      ref: blob.ref,
      get isDamaged() {
        return blob.isDamaged
      },
      read: (buffer, positionBytes) => {
        reads.push([positionBytes, buffer.length])
        return blob.read(buffer, positionBytes)
      },
      close: () => blob.close(),
    })
  }
  return Object.assign(rig, { ...made, path: blobPath(rig.directory, made.bytes), damaged, reads, checks, join })
}

async function readAll(blob: BlobInReading, startBytes: number, endBytes: number, mayBeLarge = false): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let positionBytes = startBytes; positionBytes < endBytes; ) {
    const piece = await blob.piece(positionBytes, endBytes, mayBeLarge)
    expect(piece.length).toBeLessThanOrEqual(mayBeLarge ? LARGE_PIECE_BYTES : PIECE_BYTES)
    pieces.push(Buffer.from(piece))
    positionBytes += piece.length
    blob.spent(piece)
  }
  return Buffer.concat(pieces)
}

describe('a blob that clients read', () => {
  it.each(['never', 'sampled', 'always'] as const)(
    'gives the bytes it was kept with, wherever a reading begins and ends, checked %s',
    async (mode) => {
      const { bytes, join } = await makeRig(mode)
      const blob = await join()
      for (const [start, end] of [
        [0, 10],
        [MIB - 3, MIB + 7],
        [MIB, 2 * MIB],
        [2 * MIB + 90, 2 * MIB + 99],
        [PIECE_BYTES - 1, PIECE_BYTES + 1],
        [5, 2 * MIB + 99],
      ] as const) {
        for (const mayBeLarge of [false, true, true]) {
          expect((await readAll(blob, start, end, mayBeLarge)).equals(bytes.subarray(start, end))).toBe(true)
        }
      }
      await blob.close()
    },
  )

  it('is read once for all who read the same place, at once or one behind the other', async () => {
    const { join, reads } = await makeRig('never')
    const [one, other] = [await join(), await join()]
    const pieces = await Promise.all([one.piece(0, MIB), other.piece(0, MIB)])
    expect(pieces[0]!.buffer).toBe(pieces[1]!.buffer)
    one.spent(pieces[0]!)
    await one.close()
    other.spent(await other.piece(100, MIB))
    expect(reads).toEqual([[0, PIECE_BYTES]])
    await other.close()
  })

  it('is read in large pieces for those who may have them, who share them too', async () => {
    const { join, reads } = await makeRig('never')
    const [one, other] = [await join(), await join()]
    const pieces = await Promise.all([one.piece(0, MIB, true), other.piece(0, MIB, true)])
    expect(pieces[0]!.length).toBe(LARGE_PIECE_BYTES)
    expect(pieces[0]!.buffer).toBe(pieces[1]!.buffer)
    expect(reads).toEqual([[0, LARGE_PIECE_BYTES]])
    for (const client of [one, other]) await client.close()
  })

  it('has a MiB checked once for all pieces that are taken of it, also by many at once', async () => {
    const { join, reads } = await makeRig('always')
    const clients = await Promise.all([join(), join(), join()])
    await Promise.all(clients.flatMap((client) => [0, 1, 2].map((index) => client.piece(index * PIECE_BYTES, MIB))))
    expect(reads).toEqual([[0, MIB]])
    for (const client of clients) await client.close()
  })

  it('leaves a piece alone that a client has not sent yet, whatever is read meanwhile', async () => {
    const { bytes, join } = await makeRig('never', { sizeBytes: MANY * PIECE_BYTES })
    const [slow, fast] = [await join(), await join()]
    const held = await slow.piece(0, PIECE_BYTES)
    for (let round = 0; round < 2; round++) await readAll(fast, 0, bytes.length)
    expect(bytes.subarray(0, PIECE_BYTES).equals(held)).toBe(true)
    slow.spent(held)
    // Then its memory is another's, once.
    slow.spent(held)
    expect((await readAll(fast, 0, bytes.length)).equals(bytes)).toBe(true)
    await slow.close()
    await fast.close()
  })

  it('rolls the dice for a MiB when it is begun, and not for each piece', async () => {
    let rolled = 0
    const dice = () => {
      rolled++
      return 0.99
    }
    const { bytes, join } = await makeRig('sampled', { sizeBytes: MANY * PIECE_BYTES, dice })
    const blob = await join()
    await readAll(blob, 0, bytes.length)
    expect(rolled).toBe(0)
    await readAll(blob, 0, bytes.length)
    expect(rolled).toBe(bytes.length / MIB)
    await blob.close()
  })
})

describe('a damaged blob', () => {
  it('gives no byte of a bad MiB to anybody, also not what was read of it before', async () => {
    let dice = 0.99
    const { bytes, checks, damaged, join, path, sha256 } = await makeRig('sampled', { dice: () => dice })
    checks.passed(sha256, 1, 3)
    await flipBit(path, MIB + 1000)
    const [one, other] = [await join(), await join()]
    one.spent(await one.piece(MIB + PIECE_BYTES, 2 * MIB))
    one.spent(await one.piece(MIB + LARGE_PIECE_BYTES, 2 * MIB, true))
    dice = 0
    const found = await Promise.allSettled([one.piece(MIB, 2 * MIB), other.piece(MIB, 2 * MIB)])
    expect(found.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(damaged).toEqual([1])
    // Nor is it trusted any more, though the dice would let it pass.
    dice = 0.99
    for (const [start, mayBeLarge] of [
      [MIB + PIECE_BYTES, false],
      [MIB + LARGE_PIECE_BYTES, true],
    ] as const) {
      await expect(other.piece(start, 2 * MIB, mayBeLarge)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    }
    expect((await readAll(other, 0, MIB)).equals(bytes.subarray(0, MIB))).toBe(true)
    await one.close()
    await other.close()
  })

  it('is given to nobody any more when it is quarantined, also where its pieces are in memory', async () => {
    const { join, sha256, store } = await makeRig('never')
    const [one, other] = [await join(), await join()]
    one.spent(await one.piece(0, MIB))
    await store.blobs.quarantine(sha256, {})
    for (const client of [one, other]) {
      await expect(client.piece(0, MIB)).rejects.toMatchObject({ code: 'STORE_BROKEN' })
    }
    await one.close()
    await other.close()
  })

  it('is not what they get who come when it is here again, while others still have it open', async () => {
    const { bytes, join, keep, path, reads, sha256, store } = await makeRig('never')
    await flipBit(path, 1000)
    const before = await join()
    before.spent(await before.piece(0, MIB))
    await store.blobs.quarantine(sha256, {})
    await keep(1, { bytes })
    const [after, another] = [await join(), await join()]
    expect((await readAll(after, 0, MIB)).equals(bytes.subarray(0, MIB))).toBe(true)
    await before.close()
    // Who was there before takes nothing away from those who came since.
    reads.length = 0
    const third = await join()
    expect((await readAll(third, 0, MIB)).equals(bytes.subarray(0, MIB))).toBe(true)
    expect(reads).toEqual([])
    for (const client of [after, another, third]) await client.close()
  })

  it('is not let go of as long as anybody reads it', async () => {
    const { join, sha256, store } = await makeRig('never')
    const [one, other] = [await join(), await join()]
    await one.close()
    expect(await store.blobs.letGo(sha256)).toBe(false)
    expect(await readAll(other, 0, 10)).toHaveLength(10)
    await other.close()
    expect(await store.blobs.letGo(sha256)).toBe(true)
  })
})
