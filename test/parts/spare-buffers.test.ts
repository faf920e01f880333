import { describe, expect, it } from 'vitest'
import { SpareBuffers } from '../../src/parts/spare-buffers.js'

describe('spare buffers', () => {
  it('are lent again once they were given back, also by a part of them', () => {
    const spare = new SpareBuffers(1024, 2)
    const first = spare.take(1024)
    spare.giveBack(first.subarray(0, 10))
    expect(spare.take(100).buffer).toBe(first.buffer)
  })

  it('are never lent to two at once', () => {
    const spare = new SpareBuffers(1024, 8)
    const first = spare.take(1024)
    expect(spare.take(1024).buffer).not.toBe(first.buffer)
    spare.giveBack(first)
    spare.giveBack(first)
    expect(spare.take(1024).buffer).toBe(first.buffer)
    expect(spare.take(1024).buffer).not.toBe(first.buffer)
  })

  it('leave alone what was never lent', () => {
    const spare = new SpareBuffers(1024, 8)
    const foreign = Buffer.alloc(1024)
    spare.giveBack(foreign)
    expect(spare.take(1024).buffer).not.toBe(foreign.buffer)
  })

  it('are kept in a bounded number, and larger ones not at all', () => {
    const spare = new SpareBuffers(1024, 1)
    const [first, second, large] = [spare.take(1024), spare.take(1024), spare.take(4096)]
    expect(large).toHaveLength(4096)
    for (const each of [large, first, second]) spare.giveBack(each)
    expect(spare.take(1024).buffer).toBe(first.buffer)
    expect([second.buffer, large.buffer]).not.toContain(spare.take(1024).buffer)
  })
})
