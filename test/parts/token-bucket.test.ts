import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TokenBucket } from '../../src/parts/token-bucket.js'

describe('a token bucket', () => {
  it('gives out a tenth of a second at once, and then as fast as its rate', () => {
    const bucket = new TokenBucket(10_000, 0)
    expect(bucket.waitMs(1000, 0)).toBe(0)
    bucket.take(1000)
    expect(bucket.waitMs(250, 0)).toBe(25)
    expect(bucket.waitMs(250, 20)).toBe(5)
    expect(bucket.waitMs(250, 25)).toBe(0)
  })

  it('does not save up more, however long nobody asks', () => {
    const bucket = new TokenBucket(10_000, 0)
    expect(bucket.waitMs(1000, 3_600_000)).toBe(0)
    bucket.take(1000)
    expect(bucket.waitMs(1, 3_600_000)).toBeGreaterThan(0)
  })

  it('keeps nobody waiting without a limit', () => {
    const bucket = new TokenBucket(Number.POSITIVE_INFINITY, 0)
    for (let i = 0; i < 3; i++) {
      expect(bucket.waitMs(1e12, 0)).toBe(0)
      bucket.take(1e12)
    }
    bucket.setRate(10_000, 0)
    expect(bucket.waitMs(1000, 0)).toBe(0)
    bucket.take(1000)
    expect(bucket.waitMs(1000, 0)).toBe(100)
    bucket.setRate(Number.POSITIVE_INFINITY, 0)
    expect(bucket.waitMs(1e12, 0)).toBe(0)
  })

  it('takes a clock that goes back for one that stands still', () => {
    const bucket = new TokenBucket(10_000, 1000)
    bucket.take(1000)
    expect(bucket.waitMs(10, 500)).toBe(1)
    expect(bucket.waitMs(10, 1001)).toBe(0)
  })

  it('gives, in any span of time, no more than its rate and one burst', () => {
    const step = fc.record({ pauseMs: fc.nat(300), wish: fc.double({ min: 0.01, max: 1, noNaN: true }) })
    fc.assert(
      fc.property(fc.integer({ min: 1000, max: 1e9 }), fc.array(step, { maxLength: 200 }), (rate, steps) => {
        const bucket = new TokenBucket(rate, 0)
        const given: { atMs: number; bytes: number }[] = []
        let nowMs = 0
        for (const { pauseMs, wish } of steps) {
          nowMs += pauseMs
          const bytes = bucket.burstBytes * wish
          if (bucket.waitMs(bytes, nowMs) > 0) continue
          bucket.take(bytes)
          given.push({ atMs: nowMs, bytes })
        }
        for (const [index, first] of given.entries()) {
          let sum = 0
          for (const { atMs, bytes } of given.slice(index)) {
            sum += bytes
            const allowed = (rate * (atMs - first.atMs)) / 1000 + bucket.burstBytes
            expect(sum).toBeLessThanOrEqual(allowed * (1 + 1e-9))
          }
        }
      }),
    )
  })
})
