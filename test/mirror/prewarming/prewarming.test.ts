import { expect, it } from 'vitest'
import { parseWeeklyWindow } from '../../../src/parts/weekly-window.js'
import { GB, hours, MB, PrewarmingRig, policy } from './prewarming-rig.js'

/** What may come in the moment until it is noticed that something is over, and is not taken up at once when it begins. */
const MOMENT_BYTES = 30 * MB
const near = (bytes: number, expected: number) => expect(Math.abs(bytes - expected)).toBeLessThan(MOMENT_BYTES)

it('cuts what is under way when the window ends, and goes on with it in the next one, not beginning anew', async () => {
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T21:00:00Z',
    policies: [policy('nightly', { hours: hours('UTC', '22:00-23:00') })],
    sizes: { 1: 5.4 * GB },
    wanted: { nightly: [[1]] },
  })
  await rig.until('2026-01-05T21:59:00Z')
  expect(rig.arrivals).toEqual([])
  await rig.until('2026-01-06T12:00:00Z')
  near(rig.here(1), 3.6 * GB)
  await rig.until('2026-01-06T23:30:00Z')
  expect(rig.here(1)).toBe(5.4 * GB)
  expect(rig.story).toEqual(['1: 01-05T22:00 to 01-05T23:00', '1: 01-06T22:00 to 01-06T22:30'])
  expect(rig.arrivals[1]!.fromBytes).toBe(rig.arrivals[0]!.toBytes)
})

it.each([
  ['one hour long when summer time takes one', '2026-03-28T20:00:00Z', '2026-03-29T08:00:00Z', 1],
  ['three hours long when winter time gives one', '2026-10-24T20:00:00Z', '2026-10-25T08:00:00Z', 3],
])('has a window of two hours by the clock on the wall: %s', async (_what, start, morning, nightHours) => {
  const rig = await PrewarmingRig.start({
    start,
    policies: [policy('nightly', { hours: hours('Europe/Berlin', '01:30-03:30') })],
    sizes: { 1: 100 * GB },
    wanted: { nightly: [[1]] },
  })
  await rig.until(morning)
  near(rig.here(1), nightHours * 3.6 * GB)
})

it('keeps to the budget of a window, across restarts and clocks that are set back, and has a new one in the next', async () => {
  const window = hours('UTC', '22:00-23:00')
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T21:00:00Z',
    policies: [
      policy('nightly', { hours: window, budget: { bytes: GB, renewal: window } }),
      policy('free', { hours: hours('UTC', '22:30-23:00') }),
    ],
    sizes: { 1: 2.5 * GB, 2: GB },
    wanted: { nightly: [[1]], free: [[2]] },
  })
  await rig.until('2026-01-05T22:05:00Z')
  await rig.restart()
  await rig.until('2026-01-05T22:10:00Z')
  rig.clock.setWall('2026-01-05T22:01:00Z')
  await rig.until('2026-01-05T22:29:00Z')
  near(rig.here(1), GB)
  await rig.until('2026-01-06T21:00:00Z')
  near(rig.here(1), GB)
  expect(rig.here(2)).toBe(GB)
  await rig.until('2026-01-07T21:00:00Z')
  near(rig.here(1), 2 * GB)
  await rig.until('2026-01-08T21:00:00Z')
  expect(rig.here(1)).toBe(2.5 * GB)
})

it('fetches by priority, base first and once, and puts what cannot keep its deadline behind all that can', async () => {
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T12:00:00Z',
    policies: [policy('all'), policy('first', { priority: 1, deadline: hours('UTC', '13:00-14:00') })],
    sizes: { 1: 0.6 * GB, 2: 0.3 * GB, 3: 7.2 * GB, 4: 1.2 * GB, 5: 0.6 * GB },
    wanted: { first: [[1, 2], [3], [1, 4]], all: [[5]] },
  })
  await rig.until('2026-01-05T16:00:00Z')
  expect(rig.story).toEqual([
    '1: 01-05T12:00 to 01-05T12:10',
    '2: 01-05T12:10 to 01-05T12:15',
    '4: 01-05T12:15 to 01-05T12:35',
    // Where nothing is to be in time, nothing is late.
    '5: 01-05T12:35 to 01-05T12:45',
    '3: 01-05T12:45 to 01-05T14:45',
  ])
})

