import { randomBytes } from 'node:crypto'
import { expect, it, onTestFinished } from 'vitest'
import type { JobDetails, JobSummary } from '../../../src/mirror/jobs.js'
import type { Explanation } from '../../../src/mirror/operations/explanation.js'
import type { PlanAnswer, PrewarmAnswer } from '../../../src/mirror/operations/prewarm-answers.js'
import { uuid } from '../../images/manifests.js'
import { makeImage } from '../../support/made-up-images.js'
import { type RunningMirror, startMirror, until } from '../../support/running-mirror.js'
import { temporaryDirectory } from '../../support/temporary.js'
import { startSdcImgapi } from '../../support/upstreams/sdc-imgapi.js'

const KIB = 1024
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
/** A window that is not now, nor soon. */
const ANOTHER_DAY = `${DAYS[(new Date().getUTCDay() + 3) % 7]} 10:00-11:00`

interface Wish {
  readonly name?: string
  readonly version?: string
  readonly origin?: number
  readonly sizeBytes?: number
  readonly bytes?: Buffer
}

async function upstreamWith(images: Readonly<Record<number, Wish>>, broken: readonly number[] = []) {
  const asked: string[] = []
  const server = await startSdcImgapi({
    images: Object.entries(images).map(
      ([number, { origin, sizeBytes = 64 * KIB, bytes = randomBytes(sizeBytes), ...rest }]) =>
        makeImage(
          { uuid: uuid(Number(number)), name: 'base', ...rest, ...(origin !== undefined && { origin: uuid(origin) }) },
          bytes,
        ),
    ),
    intercept: (request, response) => {
      const [, file] = /^\/images\/([^/]+)\/file/.exec(request.url ?? '') ?? []
      if (file !== undefined) asked.push(file)
      if (!broken.some((number) => uuid(number) === file)) return false
      response
        .writeHead(404, { 'content-type': 'application/json' })
        .end('{"code":"ResourceNotFound","message":"gone"}')
      return true
    },
  })
  onTestFinished(() => server.close())
  return { url: server.url, asked }
}

