import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type RatePlan, steadyPlan } from '../../src/parts/rate-plan.js'
import { parseWeeklyWindow } from '../../src/parts/weekly-window.js'
import { Bandwidth } from '../../src/upstream/bandwidth.js'
import { Line } from '../../src/upstream/line.js'
import { NotAsked } from '../../src/upstream/not-asked.js'
import { noUpstreamCounters } from '../../src/upstream/upstream-counters.js'
import { FakeClock } from '../support/fake-clock.js'
import { never } from './upstream-under-test.js'

const BURST_MS = 100

/** Open from 22:00 to 05:00 UTC only. */
function nights(whenClosed: RatePlan['whenClosed']): RatePlan {
  const window = { ...parseWeeklyWindow('22:00-05:00')!, limit: 10_000 }
  return { timezone: 'UTC', windows: [window], otherwise: 'closed', whenClosed }
}

function make(plan: RatePlan, start?: string) {
  const clock = new FakeClock(start)
  const bandwidth = new Bandwidth('the line', plan, clock)
  const served: string[] = []
  const pay = (what: string, bytes: number, priority: 'client' | 'background' = 'client', signal = never) => {
    const paid = bandwidth.pay(bytes, priority, signal) ?? Promise.resolve()
    return paid.then(() => void served.push(what))
  }
  return { bandwidth, clock, served, pay }
}

describe('bandwidth', () => {
  it('without a limit makes nobody wait', () => {
    const { bandwidth } = make(steadyPlan('unlimited'))
    expect(bandwidth.pay(1e12, 'background', never)).toBeUndefined()
  })

  it('makes bytes wait for as long as they take at the rate', async () => {
    const { clock, served, pay } = make(steadyPlan(10_000))
    void pay('101 seconds', 1_010_000)
    await clock.advance(100_890)
    expect(served).toEqual([])
    await clock.advance(30)
    expect(served).toEqual(['101 seconds'])
  })

  it('lets several share it evenly', async () => {
    const { clock, served, pay } = make(steadyPlan(10_000))
    void pay('long', 100_000)
    void pay('short', 10_000)
    await clock.advance(2_000)
    expect(served).toEqual(['short'])
    await clock.advance(9_000)
    expect(served).toEqual(['short', 'long'])
  })

  it('serves clients before what nobody waits for', async () => {
    const { clock, served, pay } = make(steadyPlan(10_000))
    void pay('background', 20_000, 'background')
    await clock.advance(100)
    void pay('client', 20_000)
    await clock.advance(2_000)
    expect(served).toEqual(['client'])
    await clock.advance(2_000)
    expect(served).toEqual(['client', 'background'])
  })

  it('lets what was begun for nobody go first from the moment a client joins', async () => {
    const { bandwidth, clock, served, pay } = make(steadyPlan(10_000))
    let priority: 'client' | 'background' = 'background'
    void pay('other', 20_000, 'background')
    void bandwidth.pay(20_000, () => priority, never)!.then(() => served.push('joined'))
    priority = 'client'
    await clock.advance(2_100)
    expect(served).toEqual(['joined'])
  })

  it('changes its rate with somebody waiting', async () => {
    const { bandwidth, clock, served, pay } = make(steadyPlan(1000))
    void pay('bytes', 1_000_000)
    await clock.advance(1_000)
    bandwidth.setRate(steadyPlan(1_000_000))
    await clock.advance(1_000)
    expect(served).toEqual(['bytes'])
    void pay('more', 1e9)
    bandwidth.setRate(steadyPlan('unlimited'))
    await clock.advance(1)
    expect(served).toEqual(['bytes', 'more'])
  })

  it('lets go of those who leave', async () => {
    const { clock, served, pay } = make(steadyPlan(1000))
    const leaving = new AbortController()
    const left = pay('leaving', 1e9, 'client', leaving.signal)
    void pay('staying', 2_000)
    leaving.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    await clock.advance(2_200)
    expect(served).toEqual(['staying'])
    expect(clock.pausing).toBe(0)
  })

  it('never gives more than its rate and one burst, in any span, whoever asks', async () => {
    const wish = fc.record({
      pauseMs: fc.nat(500),
      bytes: fc.integer({ min: 1, max: 65_536 }),
      priority: fc.constantFrom('client' as const, 'background' as const),
    })
    const property = fc.asyncProperty(
      fc.integer({ min: 20_000, max: 1_000_000 }),
      fc.array(wish, { minLength: 1, maxLength: 12 }),
      async (rate, wishes) => {
        const clock = new FakeClock()
        const bandwidth = new Bandwidth('the line', steadyPlan(rate), clock)
        const given: { atMs: number; bytes: number }[] = []
        const note = (bytes: number) => given.push({ atMs: clock.steadyMs(), bytes })
        const all: Promise<unknown>[] = []
        for (const { pauseMs, bytes, priority } of wishes) {
          all.push((bandwidth.pay(bytes, priority, never) ?? Promise.resolve()).then(() => note(bytes)))
          await clock.advance(pauseMs)
        }
        const total = wishes.reduce((sum, { bytes }) => sum + bytes, 0)
        await clock.advance((total / rate) * 1000 + 1000)
        await Promise.all(all)
        let sum = 0
        for (const { atMs, bytes } of given) {
          sum += bytes
          expect(sum).toBeLessThanOrEqual((rate * (atMs + BURST_MS)) / 1000 + 1)
        }
        expect(sum).toBe(total)
      },
    )
    await fc.assert(property, { numRuns: 30 })
  })
})

