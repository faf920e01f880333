import { expect, it } from 'vitest'
import { MirrorError } from '../../src/errors.js'
import { type JobDetails, Jobs, type JobsOptions } from '../../src/mirror/jobs.js'
import { deferred } from '../../src/parts/deferred.js'
import { silentLog } from '../../src/parts/log.js'

const jobsWith = (options: Partial<JobsOptions> = {}) => new Jobs({ log: silentLog, ...options })
const request = { kind: 'import', title: 'import of everything', by: 'a test' }
const forever = new AbortController().signal

it('adds up what its items have done, and says how it ended', async () => {
  const jobs = jobsWith()
  const job = jobs.start(request, async ({ item }) => {
    item('base', { sizeBytes: 100, doneBytes: 40, state: 'running' })
    item('leaf', { sizeBytes: 11 })
    item('base', { doneBytes: 100, state: 'done' })
    return { pulled: 1 }
  })
  await job.ended
  expect(jobs.find(job.id).details()).toMatchObject({
    ...request,
    state: 'done',
    totalBytes: 111,
    doneBytes: 100,
    itemCount: 2,
    itemsEnded: 1,
    error: null,
    result: { pulled: 1 },
    items: [
      { name: 'base', state: 'done', sizeBytes: 100, doneBytes: 100 },
      { name: 'leaf', state: 'waiting', sizeBytes: 11, doneBytes: 0 },
    ],
  })
})

it('tells those who follow what has changed, and at last how it ended', async () => {
  const jobs = jobsWith()
  const goOn = deferred<void>()
  const job = jobs.start(request, async ({ item }) => {
    item('one', { sizeBytes: 1 })
    item('two', { sizeBytes: 1 })
    await goOn.promise
    item('two', { doneBytes: 1, state: 'done' })
  })
  const told: JobDetails[] = []
  for await (const event of job.follow(forever)) {
    told.push(event)
    goOn.resolve()
  }
  expect(told[0]!.items.map(({ name }) => name)).toEqual(['one', 'two'])
  expect(told.slice(1).flatMap(({ items }) => items)).toMatchObject([{ name: 'two', state: 'done' }])
  expect(told.map(({ state }) => state)).toEqual(['running', ...told.slice(2).map(() => 'running'), 'done'])
})

it('stops telling those who have left', async () => {
  const jobs = jobsWith()
  const job = jobs.start(request, async ({ signal }) => {
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  })
  const leaving = new AbortController()
  const events = job.follow(leaving.signal)
  await events.next()
  const waiting = events.next()
  leaving.abort()
  expect((await waiting).done).toBe(true)
  await jobs.close()
})

it('is cancelled when somebody says so, and says who did', async () => {
  const jobs = jobsWith()
  const job = jobs.start(request, async ({ signal }) => {
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  })
  job.cancel('ada')
  await job.ended
  expect(job.summary()).toMatchObject({ state: 'cancelled', error: { message: 'cancelled by ada' } })
  expect(() => job.cancel('ada')).toThrow(/has ended already/)
})

it('fails with the message of a failure we expect, and keeps that of a bug for the log', async () => {
  const jobs = jobsWith()
  const expected = jobs.start(request, async () => {
    throw new MirrorError('STORE_FULL', 'no room for it')
  })
  const bug = jobs.start(request, async () => {
    throw new TypeError('secret internals')
  })
  await Promise.all([expected.ended, bug.ended])
  expect(expected.summary()).toMatchObject({
    state: 'failed',
    error: { code: 'STORE_FULL', message: 'no room for it' },
  })
  expect(JSON.stringify(bug.summary())).not.toContain('secret')
})

it('forgets the oldest that have ended, begins no more than it may, and ends all when it closes', async () => {
  const jobs = jobsWith({ mostRemembered: 2, mostRunning: 2 })
  const ended: string[] = []
  for (let n = 0; n < 4; n++) {
    const job = jobs.start(request, async () => n)
    await job.ended
    ended.push(job.id)
  }
  await expect.poll(() => jobs.list().length).toBe(2)
  expect(jobs.list().map(({ id }) => id)).toEqual([ended[3], ended[2]])
  expect(() => jobs.find(ended[0]!)).toThrow(/there is no job/)
  const endless = () =>
    jobs.start(
      request,
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    )
  const [one] = [endless(), endless()]
  expect(endless).toThrow(/2 jobs are running already/)
  await jobs.close()
  expect(one.summary()).toMatchObject({ state: 'failed', error: { code: 'CLOSING' } })
  expect(endless).toThrow(/is closing/)
})
