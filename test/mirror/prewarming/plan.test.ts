import { describe, expect, it } from 'vitest'
import type { Uuid } from '../../../src/images/uuid.js'
import {
  type Goal,
  makePlan,
  type PlanQuestion,
  type WantedFile,
  type WantedImage,
} from '../../../src/mirror/prewarming/plan.js'
import { openingHours } from '../../../src/parts/opening-hours.js'
import { type RatePlan, steadyPlan } from '../../../src/parts/rate-plan.js'
import { parseWeeklyWindow } from '../../../src/parts/weekly-window.js'
import { uuid } from '../../images/manifests.js'
import { planByLiving } from './brute-force.js'

const GB = 1e9
const MBIT = 1e6 / 8
const HOUR_MS = 3_600_000

const at = (time: string) => Date.parse(time)
const hours = (timezone: string, ...windows: string[]) =>
  openingHours(
    timezone,
    windows.map((text) => parseWeeklyWindow(text)!),
  )
const ALWAYS = openingHours('UTC', [])
/** A day of which budgets and plans speak, for policies that never close. */
const MIDNIGHT = hours('UTC', '00:00-03:00')

function file(key: string, sizeBytes: number, missingBytes = sizeBytes): WantedFile {
  return { key, sizeBytes, missingBytes, offeredBy: ['far'] }
}

/** @param files of its whole chain, base first. */
function wanted(number: number, ...files: WantedFile[]): WantedImage {
  return { uuid: uuid(number), files, obstacle: undefined }
}

function goal(images: readonly WantedImage[], terms: Partial<Goal['terms']> = {}, policy = 'nightly'): Goal {
  return { policy, images, terms: { hours: ALWAYS, budget: undefined, deadlineMs: undefined, ...terms } }
}

function ask(
  goals: readonly Goal[],
  more: Partial<PlanQuestion> = {},
  rate: RatePlan = steadyPlan(20 * MBIT),
): PlanQuestion {
  return {
    goals,
    lines: { total: steadyPlan('unlimited'), upstreams: new Map([['far', rate]]) },
    roomBytes: undefined,
    staying: new Map(),
    nowMs: at('2026-01-05T12:00:00Z'),
    ...more,
  }
}

const outcomes = (question: PlanQuestion) => makePlan(question).images.map(({ outcome }) => outcome)
const done = (question: PlanQuestion) =>
  makePlan(question).images.map(({ doneMs }) => doneMs && new Date(Math.round(doneMs / 1000) * 1000).toISOString())

it('fetches what several images build on once, for the first of them', () => {
  const base = file('base', 5 * GB)
  const plan = makePlan(ask([goal([wanted(1, base, file('a', GB)), wanted(2, base, file('b', GB)), wanted(3, base)])]))
  expect(plan.images.map(({ fetchBytes }) => fetchBytes)).toEqual([6 * GB, GB, 0])
  expect(plan.fetchBytes).toBe(7 * GB)
  // 7 GB at 20 Mbit/s take 2,800 s.
  expect(plan.doneMs).toBe(at('2026-01-05T12:46:40Z'))
  expect(plan.images[2]).toMatchObject({ outcome: 'comes', startMs: undefined, doneMs: at('2026-01-05T12:33:20Z') })
})

it('counts of a file that was begun only the rest', () => {
  expect(makePlan(ask([goal([wanted(1, file('a', 10 * GB, GB))])]))).toMatchObject({
    fetchBytes: GB,
    doneMs: at('2026-01-05T12:06:40Z'),
  })
})

it('works in the windows only, and goes on with the next where one was too short', () => {
  const night = { hours: hours('Europe/Berlin', '22:00-05:00') }
  // A night has 7 hours: 63 GB. 100 GB take 11 h 6 min 40 s.
  expect(done(ask([goal([wanted(1, file('a', 100 * GB))], night)]))).toEqual(['2026-01-07T01:06:40.000Z'])
})

it.each([
  ['is short by the hour that summer time takes', '2026-03-28T20:00:00Z', '2026-03-29T21:00:00.000Z', 6],
  ['is longer by the hour that winter time gives', '2026-10-24T20:00:00Z', '2026-10-25T04:00:00.000Z', 8],
])('knows that the night %s', (_what, from, until, nightHours) => {
  const night = { hours: hours('Europe/Berlin', '22:00-05:00') }
  // As much as seven and a half hours bring.
  const bytes = 7.5 * 3600 * 20 * MBIT
  const nowMs = at(from)
  const spring = nightHours === 6
  const start = spring ? at('2026-03-28T21:00:00Z') : at('2026-10-24T20:00:00Z')
  const expected = spring
    ? at('2026-03-29T20:00:00Z') + 1.5 * HOUR_MS // The night before gave six hours, and the next begins at 22:00 summer time.
    : start + 7.5 * HOUR_MS
  expect(makePlan(ask([goal([wanted(1, file('a', bytes))], night)], { nowMs })).images[0]!.doneMs).toBe(expected)
  expect(expected).not.toBe(at(until))
})

