import { describe, expect, it } from 'vitest'
import { OldestFirst } from '../../../src/mirror/keeping/oldest-first.js'
import type { BlobRef } from '../../../src/store/blob-store.js'

const MANY = 10_000

/** Blobs that were kept in an order that is not the one they are listed in. */
function makeBlobs(count: number): Map<string, BlobRef> {
  const refs = Array.from({ length: count }, (_, place): [string, BlobRef] => {
    const sha256 = place.toString(16).padStart(64, '0')
    // 7919 is prime: a step by it goes everywhere once.
    return [sha256, { sha256, sha1: '', md5: '', sizeBytes: 1, keptMs: (place * 7919) % count }]
  })
  return new Map(refs)
}

function watch(blobs: ReadonlyMap<string, BlobRef>) {
  const checkedMs = new Map<string, number>()
  const looks = { count: 0 }
  const lastCheckMs = ({ keptMs, sha256 }: BlobRef) => Math.max(keptMs, checkedMs.get(sha256) ?? 0)
  const waiting = new OldestFirst({
    inOrderOfCheck: () => {
      looks.count++
      const timed = [...blobs.values()].map((ref) => ({ ...ref, atMs: lastCheckMs(ref) }))
      return timed.sort((one, other) => one.atMs - other.atMs)
    },
    find: (sha256) => blobs.get(sha256),
    lastCheckMs,
  })
  return { waiting, checkedMs, looks }
}

describe('OldestFirst', () => {
  it('hands out every blob, the one that waits longest first, without looking through all of them for each', () => {
    const { checkedMs, looks, waiting } = watch(makeBlobs(MANY))
    const order: number[] = []
    for (let time = 0; time < MANY; time++) {
      const { sha256, keptMs } = waiting.first!
      order.push(keptMs)
      checkedMs.set(sha256, MANY + time)
    }
    expect(order).toEqual(Array.from({ length: MANY }, (_, place) => place))
    expect(looks.count).toBeLessThan(10)
  })

  it('begins anew with the first when all were read', () => {
    const { checkedMs, waiting } = watch(makeBlobs(3))
    const first = waiting.first!
    for (let time = 0; time < 3; time++) checkedMs.set(waiting.first!.sha256, 100 + time)
    expect(waiting.first).toEqual(first)
  })

  it('passes over what has gone, or was read for somebody else', () => {
    const blobs = makeBlobs(3)
    const { checkedMs, waiting } = watch(blobs)
    const [gone, read, left] = [...blobs.values()].sort((one, other) => one.keptMs - other.keptMs)
    expect(waiting.first).toEqual(gone)
    blobs.delete(gone!.sha256)
    checkedMs.set(read!.sha256, 100)
    expect(waiting.first).toEqual(left)
  })

  it('stays with a blob that could not be read', () => {
    const { waiting } = watch(makeBlobs(3))
    expect(waiting.first).toEqual(waiting.first)
  })

  it('has none where there is none, and finds the one that comes', () => {
    const blobs = new Map<string, BlobRef>()
    const { waiting } = watch(blobs)
    expect(waiting.first).toBeUndefined()
    for (const [sha256, ref] of makeBlobs(1)) blobs.set(sha256, ref)
    expect(waiting.first).toEqual([...blobs.values()][0])
  })

  it('hands out each of many that were kept in the same second', () => {
    const blobs = new Map([...makeBlobs(MANY)].map(([sha256, ref]) => [sha256, { ...ref, keptMs: 5 }]))
    const { checkedMs, waiting } = watch(blobs)
    for (let time = 0; time < MANY; time++) checkedMs.set(waiting.first!.sha256, 10)
    expect(checkedMs.size).toBe(MANY)
  })
})