async function call<Answer>({ operatorUrl }: RunningMirror, path: string, body?: object): Promise<Answer> {
  const init = body && { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
  const response = await fetch(`${operatorUrl}${path}`, init)
  expect(response.status, await response.clone().text()).toBeLessThan(300)
  return (await response.json()) as Answer
}

const policyOf = async (mirror: RunningMirror) => (await call<PrewarmAnswer>(mirror, '/api/prewarm')).policies[0]!

async function ended(mirror: RunningMirror, job: JobSummary): Promise<JobDetails> {
  const look = () => call<JobDetails>(mirror, `/api/jobs/${job.id}`)
  await until(async () => (await look()).state !== 'running')
  return await look()
}

it('fetches what is wanted before anyone asks, base first, and says so in the ledger', async () => {
  const { url, asked } = await upstreamWith({
    1: { name: 'seed', version: '1.0.0' },
    2: { version: '2.0.0', origin: 1 },
    3: { version: '3.0.0' },
    4: { version: '1.0.0' },
  })
  const mirror = await startMirror({
    upstreams: [{ name: 'far', url }],
    prewarm: [{ name: 'nightly', match: ['name=base'], latest: 2 }],
  })
  await until(async () => (await mirror.status()).imagesHeld === 3)
  expect(asked).toEqual([uuid(3), uuid(1), uuid(2)])
  await until(async () => (await policyOf(mirror)).state === 'complete')
  expect(await policyOf(mirror)).toMatchObject({
    images: { wanted: 2, held: 2, comes: 0 },
    missingBytes: 0,
    lastRun: { fetchedFiles: 3, fetchedBytes: 3 * 64 * KIB, failedFiles: 0 },
  })
  const { items } = await call<{ items: { kind: string; facts: { wantedBy?: string } }[] }>(mirror, '/api/audit/log')
  const pulled = items.filter(({ kind }) => kind === 'pulled')
  expect(pulled.map(({ facts }) => facts.wantedBy)).toEqual(['prewarm:nightly', 'prewarm:nightly', 'prewarm:nightly'])
})

it('fetches a file that two images have once, and holds both of them', async () => {
  const bytes = randomBytes(64 * KIB)
  const { url, asked } = await upstreamWith({ 1: { bytes }, 2: { bytes } })
  const mirror = await startMirror({
    upstreams: [{ name: 'far', url }],
    prewarm: [{ name: 'all', match: ['name=base'] }],
  })
  await until(async () => (await mirror.status()).imagesHeld === 2)
  expect(asked).toHaveLength(1)
})

it('tries what fails later, and lets it hinder nobody', async () => {
  const { url } = await upstreamWith({ 1: { name: 'one' }, 2: { name: 'two' }, 3: { name: 'three', origin: 1 } }, [1])
  const mirror = await startMirror({
    upstreams: [{ name: 'far', url }],
    prewarm: [{ name: 'all', match: ['os=smartos'] }],
  })
  await until(async () => (await policyOf(mirror)).lastRun !== null)
  expect((await policyOf(mirror)).images).toMatchObject({ wanted: 3, held: 1, comes: 2 })
  await until(async () => (await policyOf(mirror)).state === 'held up')
  expect((await policyOf(mirror)).lastRun).toMatchObject({ fetchedFiles: 1, failedFiles: 1 })
})

it('waits for its window, tells what would come, and runs at once when an operator wants it', async () => {
  const { url, asked } = await upstreamWith({ 1: {}, 2: { version: '2.0.0', origin: 1 } })
  const mirror = await startMirror({
    upstreams: [{ name: 'far', url, rate: '1MB/s' }],
    prewarm: [{ name: 'weekly', match: ['name=base'], windows: [ANOTHER_DAY], deadline: '06:00' }],
  })
  await mirror.settled()
  const plan = await call<PlanAnswer>(mirror, '/api/plan', {})
  expect(plan).toMatchObject({
    fetchBytes: 128 * KIB,
    isTimed: true,
    policies: [{ name: 'weekly', isKept: false }],
    images: [
      { uuid: uuid(2), outcome: 'late', chain: 2, fetchBytes: 128 * KIB },
      { uuid: uuid(1), outcome: 'late', fetchBytes: 0 },
    ],
  })
  expect(new Date(plan.doneMs!).toISOString()).toContain('T10:00:00')
  expect(plan.warnings.join()).toContain('weekly: 2 images cannot be here by the deadline')
  expect(asked).toEqual([])
  expect(await call<PlanAnswer>(mirror, '/api/plan', { match: ['version=1.0.0'], rate: '8kbit/s' })).toMatchObject({
    fetchBytes: 64 * KIB,
    policies: [{ name: 'as asked', isKept: true }],
  })
  const job = await ended(mirror, await call<JobSummary>(mirror, '/api/prewarm', { policies: ['weekly'] }))
  expect(job).toMatchObject({ state: 'done', result: { policies: [{ name: 'weekly', fetchedFiles: 2 }] } })
  expect(asked).toEqual([uuid(1), uuid(2)])
  const explained = await call<Explanation>(mirror, `/api/explain/${uuid(1)}`)
  expect(explained.words.join('\n')).toContain(
    `The prewarm policy weekly wants it here for itself: all of that is here.`,
  )
})

it('spends no more than its budget, keeps what is half here, and counts what is spent across a restart', async () => {
  const data = await temporaryDirectory()
  const { url } = await upstreamWith({ 1: { sizeBytes: 3 * 1024 * KIB } })
  const settings = {
    data,
    upstreams: [{ name: 'far', url, rate: '2MB/s' }],
    prewarm: [{ name: 'daily', match: ['name=base'], budget: '1MiB' }],
  }
  const first = await startMirror(settings)
  await until(async () => (await policyOf(first)).state === 'spent')
  await first.close()
  const second = await startMirror(settings)
  await second.settled()
  const { budget, images, missingBytes, state } = await policyOf(second)
  expect({ images: images.held, state }).toEqual({ images: 0, state: 'spent' })
  expect(budget!.spentBytes).toBeGreaterThanOrEqual(1024 * KIB)
  // What came in the moment until it was noticed is little.
  expect(budget!.spentBytes).toBeLessThan(2048 * KIB)
  // Disks count by blocks, and of what came last not all is counted.
  expect(Math.abs(missingBytes + budget!.spentBytes - 3 * 1024 * KIB)).toBeLessThan(256 * KIB)
})

it('makes room by what nobody wants, and never by what is wanted', async () => {
  const { url } = await upstreamWith({
    1: { name: 'old', sizeBytes: 600 * KIB },
    2: { name: 'base', version: '3.0.0', sizeBytes: 400 * KIB },
    3: { name: 'base', version: '2.0.0', sizeBytes: 400 * KIB },
    4: { name: 'base', version: '1.0.0', sizeBytes: 400 * KIB },
  })
  const mirror = await startMirror({
    quota: '1MiB',
    upstreams: [{ name: 'far', url }],
    prewarm: [{ name: 'weekly', match: ['name=base'], windows: [ANOTHER_DAY] }],
  })
  await mirror.settled()
  await (await fetch(`${mirror.url}/images/${uuid(1)}/file`)).arrayBuffer()
  await until(async () => (await mirror.status()).imagesHeld === 1)
  const plan = await call<PlanAnswer>(mirror, '/api/plan', {})
  expect(plan.images.map(({ outcome }) => outcome)).toEqual(['comes', 'comes', 'no room'])
  expect(plan.evicted).toMatchObject([{ uuid: uuid(1), name: 'old' }])
  for (let round = 0; round < 2; round++) {
    await ended(mirror, await call<JobSummary>(mirror, '/api/prewarm', {}))
    expect(await policyOf(mirror)).toMatchObject({ state: 'short', images: { wanted: 3, held: 2, noRoom: 1 } })
  }
})
