import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { median, rounded, spread } from '../figures.js'
import { type Answered, askInTurn } from '../load/ask-again.js'
import type { Bench, Result } from '../question.js'
import { type BenchedMirror, startMirror } from '../servers/mirror.js'
import { startNginx } from '../servers/nginx.js'

export const question = 'What do many manifests cost?'
export const wish = 'flat for one of them, linear for all of them, from 1,000 to 100,000'

const COUNTS = [1000, 10_000, 100_000]
const QUICK_COUNTS = [100, 1000]
/** Linear, with room for what a machine does besides. */
const LINEAR = 1.5
const FLAT = 2

interface Cost {
  readonly count: number
  readonly firstStartSeconds: number
  readonly restartSeconds: number
  readonly residentBytes: number
  readonly refreshSeconds: readonly number[]
  readonly one: Answered
  /** What each request for one cost the server: hardly depends on who else uses the machine. */
  readonly oneCpuMs: number
  readonly named: Answered
  readonly filtered: Answered
  readonly all: Answered
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, say } = bench
  const none = await measure(join(directory, 'none'), 1, isQuick)
  const costs: Cost[] = []
  for (const count of isQuick ? QUICK_COUNTS : COUNTS) {
    say(`${count} manifests`)
    costs.push(await measure(join(directory, String(count)), count, isQuick))
  }
  const bytesEach = (cost: Cost) => (cost.residentBytes - none.residentBytes) / cost.count
  const seconds = (value: number) => `${rounded(value)} s`
  const ms = (value: number) => `${rounded(value)} ms`
  const [fewer, most] = costs.slice(-2) as [Cost, Cost]
  const least = costs[0]!
  const times = most.count / fewer.count
  const growth = (of: (cost: Cost) => number) => of(most) / of(fewer) / times
  const linear = (what: string, of: (cost: Cost) => number) => ({
    wish: `${what}: linear from ${fewer.count} to ${most.count}`,
    found: `${rounded(growth(of) * times)} times for ${times} times as many`,
    isMet: growth(of) <= LINEAR,
  })
  const flatness = percentile99(most.one.ms) / percentile99(least.one.ms)
  return {
    tables: [
      {
        columns: ['manifests', 'first start', 'start again', 'resident', 'each', 'asking the upstream again'],
        rows: costs.map((cost) => [
          String(cost.count),
          seconds(cost.firstStartSeconds),
          seconds(cost.restartSeconds),
          `${rounded(cost.residentBytes / 2 ** 20)} MiB`,
          `${rounded(bytesEach(cost) / 1024)} KiB`,
          spread(cost.refreshSeconds, seconds),
        ]),
      },
      {
        columns: [
          'manifests',
          'one, median',
          'one, p99',
          'one, CPU',
          'by name',
          'by os, 100 of them',
          'all',
          'all, bytes',
        ],
        rows: costs.map(({ all, count, filtered, named, one, oneCpuMs }) => [
          String(count),
          ms(median(one.ms)),
          ms(percentile99(one.ms)),
          ms(oneCpuMs),
          ms(median(named.ms)),
          ms(median(filtered.ms)),
          ms(median(all.ms)),
          `${rounded(all.bytes / 1e6)} MB`,
        ]),
      },
    ],
    verdicts: [
      {
        wish: `one manifest, CPU: flat from ${least.count} to ${most.count}`,
        found: `${rounded(most.oneCpuMs / least.oneCpuMs)} times`,
        isMet: most.oneCpuMs / least.oneCpuMs <= FLAT,
      },
      {
        wish: `one manifest, p99: flat from ${least.count} to ${most.count}`,
        found: `${rounded(flatness)} times`,
        isMet: flatness <= FLAT,
      },
      linear('start again', ({ restartSeconds }) => restartSeconds),
      linear('resident memory', ({ residentBytes }) => residentBytes - none.residentBytes),
      linear('asking the upstream again', ({ refreshSeconds }) => median(refreshSeconds)),
      linear('by name', ({ named }) => median(named.ms)),
      linear('all', ({ all }) => median(all.ms)),
    ],
    checks: [
      {
        what: 'every request was answered',
        isRight: costs.every((cost) =>
          [cost.one, cost.named, cost.filtered, cost.all].every(({ failed }) => failed === 0),
        ),
      },
    ],
    notes: [
      `One client, one request after the other. "each" is what a process with so many manifests has resident beyond one with a single manifest (${rounded(none.residentBytes / 2 ** 20)} MiB), when it has started again from what it keeps and asked its upstream again. "linear" allows for ${LINEAR} times that, "flat" for ${FLAT} times.`,
    ],
  }
}