it('spends no more than the budget in one window, and says when the rest comes', () => {
  const terms = {
    hours: hours('UTC', '22:00-05:00'),
    budget: { bytes: 9 * GB, leftBytes: 3 * GB, renewal: hours('UTC', '22:00-05:00') },
  }
  const nowMs = at('2026-01-05T23:00:00Z')
  // Tonight 3 GB are left (20 min), then 9 GB, then the last 3 GB in 20 min.
  expect(done(ask([goal([wanted(1, file('a', 15 * GB))], terms)], { nowMs }))).toEqual(['2026-01-07T22:20:00.000Z'])
})

it('spends the budget of a policy that never closes by days', () => {
  const terms = { budget: { bytes: 9 * GB, leftBytes: 9 * GB, renewal: MIDNIGHT } }
  expect(done(ask([goal([wanted(1, file('a', 9 * GB)), wanted(2, file('b', 9 * GB))], terms)]))).toEqual([
    '2026-01-05T13:00:00.000Z',
    '2026-01-06T01:00:00.000Z',
  ])
})

it('puts what cannot keep the deadline behind what can', () => {
  const terms = { deadlineMs: at('2026-01-05T14:00:00Z') }
  const question = ask([
    goal([wanted(1, file('a', 9 * GB)), wanted(2, file('b', 90 * GB)), wanted(3, file('c', 9 * GB))], terms),
  ])
  expect(outcomes(question)).toEqual(['comes', 'late', 'comes'])
  expect(done(question)).toEqual(['2026-01-05T13:00:00.000Z', '2026-01-06T00:00:00.000Z', '2026-01-05T14:00:00.000Z'])
})

it('leaves out what does not fit, whole images and the least valuable first', () => {
  const base = file('base', 4 * GB)
  const images = [
    wanted(1, base, file('a', GB)),
    wanted(2, file('b', 7 * GB)),
    wanted(3, base, file('c', GB)),
    wanted(4, file('d', 9 * GB)),
  ]
  const roomBytes = 10 * GB
  expect(outcomes(ask([goal(images)], { roomBytes }))).toEqual(['comes', 'no room', 'comes', 'no room'])
  // What is pinned takes its room before anybody else.
  const staying = new Map([['pinned', 5 * GB]])
  expect(outcomes(ask([goal(images)], { roomBytes, staying }))).toEqual(['comes', 'no room', 'no room', 'no room'])
  expect(outcomes(ask([goal(images)], { roomBytes, staying: new Map([['base', 4 * GB]]) }))).toEqual([
    'comes',
    'no room',
    'comes',
    'no room',
  ])
})

it('lets what is held give way to what is worth more, so that the wanted fit together', () => {
  const images = [wanted(1, file('new', 6 * GB)), wanted(2, file('old', 6 * GB, 0))]
  expect(outcomes(ask([goal(images)], { roomBytes: 10 * GB }))).toEqual(['comes', 'no room'])
})

it('says what cannot be had, and lets it hinder nobody', () => {
  const unknown = { uuid: uuid(1), files: [], obstacle: 'its origin is unknown' }
  expect(outcomes(ask([goal([unknown, wanted(2, file('a', GB)), wanted(3, file('b', GB, 0))])]))).toEqual([
    'not to be had',
    'comes',
    'held',
  ])
})

it('knows when nothing will ever come', () => {
  const never: RatePlan = { timezone: 'UTC', windows: [], otherwise: 'closed', whenClosed: 'refuse' }
  const plan = makePlan(ask([goal([wanted(1, file('a', GB))])], {}, never))
  expect(plan).toMatchObject({ doneMs: undefined, images: [{ outcome: 'never' }] })
})

it('uses another upstream while the first is closed', () => {
  const both = { ...file('a', 9 * GB), offeredBy: ['far', 'near'] }
  const upstreams = new Map<string, RatePlan>([
    [
      'far',
      { ...hours('UTC', '13:00-24:00'), windows: [{ days: [1], startMinute: 780, endMinute: 1440, limit: 20 * MBIT }] },
    ],
    ['near', steadyPlan(10 * MBIT)],
  ])
  const lines = { total: steadyPlan('unlimited'), upstreams }
  // An hour at 10 Mbit/s is 4.5 GB, then half an hour at 20.
  expect(done(ask([goal([wanted(1, both)])], { lines }))).toEqual(['2026-01-05T13:30:00.000Z'])
})

/** Any numbers, the same for the same seed. */
function dice(seed: number) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const upTo = (end: number) => Math.floor(next() * end)
  const oneOf = <Value>(...values: readonly Value[]) => values[upTo(values.length)]!
  return { upTo, oneOf, isHeads: (chance: number) => next() < chance }
}