describe('a closed line', () => {
  it('refuses background work, and says when it opens', () => {
    const { bandwidth } = make(nights('allow'), '2026-01-05T12:00:00Z')
    const refusal = bandwidth.refusal('background')
    expect(refusal).toBeInstanceOf(NotAsked)
    expect(refusal).toMatchObject({
      code: 'UPSTREAM_UNREACHABLE',
      retryAfterMs: 10 * 3_600_000,
      message: expect.stringContaining('2026-01-05T22:00:00.000Z'),
    })
  })

  it('lets clients through at the slowest rate, or refuses them, as configured', async () => {
    const { bandwidth, clock, served, pay } = make(nights('allow'), '2026-01-05T12:00:00Z')
    expect(bandwidth.refusal('client')).toBeUndefined()
    expect(bandwidth.now).toEqual({ limit: 'closed', changeMs: Date.parse('2026-01-05T22:00:00Z') })
    void pay('client', 20_000)
    await clock.advance(1_500)
    expect(served).toEqual([])
    await clock.advance(500)
    expect(served).toEqual(['client'])
    expect(make(nights('refuse')).bandwidth.refusal('client')).toMatchObject({ retryAfterMs: 10 * 3_600_000 })
  })

  it('opens and closes by itself, and then cuts what may not go on', async () => {
    const { bandwidth, clock, pay } = make(nights('refuse'), '2026-01-06T04:59:59Z')
    expect(bandwidth.refusal('background')).toBeUndefined()
    const cut = pay('client', 1e6)
    const outcome = expect(cut).rejects.toMatchObject({ retryAfterMs: 17 * 3_600_000 })
    await clock.advance(1_000)
    await outcome
    await clock.advance(17 * 3_600_000)
    expect(bandwidth.refusal('background')).toBeUndefined()
  })

  it('opens and closes when somebody sets the clock', () => {
    const { bandwidth, clock } = make(nights('refuse'), '2026-01-05T23:00:00Z')
    expect(bandwidth.refusal('client')).toBeUndefined()
    clock.setWall('2026-01-05T12:00:00Z')
    expect(bandwidth.refusal('client')).toBeDefined()
    clock.setWall('2026-01-05T22:00:00Z')
    expect(bandwidth.refusal('client')).toBeUndefined()
  })

  it('cuts background work when it is closed by hand, and lets clients go on', async () => {
    const { bandwidth, clock, served, pay } = make(steadyPlan(10_000))
    const cut = pay('background', 20_000, 'background')
    void pay('client', 20_000)
    bandwidth.setRate(nights('allow'))
    await expect(cut).rejects.toBeInstanceOf(NotAsked)
    await clock.advance(2_000)
    expect(served).toEqual(['client'])
  })
})

describe('a line', () => {
  const makeLine = (own: number | 'unlimited', total: number | 'unlimited') => {
    const clock = new FakeClock()
    const waits: number[] = []
    const totalBandwidth = new Bandwidth('the line', steadyPlan(total), clock)
    const line = (name: string) =>
      new Line({
        name,
        clock,
        counters: { ...noUpstreamCounters, waitedForRate: (_name, seconds) => waits.push(seconds) },
        bandwidth: new Bandwidth(name, steadyPlan(own), clock),
        totalBandwidth,
      })
    return { clock, line, waits }
  }

  it.each([
    [10_000, 'unlimited'],
    ['unlimited', 10_000],
    [10_000, 20_000],
    [20_000, 10_000],
  ] as const)('keeps to both rates, its own (%s) and that of all (%s), and counts the wait', async (own, total) => {
    const { clock, line, waits } = makeLine(own, total)
    const done = line('a').pay(101_000, 'client', never)!
    await clock.advance(9_900)
    expect(waits).toEqual([])
    await clock.advance(300)
    await done
    expect(waits).toHaveLength(1)
  })

  it('shares the rate of all with the others', async () => {
    const { clock, line, waits } = makeLine('unlimited', 10_000)
    void line('a').pay(50_000, 'client', never)
    void line('b').pay(50_000, 'client', never)
    await clock.advance(9_700)
    expect(waits).toEqual([])
    await clock.advance(300)
    expect(waits).toHaveLength(2)
  })

  it('waits without a limit for nothing', () => {
    expect(makeLine('unlimited', 'unlimited').line('a').pay(1e9, 'client', never)).toBeUndefined()
  })
})