async function measure(directory: string, count: number, isQuick: boolean): Promise<Cost> {
  const nginx = await startManyManifests(join(directory, 'origin'), count)
  const mirrorDirectory = join(directory, 'mirror')
  const settings = { upstreams: [{ name: 'origin', url: nginx.url }] }
  const start = async () => {
    const startMs = performance.now()
    const mirror = await startMirror(mirrorDirectory, settings)
    return { mirror, seconds: (performance.now() - startMs) / 1000 }
  }
  try {
    const first = await start()
    await first.mirror.close()
    const { mirror, seconds } = await start()
    try {
      const refreshSeconds = [await refresh(mirror), await refresh(mirror)]
      const residentBytes = await mirror.process.residentBytes()
      return {
        count,
        firstStartSeconds: first.seconds,
        restartSeconds: seconds,
        residentBytes,
        refreshSeconds,
        ...(await ask(mirror, count, isQuick)),
      }
    } finally {
      await mirror.close()
    }
  } finally {
    await nginx.close()
  }
}

async function ask(
  { process, url }: BenchedMirror,
  count: number,
  isQuick: boolean,
): Promise<Pick<Cost, 'one' | 'oneCpuMs' | 'named' | 'filtered' | 'all'>> {
  const urls = (times: number, pathOf: (place: number) => string) =>
    // A step that shares no factor with the count goes everywhere.
    Array.from({ length: times }, (_, time) => url + pathOf((time * 7919) % count))
  const before = await process.cpuSeconds()
  const one = await askInTurn(urls(isQuick ? 200 : 1000, (place) => `/images/${uuidAt(place)}`))
  const oneCpuMs = (((await process.cpuSeconds()) - before) / one.ms.length) * 1000
  return {
    one,
    oneCpuMs,
    named: await askInTurn(urls(isQuick ? 5 : 20, (place) => `/images?name=bench-${place}`)),
    filtered: await askInTurn(urls(isQuick ? 5 : 20, () => '/images?os=smartos&limit=100')),
    all: await askInTurn(urls(isQuick ? 2 : 5, () => '/images')),
  }
}

async function refresh({ operatorUrl }: BenchedMirror): Promise<number> {
  const startMs = performance.now()
  const answer = await fetch(`${operatorUrl}/api/refresh`, { method: 'POST' })
  if (!answer.ok) throw new Error(`POST /api/refresh: ${answer.status} ${await answer.text()}`)
  await answer.text()
  return (performance.now() - startMs) / 1000
}

/** A list that is only to be listed: nobody asks for the files. */
async function startManyManifests(directory: string, count: number) {
  const root = join(directory, 'root')
  await mkdir(root, { recursive: true })
  const manifests = Array.from({ length: count }, (_, place) => JSON.stringify(manifestAt(place)))
  await writeFile(join(root, 'images.json'), `[${manifests.join(',')}]`)
  return await startNginx(
    directory,
    // Without anything to compare by, the whole list is sent each time, as servers of images do.
    `root ${root}; default_type application/json; etag off; if_modified_since off; add_header Last-Modified "";
     location = /ping { return 200 '{"ping":"pong"}'; }
     location = /images { try_files /images.json =404; }`,
  )
}

function uuidAt(place: number): string {
  return `00000000-0000-4000-8000-${String(place).padStart(12, '0')}`
}

function manifestAt(place: number): object {
  return {
    v: 2,
    uuid: uuidAt(place),
    owner: '00000000-0000-0000-0000-000000000000',
    name: `bench-${place}`,
    version: '1.0.0',
    state: 'active',
    disabled: false,
    public: true,
    published_at: new Date(Date.UTC(2014, 0, 1) + place * 60_000).toISOString(),
    type: place % 2 === 0 ? 'zone-dataset' : 'lx-dataset',
    os: place % 2 === 0 ? 'smartos' : 'linux',
    description: 'An image to be measured with, described as people describe theirs: in a sentence or two.',
    homepage: 'https://docs.example.com/images/bench',
    requirements: { networks: [{ name: 'net0', description: 'public' }], min_platform: { '7.0': '20141030T081701Z' } },
    tags: { role: 'os', group: `group-${place % 10}` },
    files: [{ sha1: place.toString(16).padStart(40, '0'), size: 1_000_000 + place, compression: 'gzip' }],
  }
}

function percentile99(samples: readonly number[]): number {
  const sorted = [...samples].sort((left, right) => left - right)
  return sorted[Math.floor(sorted.length * 0.99)]!
}