it('does what the plan says, when it says so', async () => {
  const night = hours('Europe/Berlin', '22:00-23:30')
  const rig = await PrewarmingRig.start({
    start: '2026-03-28T12:00:00Z',
    policies: [
      policy('nightly', { hours: night, budget: { bytes: 3 * GB, renewal: night } }),
      policy('early', {
        hours: hours('UTC', 'Sun 05:00-06:00', '20:50-21:10'),
        deadline: hours('UTC', 'Mon 07:00-08:00'),
      }),
    ],
    sizes: { 1: 0.9 * GB, 2: 2.8 * GB, 3: 1.5 * GB, 4: 0.7 * GB },
    wanted: { nightly: [[1, 2], [4]], early: [[1, 3], [2]] },
  })
  const { images } = rig.prewarming.standing!.plan
  const chains = [[1, 2], [4], [1, 3], [2]]
  expect(images.map(({ outcome }) => outcome)).toEqual(['comes', 'comes', 'comes', 'comes'])
  await rig.until('2026-03-30T12:00:00Z')
  const cameMs = (number: number) => Date.parse(rig.arrivals.findLast((arrival) => arrival.number === number)!.to)
  for (const [place, { doneMs }] of images.entries()) {
    const lived = Math.max(...chains[place]!.map(cameMs))
    // To notice that a window opens, and to take up what another one cut, costs some seconds each time.
    expect(lived).toBeGreaterThan(doneMs! - 10_000)
    expect(lived).toBeLessThan(doneMs! + 120_000)
  }
})

it('gives the line to a policy with an earlier turn when that opens, and goes on with what it left when that closes', async () => {
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T12:00:00Z',
    policies: [policy('hourly', { hours: hours('UTC', '12:30-13:00') }), policy('rest')],
    sizes: { 1: 3.6 * GB, 2: 3.6 * GB },
    wanted: { hourly: [[1]], rest: [[2]] },
  })
  await rig.until('2026-01-05T14:10:00Z')
  expect(rig.story).toEqual([
    '2: 01-05T12:00 to 01-05T12:30',
    '1: 01-05T12:30 to 01-05T13:00',
    '2: 01-05T13:00 to 01-05T13:30',
  ])
})

it('leaves the rest of a window alone when its run is cancelled, and goes on with the next', async () => {
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T22:10:00Z',
    policies: [policy('nightly', { hours: hours('UTC', '22:00-23:00') })],
    sizes: { 1: 3 * GB },
    wanted: { nightly: [[1]] },
  })
  await rig.until('2026-01-05T22:20:00Z')
  rig.prewarming.job!.cancel('an operator')
  await rig.until('2026-01-06T21:00:00Z')
  near(rig.here(1), 0.6 * GB)
  await rig.until('2026-01-06T23:00:00Z')
  expect(rig.here(1)).toBe(3 * GB)
})

it('goes on as soon as the line is open again: what was cut when it closed has not failed', async () => {
  const night = { ...parseWeeklyWindow('12:30-13:00')!, limit: 'closed' as const }
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T12:00:00Z',
    policies: [policy('all')],
    sizes: { 1: 3.6 * GB },
    wanted: { all: [[1]] },
    total: { timezone: 'UTC', windows: [night], otherwise: 'unlimited', whenClosed: 'allow' },
  })
  await rig.until('2026-01-05T12:45:00Z')
  expect(rig.prewarming.account(policy('all')).lastRun).toMatchObject({ failedFiles: 0 })
  await rig.until('2026-01-05T14:00:00Z')
  // The piece under way is lost.
  expect(rig.story).toEqual(['1: 01-05T12:00 to 01-05T12:29', '1: 01-05T13:00 to 01-05T13:30'])
})

it('tries again what failed, at ever longer intervals, and at least every hour', async () => {
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T12:00:00Z',
    policies: [policy('all')],
    sizes: { 1: MB },
    wanted: { all: [[1]] },
    broken: [1],
  })
  await rig.until('2026-01-05T18:00:00Z')
  const timesMs = rig.arrivals.map(({ from }) => Date.parse(from))
  const minutes = timesMs.slice(1).map((timeMs, place) => Math.floor((timeMs - timesMs[place]!) / 60_000))
  expect(minutes).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60, 60])
})

it('begins nothing that has no room beside what is wanted, and takes it up when there is some', async () => {
  let hasRoom = false
  const rig = await PrewarmingRig.start({
    start: '2026-01-05T12:00:00Z',
    policies: [policy('all')],
    sizes: { 1: 0.6 * GB },
    wanted: { all: [[1]] },
    hasRoom: () => hasRoom,
  })
  await rig.until('2026-01-05T12:10:00Z')
  expect(rig.arrivals).toEqual([])
  hasRoom = true
  await rig.until('2026-01-05T12:40:00Z')
  expect(rig.here(1)).toBe(0.6 * GB)
})
