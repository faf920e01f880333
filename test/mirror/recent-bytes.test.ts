import { describe, expect, it } from 'vitest'
import { RecentBytes } from '../../src/mirror/recent-bytes.js'

const KIB = 1024

function read(recent: RecentBytes, positionBytes: number, sizeBytes: number): Buffer {
  const buffer = Buffer.alloc(sizeBytes)
  return buffer.subarray(0, recent.read(buffer, positionBytes))
}

describe('recent bytes', () => {
  it('are given from wherever one reads, over several pieces, as far as they go', () => {
    const recent = new RecentBytes()
    recent.add(10, Buffer.from('abc'))
    recent.add(13, Buffer.from('defg'))
    expect(read(recent, 11, 4).toString()).toBe('bcde')
    expect(read(recent, 16, 4).toString()).toBe('g')
    expect(read(recent, 9, 4)).toHaveLength(0)
    expect(read(recent, 17, 4)).toHaveLength(0)
  })

  it('end where a gap begins', () => {
    const recent = new RecentBytes()
    recent.add(100, Buffer.from('far'))
    recent.add(0, Buffer.from('near'))
    expect(read(recent, 0, 200).toString()).toBe('near')
    expect(read(recent, 100, 200).toString()).toBe('far')
  })

  it('are no more than 2 MiB, the newest', () => {
    const recent = new RecentBytes()
    for (let at = 0; at < 3072; at += 64) recent.add(at * KIB, Buffer.alloc(64 * KIB, at / 64))
    expect(read(recent, 0, KIB)).toHaveLength(0)
    expect(read(recent, 1024 * KIB - 1, KIB)).toHaveLength(0)
    expect(read(recent, 1024 * KIB, KIB)).toHaveLength(KIB)
    expect(read(recent, 1024 * KIB, 4096 * KIB)).toHaveLength(2048 * KIB)
  })

  it('are gone when they are forgotten', () => {
    const recent = new RecentBytes()
    recent.add(0, Buffer.from('old'))
    recent.forget()
    expect(read(recent, 0, 3)).toHaveLength(0)
  })
})
