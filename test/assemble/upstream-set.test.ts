import { setTimeout as wait } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { UpstreamSet } from '../../src/assemble/upstream-set.js'
import { type Config, loadConfig } from '../../src/config.js'
import { isMirrorError } from '../../src/errors.js'
import { deferred } from '../../src/parts/deferred.js'
import { silentLog } from '../../src/parts/log.js'
import { steadyPlan } from '../../src/parts/rate-plan.js'
import { makeUpstream } from '../../src/upstream/make-upstream.js'
import { makeImage } from '../support/made-up-images.js'
import { until } from '../support/running-mirror.js'
import { startSdcImgapi } from '../support/upstreams/sdc-imgapi.js'
import { startUpstream } from '../support/upstreams/start-upstream.js'

const configOf = (upstreams: object[]): Promise<Config> =>
  loadConfig({
    path: '/etc/mirror.yaml',
    text: JSON.stringify({ upstreams }),
    environment: {},
    readFile: async () => '',
  })

function makeSet() {
  const set = new UpstreamSet({
    make: ({ connections, ...upstream }, { limits, maxAncestry }) =>
      makeUpstream({
        ...{
          ...upstream,
          key: undefined,
          password: undefined,
          dockerConfig: undefined,
          connections,
          limits,
          maxAncestry,
        },
        ...{ environment: {}, version: '1', log: silentLog },
      }),
    log: silentLog,
    lingerMs: 1,
  })
  const take = async (upstreams: object[], without: () => Promise<void> = async () => {}) => {
    const prepared = await set.prepare(await configOf(upstreams))
    prepared.commit(without)
    return prepared.all
  }
  return { set, take }
}

it('keeps an upstream that has become another one until no download may ask it any more', async () => {
  const { url } = await startUpstream({ images: [makeImage()] })
  const { set, take } = makeSet()
  const [first] = await take([{ name: 'one', url }])
  // Another rate, or another place in the order, makes it no other upstream.
  const [second, same] = await take([
    { name: 'two', url },
    { name: 'one', url, rate: '1MB/s', voice: 'both' },
  ])
  expect(same).toBe(first)
  expect(first!.health().rate.limit).toBe(1_000_000)
  expect(second).not.toBe(first)
  // What an operator has set meanwhile holds, as long as the configured one is the same.
  first!.setRate(steadyPlan(5_000))
  await take([{ name: 'one', url, rate: '1MB/s' }])
  expect(first!.health().rate.limit).toBe(5_000)
  await take([{ name: 'one', url, rate: '2MB/s' }])
  expect(first!.health().rate.limit).toBe(2_000_000)

  const downloads = deferred<void>()
  const [changed] = await take([{ name: 'one', url, exclude: ['name=x'] }], () => downloads.promise)
  expect(changed).not.toBe(first)
  const check = () => first!.check(AbortSignal.timeout(5_000))
  await wait(50)
  expect(await check()).toMatch(/^IMGAPI/)
  downloads.resolve()
  await until(() =>
    check().then(
      () => false,
      () => true,
    ),
  )
  await expect(check()).rejects.toMatchObject({ code: 'CLOSING' })
  await set.close()
})

it('and until whoever asks it something has the answer', async () => {
  const [asked, answered] = [deferred<void>(), deferred<void>()]
  const upstream = await startSdcImgapi({
    images: [makeImage()],
    intercept: (request, response) => {
      if (request.url !== '/ping') return false
      asked.resolve()
      void answered.promise.then(() => response.end('{"ping":"pong"}'))
      return true
    },
  })
  onTestFinished(() => upstream.close())
  const { set, take } = makeSet()
  const [first] = await take([{ name: 'one', url: upstream.url }])
  const answer = first!.check(AbortSignal.timeout(30_000))
  await asked.promise
  await take([])
  await wait(50)
  answered.resolve()
  expect(await answer).toMatch(/^IMGAPI/)
  await until(() =>
    first!.check(AbortSignal.timeout(5_000)).then(
      () => false,
      (error) => isMirrorError(error, 'CLOSING'),
    ),
  )
  await set.close()
})
