import { describe, expect, it } from 'vitest'
import { QUIET_LIMIT_MS, RequestPace } from '../../src/upstream/request-pace.js'
import { FakeClock } from '../support/fake-clock.js'

function makePace() {
  const clock = new FakeClock('2026-01-05T12:00:00Z')
  const pace = new RequestPace(clock)
  const hear = (status: number, headers: Record<string, string>) => pace.heard(status, (name) => headers[name])
  return { clock, pace, hear }
}

describe('Retry-After', () => {
  it.each([429, 503])('of a %i is obeyed, in seconds and as a date', async (status) => {
    for (const value of ['30', 'Mon, 05 Jan 2026 12:00:30 GMT']) {
      const { clock, pace, hear } = makePace()
      hear(status, { 'retry-after': value })
      expect(pace.quietMs).toBe(30_000)
      await clock.advance(30_000)
      expect(pace.quietMs).toBe(0)
    }
  })

  it('is not obeyed for longer than an hour', () => {
    const { pace, hear } = makePace()
    hear(429, { 'retry-after': '864000' })
    expect(pace.quietMs).toBe(QUIET_LIMIT_MS)
  })

  it('means nothing in other answers, or when it is none', () => {
    const { pace, hear } = makePace()
    hear(200, { 'retry-after': '30' })
    hear(429, { 'retry-after': 'soon' })
    hear(503, {})
    expect(pace.quietMs).toBe(0)
  })

  it('is not cut short by a later answer', () => {
    const { pace, hear } = makePace()
    hear(429, { 'retry-after': '30' })
    hear(503, { 'retry-after': '1' })
    expect(pace.quietMs).toBe(30_000)
  })
})

describe('a count of requests', () => {
  it.each([
    { 'ratelimit-remaining': '0', 'ratelimit-reset': '60' },
    { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '60' },
    // GitHub gives a date, in seconds.
    { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(Date.parse('2026-01-05T12:01:00Z') / 1000) },
    // Docker Hub gives the width of the window.
    { 'ratelimit-limit': '100;w=60', 'ratelimit-remaining': '0;w=60' },
    { ratelimit: '"default";r=0;t=60' },
    { ratelimit: 'limit=10, remaining=0, reset=60' },
  ])('that is used up means silence until it begins anew: %j', async (headers) => {
    const { clock, pace, hear } = makePace()
    hear(200, headers)
    expect(pace.quietMs).toBe(60_000)
    await clock.advance(60_000)
    expect(pace.quietMs).toBe(0)
    expect(pace.takeTurn()).toBe(0)
  })

  it('that is nearly used up spreads what is left over the time that is left', async () => {
    const { clock, pace, hear } = makePace()
    hear(200, { 'ratelimit-limit': '100', 'ratelimit-remaining': '9', 'ratelimit-reset': '20' })
    expect([pace.takeTurn(), pace.takeTurn(), pace.takeTurn()]).toEqual([2000, 4000, 6000])
    await clock.advance(20_000)
    expect(pace.takeTurn()).toBe(0)
  })

  it('slows nobody down by more than the time that is left', () => {
    const { pace, hear } = makePace()
    hear(200, { 'ratelimit-remaining': '1', 'ratelimit-reset': '8' })
    expect(Array.from({ length: 9 }, () => pace.takeTurn()).at(-1)).toBe(8000)
  })

  it('that is large slows nobody down', () => {
    const { pace, hear } = makePace()
    hear(200, { 'ratelimit-limit': '100', 'ratelimit-remaining': '50', 'ratelimit-reset': '20' })
    expect(pace.takeTurn() + pace.takeTurn()).toBe(0)
  })

  it.each([
    { 'ratelimit-remaining': '-1', 'ratelimit-reset': '60' },
    { 'ratelimit-remaining': '0.5', 'ratelimit-reset': '60' },
    { 'ratelimit-remaining': '0' },
    { 'ratelimit-reset': '60' },
    { ratelimit: 'nonsense' },
    { ratelimit: 'or=0;at=60' },
  ])('that makes no sense means nothing: %j', (headers) => {
    const { pace, hear } = makePace()
    hear(200, headers)
    expect(pace.quietMs + pace.takeTurn()).toBe(0)
  })
})
