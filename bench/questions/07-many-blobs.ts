import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { rounded } from '../figures.js'
import type { Bench, Result } from '../question.js'
import { LAID_DOWN_BYTES, layDownBlobs } from '../servers/laid-down-blobs.js'
import { type BenchedMirror, startMirror } from '../servers/mirror.js'

export const question = 'What do many blobs cost?'
export const wish =
  'a start, letting go and scrubbing that are no worse with 1,000,000 blobs than their number explains'

const COUNTS = [10_000, 1_000_000]
const QUICK_COUNTS = [500, 2000]
const EVICTED = 100
const SCRUB_MS = 8000
const QUICK_SCRUB_MS = 3000
/** So many times longer a silence may be, of what the number explains, and still be called linear. */
const LINEAR = 1.5

interface Cost {
  readonly count: number
  readonly layDownSeconds: number
  readonly startSeconds: number
  readonly startCpuSeconds: number
  readonly residentBytes: number
  readonly statusSeconds: number
  readonly planSeconds: number
  readonly evictSeconds: number
  readonly evicted: number
  readonly evictSilenceMs: number
  readonly scrubbedPerSecond: number
  readonly scrubSilenceMs: number
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, say, use } = bench
  const upstream = use(await startEmptyServer())
  const costs: Cost[] = []
  for (const count of isQuick ? QUICK_COUNTS : COUNTS) {
    say(`${count} blobs`)
    costs.push(await measure(join(directory, String(count)), count, upstream.url, isQuick))
  }
  const [few, many] = costs as [Cost, Cost]
  const times = many.count / few.count
  const seconds = (value: number) => `${rounded(value)} s`
  const ms = (value: number) => `${rounded(value)} ms`
  const linear = (what: string, of: (cost: Cost) => number) => ({
    wish: `${what}: at most linear from ${few.count} to ${many.count}`,
    found: `${rounded(of(many) / of(few))} times for ${times} times as many`,
    isMet: of(many) / of(few) <= LINEAR * times,
  })
  const slowdown = few.scrubbedPerSecond / many.scrubbedPerSecond
  return {
    tables: [
      {
        columns: [
          'blobs',
          'laid down in',
          'start after SIGKILL',
          'CPU',
          'resident',
          'status',
          'plan',
          `let go of ${EVICTED}`,
          'silence',
        ],
        rows: costs.map((cost) => [
          String(cost.count),
          seconds(cost.layDownSeconds),
          seconds(cost.startSeconds),
          seconds(cost.startCpuSeconds),
          `${rounded(cost.residentBytes / 2 ** 20)} MiB`,
          seconds(cost.statusSeconds),
          seconds(cost.planSeconds),
          seconds(cost.evictSeconds),
          ms(cost.evictSilenceMs),
        ]),
      },
      {
        columns: ['blobs', 'scrubbed a second', 'silence'],
        rows: costs.map((cost) => [String(cost.count), rounded(cost.scrubbedPerSecond), ms(cost.scrubSilenceMs)]),
      },
    ],
    verdicts: [
      linear('start after SIGKILL', ({ startSeconds }) => startSeconds),
      linear('letting go', ({ evictSeconds }) => evictSeconds),
      {
        wish: 'scrubbing: as many a second, or half',
        found: `${rounded(1 / slowdown)} of what it is with ${few.count}`,
        isMet: slowdown <= 2,
      },
    ],
    checks: [
      { what: 'as many were let go of as were to be', isRight: costs.every(({ evicted }) => evicted === EVICTED) },
    ],
    notes: [
      'Blobs of 8 bytes that are no image\'s, laid down without fsync, with their fingerprints and their index. "plan" says what would leave, "silence" is the longest that /healthz took meanwhile: nobody is answered while the event loop is busy. Scrubbed with `every: 1s`, so that one blob follows the other.',
    ],
  }
}

async function measure(directory: string, count: number, upstreamUrl: string, isQuick: boolean): Promise<Cost> {
  const settings = { upstreams: [{ name: 'empty', url: upstreamUrl }] }
  // Makes the directory.
  await startMirror(directory, settings).then((mirror) => mirror.close())
  const layMs = performance.now()
  await layDownBlobs(join(directory, 'data'), count)
  const layDownSeconds = (performance.now() - layMs) / 1000

  const first = await startMirror(directory, settings)
  const kept = await measureEviction(first).finally(() => first.process.kill())

  const startMs = performance.now()
  const again = await startMirror(directory, { ...settings, scrub: { every: '1s', rate: '1GB/s' } })
  const startSeconds = (performance.now() - startMs) / 1000
  const startCpuSeconds = await again.process.cpuSeconds()
  const scrub = await measureScrub(again, isQuick ? QUICK_SCRUB_MS : SCRUB_MS).finally(() => again.process.kill())
  return { count, layDownSeconds, startSeconds, startCpuSeconds, ...kept, ...scrub }
}

async function measureEviction(mirror: BenchedMirror) {
  const residentBytes = await mirror.process.residentBytes()
  const bytes = EVICTED * LAID_DOWN_BYTES
  const status = await timed(async () => void (await blobsKept(mirror)))
  const plan = await timed(() => vacuum(mirror, { bytes, dryRun: true }))
  const before = await blobsKept(mirror)
  const silence = watchSilence(mirror)
  const evict = await timed(() => vacuum(mirror, { bytes }))
  const evictSilenceMs = await silence.end()
  const evicted = before - (await blobsKept(mirror))
  return { residentBytes, statusSeconds: status, planSeconds: plan, evictSeconds: evict, evictSilenceMs, evicted }
}

async function measureScrub(mirror: BenchedMirror, forMs: number) {
  const silence = watchSilence(mirror)
  const startMs = performance.now()
  const before = await blobsScrubbed(mirror)
  await wait(forMs)
  const read = (await blobsScrubbed(mirror)) - before
  const seconds = (performance.now() - startMs) / 1000
  return { scrubbedPerSecond: read / seconds, scrubSilenceMs: await silence.end() }
}

async function vacuum({ operatorUrl }: BenchedMirror, body: object): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${operatorUrl}/api/vacuum`, { method: 'POST', headers, body: JSON.stringify(body) })
  if (!answer.ok) throw new Error(`POST /api/vacuum: ${answer.status} ${await answer.text()}`)
  await answer.text()
}

async function blobsKept({ operatorUrl }: BenchedMirror): Promise<number> {
  const { blobsKept } = (await (await fetch(`${operatorUrl}/status`)).json()) as { readonly blobsKept: number }
  return blobsKept
}

async function blobsScrubbed({ operatorUrl }: BenchedMirror): Promise<number> {
  const status = (await (await fetch(`${operatorUrl}/status`)).json()) as {
    readonly keeping: { readonly scrub: { readonly blobsRead: number } }
  }
  return status.keeping.scrub.blobsRead
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await work()
  return (performance.now() - startMs) / 1000
}

/** Asks whether it lives, again and again; `end` answers the longest that took, in milliseconds. */
function watchSilence({ operatorUrl }: BenchedMirror): { end(): Promise<number> } {
  let [isOver, longestMs] = [false, 0]
  const watching = (async () => {
    while (!isOver) {
      const startMs = performance.now()
      await fetch(`${operatorUrl}/healthz`).then((answer) => answer.text())
      longestMs = Math.max(longestMs, performance.now() - startMs)
      await wait(10)
    }
  })()
  return {
    async end() {
      isOver = true
      await watching
      return longestMs
    },
  }
}

/** An upstream that has nothing. */
async function startEmptyServer() {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(request.url?.startsWith('/ping') ? '{"ping":"pong"}' : '[]')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