const STARTS = ['2026-03-27T15:00:00Z', '2026-10-23T15:00:00Z', '2026-06-03T01:00:00Z', '2026-03-06T23:00:00Z']
const ZONES = ['Europe/Berlin', 'UTC', 'America/New_York', 'Australia/Lord_Howe']

/** Chains of up to four, shared by what builds on them; policies with and without windows, budgets and deadlines. */
function madeUp(seed: number, count: number, meanBytes: number): PlanQuestion {
  const { isHeads, oneOf, upTo } = dice(seed)
  const nowMs = at(oneOf(...STARTS))
  const zone = oneOf(...ZONES)
  const span = () =>
    `${String(upTo(24)).padStart(2, '0')}:${oneOf('00', '15', '30')}-${String(upTo(24)).padStart(2, '0')}:45`
  const days = () => oneOf('', '', 'Mon-Fri ', 'Sat,Sun ', 'Sun ')
  const window = () => parseWeeklyWindow(`${days()}${span()}`)!
  const line = (): RatePlan => ({
    timezone: zone,
    windows: [0, 1].map(() => ({ ...window(), limit: oneOf<'closed' | number>('closed', 3e6, 1e6) })),
    otherwise: oneOf(2e6, 5e5),
    whenClosed: 'refuse',
  })
  const upstreams = new Map([
    ['east', line()],
    ['west', line()],
  ])
  const made: { files: WantedFile[] }[] = []
  const images = Array.from({ length: count }, (_, index) => {
    const origin = index > 0 && isHeads(0.7) ? made[upTo(index)] : undefined
    const inherited = origin && origin.files.length < 4 ? origin.files : []
    const sizeBytes = 1 + upTo(2 * meanBytes)
    const own = {
      key: isHeads(0.02) ? 'the same everywhere' : `file ${index}`,
      sizeBytes,
      missingBytes: oneOf(sizeBytes, sizeBytes, Math.ceil(sizeBytes / 3), 0),
      offeredBy: oneOf(['east'], ['west'], ['west', 'east']),
    }
    const shared =
      own.key === 'the same everywhere'
        ? { ...own, sizeBytes: meanBytes, missingBytes: meanBytes, offeredBy: ['east'] }
        : own
    const image = {
      uuid: uuid(index) as Uuid,
      files: [...inherited, shared],
      obstacle: isHeads(0.02) ? 'unknown' : undefined,
    }
    made.push(image)
    return image
  })
  const goals = ['first', 'second', 'third'].map((policy) => {
    const hoursOf = isHeads(0.6) ? openingHours(zone, [window(), window()]) : ALWAYS
    const bytes = 1 + upTo(count * meanBytes * 0.2)
    const budget = isHeads(0.5)
      ? { bytes, leftBytes: upTo(bytes), renewal: hoursOf === ALWAYS ? MIDNIGHT : hoursOf }
      : undefined
    const deadlineMs = isHeads(0.6) ? nowMs + upTo(7 * 24 * 60) * 60_000 : undefined
    return { policy, terms: { hours: hoursOf, budget, deadlineMs }, images: images.filter(() => isHeads(0.5)) }
  })
  const roomBytes = isHeads(0.5) ? Math.floor(count * meanBytes * 0.6) : undefined
  return {
    goals,
    lines: { total: line(), upstreams },
    roomBytes,
    staying: new Map([['file 0', images[0]!.files[0]!.sizeBytes]]),
    nowMs,
  }
}

function expectAsLived(question: PlanQuestion, days: number): void {
  const plan = makePlan(question)
  const lived = planByLiving(question, days * 24 * 60)
  const beyond = question.nowMs + days * 24 * HOUR_MS
  const told = plan.images.map(({ doneMs, outcome, uuid }) => {
    const isSeen = doneMs === undefined || doneMs <= beyond
    return {
      uuid,
      outcome: isSeen && outcome !== 'never' ? outcome : 'later',
      at: isSeen && doneMs ? Math.round(doneMs / 100) : undefined,
    }
  })
  expect(told).toEqual(
    lived.map(({ doneMs, outcome, uuid }) => ({
      uuid,
      outcome: outcome ?? 'later',
      at: doneMs && Math.round(doneMs / 100),
    })),
  )
}

describe('is what living through it minute by minute gives', () => {
  const seed = Number(process.env.PLAN_SEED ?? Date.now() % 1e9)
  it.each(Array.from({ length: 12 }, (_, index) => seed + index))('for forty images (PLAN_SEED=%i)', (each) => {
    expectAsLived(madeUp(each, 40, 4e9), 12)
  })

  it(`for 5,000 images (PLAN_SEED=${seed})`, () => {
    expectAsLived(madeUp(seed, 5000, 2e8), 14)
  })
})
