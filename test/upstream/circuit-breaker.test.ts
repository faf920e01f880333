import { describe, expect, it } from 'vitest'
import { CircuitBreaker, FAILURES_LIMIT, LAST_RESORT_MS } from '../../src/upstream/circuit-breaker.js'
import { FakeClock } from '../support/fake-clock.js'

function makeBreaker(random: () => number = () => 0.999) {
  const clock = new FakeClock()
  const turns: string[] = []
  const breaker = new CircuitBreaker({ clock, random, onTurn: (state) => turns.push(state) })
  const fail = (times = 1) => {
    for (let i = 0; i < times; i++) breaker.enter()!.failed()
  }
  return { breaker, clock, turns, fail }
}

describe('a circuit breaker', () => {
  it('opens after failures in a row, and not before', () => {
    const { breaker, fail } = makeBreaker()
    fail(FAILURES_LIMIT - 1)
    breaker.enter()!.succeeded()
    fail(FAILURES_LIMIT - 1)
    expect(breaker.state).toBe('closed')
    fail()
    expect(breaker).toMatchObject({ state: 'open', failures: FAILURES_LIMIT })
    expect(breaker.enter()).toBeUndefined()
  })

  it('lets one probe through after a while, and closes when it succeeds', async () => {
    const { breaker, clock, turns, fail } = makeBreaker()
    fail(FAILURES_LIMIT)
    await clock.advance(breaker.probeInMs! - 1)
    expect(breaker.enter()).toBeUndefined()
    await clock.advance(1)
    const probe = breaker.enter()!
    expect(breaker.enter()).toBeUndefined()
    expect(breaker.enter(true)).toBeUndefined()
    probe.succeeded()
    expect(breaker).toMatchObject({ state: 'closed', failures: 0, probeInMs: undefined })
    expect(turns).toEqual(['open', 'half-open', 'closed'])
  })

  it('waits longer after each probe that fails, up to a minute, and anew after a success', async () => {
    const { breaker, clock, fail } = makeBreaker()
    fail(FAILURES_LIMIT)
    const waits: number[] = []
    for (let i = 0; i < 6; i++) {
      waits.push(Math.round(breaker.probeInMs! / 1000))
      await clock.advance(breaker.probeInMs!)
      fail()
    }
    expect(waits).toEqual([5, 10, 20, 40, 60, 60])
    await clock.advance(breaker.probeInMs!)
    breaker.enter()!.succeeded()
    fail(FAILURES_LIMIT)
    expect(Math.round(breaker.probeInMs! / 1000)).toBe(5)
  })

  it('takes up to half of the wait off at random', () => {
    const { breaker, fail } = makeBreaker(() => 0)
    fail(FAILURES_LIMIT)
    expect(breaker.probeInMs).toBe(2500)
  })

  it('lets a client who has nobody else probe early, but not all the time', async () => {
    const { breaker, clock, fail } = makeBreaker()
    fail(FAILURES_LIMIT)
    for (let i = 0; i < 3; i++) {
      await clock.advance(breaker.probeInMs!)
      fail()
    }
    expect(breaker.probeInMs).toBeGreaterThan(2 * LAST_RESORT_MS)
    expect(breaker.enter(true)).toBeUndefined()
    await clock.advance(LAST_RESORT_MS)
    expect(breaker.enter()).toBeUndefined()
    breaker.enter(true)!.failed()
    expect(breaker.enter(true)).toBeUndefined()
  })

  it('learns nothing from a probe that left, and lets the next one try', async () => {
    const { breaker, clock, fail } = makeBreaker()
    fail(FAILURES_LIMIT)
    await clock.advance(breaker.probeInMs!)
    breaker.enter()!.left()
    expect(breaker.state).toBe('open')
    breaker.enter()!.succeeded()
    expect(breaker.state).toBe('closed')
  })

  it('opens again at once when an answer turns out to be nothing', async () => {
    const { breaker, clock, fail } = makeBreaker()
    fail(FAILURES_LIMIT)
    await clock.advance(breaker.probeInMs!)
    const probe = breaker.enter()!
    probe.answered()
    expect(breaker.state).toBe('closed')
    probe.failed()
    expect(breaker.state).toBe('open')
    expect(breaker.probeInMs).toBeGreaterThan(9_000)
  })

  it('hears only good news of calls that began before it opened', () => {
    const { breaker, fail } = makeBreaker()
    const [late, later] = [breaker.enter()!, breaker.enter()!]
    fail(FAILURES_LIMIT)
    late.failed()
    expect(breaker.failures).toBe(FAILURES_LIMIT)
    later.succeeded()
    expect(breaker.state).toBe('closed')
  })

  it('hears the end of a call once', () => {
    const { breaker } = makeBreaker()
    const call = breaker.enter()!
    for (let i = 0; i < FAILURES_LIMIT; i++) call.failed()
    expect(breaker.failures).toBe(1)
  })
})
