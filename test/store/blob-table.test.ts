import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { BlobRef } from '../../src/store/blob-store.js'
import { BlobTable, decodeRow, encodeRow } from '../../src/store/blob-table.js'

/** A made-up blob; few different sha1 and md5, so that they meet. */
function blob(number: number): BlobRef {
  const hex = (algorithm: string, text: unknown) => createHash(algorithm).update(String(text)).digest('hex')
  return {
    sha256: hex('sha256', number),
    sha1: hex('sha1', number % 50),
    md5: hex('md5', number % 30),
    sizeBytes: number * 1_000_003,
    keptMs: 1_700_000_000_000 + number * 1000,
  }
}

describe('BlobTable', () => {
  it('gives rows back as they were, the largest sizes too', () => {
    const row = { ref: { ...blob(7), sizeBytes: Number.MAX_SAFE_INTEGER }, usedMs: 1_800_000_000_123 }
    expect(decodeRow(encodeRow(row))).toEqual(row)
  })

  it('answers as a list would, whatever is set and deleted', () => {
    const change = fc.record({ isDelete: fc.boolean(), number: fc.nat(200) })
    fc.assert(
      fc.property(fc.array(change, { maxLength: 400 }), (changes) => {
        const table = new BlobTable()
        const model = new Map<string, BlobRef>()
        for (const { isDelete, number } of changes) {
          const ref = blob(number)
          if (isDelete) {
            table.delete(ref.sha256)
            model.delete(ref.sha256)
          } else {
            table.set(ref, number)
            model.set(ref.sha256, ref)
          }
        }
        const sorted = (refs: Iterable<BlobRef>) => [...refs].map((ref) => ref.sha256).sort()
        expect(table.count).toBe(model.size)
        expect(table.totalBytes).toBe([...model.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))
        expect(sorted(table.all())).toEqual(sorted(model.values()))
        for (let number = 0; number <= 200; number++) {
          const { sha256, sha1, md5 } = blob(number)
          expect(table.get(sha256)).toEqual(model.get(sha256))
          expect(table.usedMs(sha256)).toBe(model.has(sha256) ? number : undefined)
          const having = (key: 'sha1' | 'md5', hex: string) => [...model.values()].filter((ref) => ref[key] === hex)
          expect(sorted(table.matching({ algorithm: 'sha1', hex: sha1 }))).toEqual(sorted(having('sha1', sha1)))
          expect(sorted(table.matching({ algorithm: 'md5', hex: md5 }))).toEqual(sorted(having('md5', md5)))
        }
      }),
      { numRuns: 30 },
    )
  })

  it('grows beyond its first size', () => {
    const table = new BlobTable()
    for (let number = 0; number < 5000; number++) table.set(blob(number), number)
    expect(table.count).toBe(5000)
    for (let number = 0; number < 5000; number++) expect(table.get(blob(number).sha256)).toEqual(blob(number))
  })

  it('knows when a blob was last used', () => {
    const table = new BlobTable()
    table.set(blob(1), 100)
    table.setUsed(blob(1).sha256, 200)
    table.setUsed(blob(2).sha256, 300)
    expect(table.usedMs(blob(1).sha256)).toBe(200)
    expect(table.get(blob(1).sha256)).toEqual(blob(1))
    expect(table.usedMs(blob(2).sha256)).toBeUndefined()
  })

  it('gives blobs in the order of their last use and of their last check, however many there are and whatever has gone', () => {
    const table = new BlobTable()
    const model = new Map<string, { usedMs: number; checkMs: number }>()
    for (let number = 0; number < 15_000; number++) {
      const ref = { ...blob(number), keptMs: 1000 + ((number * 7919) % 9000) }
      const usedMs = (number * 104_729) % 15_000
      table.set(ref, usedMs)
      model.set(ref.sha256, { usedMs, checkMs: ref.keptMs })
      if (number % 3 === 0) {
        table.setChecked(ref.sha256, 20_000 + number)
        model.get(ref.sha256)!.checkMs = 20_000 + number
      }
      if (number % 7 === 0) {
        table.delete(ref.sha256)
        model.delete(ref.sha256)
      }
    }
    const times = (
      timed: Iterable<{ sha256: string; atMs: number }>,
      of: (model: { usedMs: number; checkMs: number }) => number,
    ) => {
      const found = [...timed]
      expect(new Set(found.map(({ sha256 }) => sha256))).toEqual(new Set(model.keys()))
      expect(found.every(({ atMs, sha256 }) => of(model.get(sha256)!) === atMs)).toBe(true)
      return found.map(({ atMs }) => atMs)
    }
    const ascending = (values: number[]) => values.toSorted((one, other) => one - other)
    const byUse = times(table.inOrderOfUse(), ({ usedMs }) => usedMs)
    expect(byUse).toEqual(ascending(byUse))
    const byCheck = times(table.inOrderOfCheck(), ({ checkMs }) => checkMs)
    expect(byCheck).toEqual(ascending(byCheck))
    expect([...table.checked()].length).toBe([...model.values()].filter(({ checkMs }) => checkMs >= 20_000).length)
  })

  it('gives each of many once that were all used at the same moment', () => {
    const table = new BlobTable()
    for (let number = 0; number < 10_000; number++) table.set(blob(number), 5)
    expect(new Set([...table.inOrderOfUse()].map(({ sha256 }) => sha256)).size).toBe(10_000)
  })

  it('remembers when a blob was read again while it is kept, also when what is known of it changes', () => {
    const table = new BlobTable()
    table.set(blob(1), 100)
    expect(table.checkedMs(blob(1).sha256)).toBeUndefined()
    table.setChecked(blob(1).sha256, 300)
    table.set({ ...blob(1), sizeBytes: 9 }, 100)
    expect(table.checkedMs(blob(1).sha256)).toBe(300)
    table.delete(blob(1).sha256)
    table.set(blob(1), 100)
    expect(table.checkedMs(blob(1).sha256)).toBeUndefined()
  })

  it('finds nothing by a digest of the wrong length', () => {
    const table = new BlobTable()
    table.set(blob(1), 1)
    expect(table.get('')).toBeUndefined()
    expect(table.get(blob(1).sha256.slice(2))).toBeUndefined()
  })
})
