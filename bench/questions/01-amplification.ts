import { join } from 'node:path'
import { rounded } from '../figures.js'
import { type Reads, readAll } from '../load/readers.js'
import { isInstalled } from '../machine.js'
import type { Bench, Result } from '../question.js'
import { startCachingRegistry } from '../servers/docker-registry.js'
import { startMirror } from '../servers/mirror.js'
import { startCachingNginx } from '../servers/nginx.js'
import { type OriginImage, startOrigin } from '../servers/origin.js'

export const question = 'How often is one cold file fetched when many want it at once?'
export const wish = 'upstream bytes / file bytes = 1.00, for 1 to 1,000 clients'

interface Contestant {
  readonly name: string
  urlOf(image: OriginImage): string
}

/** A file that takes 6 s: longer than the 5 s that nginx has requests wait for one another. */
const SIZES = { sizeBytes: 6 * 2 ** 20, bytesPerConnection: 2 ** 20 }
/** Crowds up to this wait for the origin, and hardly for the machine: those of all servers come side by side. */
const SMALL_CROWD = 100
const QUICK_SIZES = { sizeBytes: 2 ** 20, bytesPerConnection: 4 * 2 ** 20 }

const MOST_CONTESTANTS = 3

interface Found {
  readonly name: string
  readonly clients: number
  readonly reads: Reads
  /** How often the file was fetched. */
  readonly times: number
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, say } = bench
  const crowds = isQuick ? [1, 20] : [1, 10, 100, 1000]
  const sizes = isQuick ? QUICK_SIZES : SIZES
  const count = crowds.length * MOST_CONTESTANTS
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count, ...sizes }))
  const contestants = await start(bench, origin.url)
  const found: Found[] = []
  // Each crowd has an image of its own, so that the origin's log tells whose fetches they were.
  const send = async ({ name, urlOf }: Contestant, image: OriginImage, clients: number) => {
    const reads = await readAll(urlOf(image), { count: clients, file: image.file })
    found.push({ name, clients, reads, times: (await origin.sentBytes(image)) / image.sizeBytes })
  }
  for (const [place, clients] of crowds.entries()) {
    say(`${clients} clients`)
    const sendings = contestants.map((contestant, index) => {
      const image = origin.images[place * MOST_CONTESTANTS + index]!
      return () => send(contestant, image, clients)
    })
    if (clients <= SMALL_CROWD) await Promise.all(sendings.map((sending) => sending()))
    else for (const sending of sendings) await sending()
  }
  const rows = contestants.flatMap(({ name }) => found.filter((one) => one.name === name)).map(rowOf)
  const ours = found.filter(({ name }) => name === 'imgapi-mirror')
  const most = Math.max(...ours.map(({ times }) => times))
  return {
    tables: [{ columns: ['server', 'clients', 'fetched', 'all done after', 'complete', 'corrupt'], rows }],
    verdicts: [{ wish, found: `${most.toFixed(2)} at most`, isMet: most <= 1.005 }],
    checks: [
      { what: 'every client of the mirror got the whole file', isRight: ours.every(({ reads }) => reads.failed === 0) },
      { what: 'no client of the mirror got a wrong byte', isRight: ours.every(({ reads }) => reads.corrupt === 0) },
      { what: 'the mirror fetched the file once', isRight: ours.every(({ times }) => times === 1) },
    ],
    notes: [
      `A file of ${sizes.sizeBytes / 2 ** 20} MiB from an origin that gives each connection ${sizes.bytesPerConnection / 2 ** 20} MiB/s. "fetched" is what the origin's log says it sent of that file, in files. Each crowd came once; those of up to ${SMALL_CROWD} clients to all servers at the same time.`,
    ],
  }
}

function rowOf({ name, clients, reads, times }: Found): string[] {
  const complete = `${reads.complete} of ${clients}`
  return [name, String(clients), times.toFixed(2), `${rounded(reads.seconds)} s`, complete, String(reads.corrupt)]
}

async function start(bench: Bench, originUrl: string): Promise<Contestant[]> {
  const { directory, use } = bench
  const upstreams = [{ name: 'origin', url: originUrl }]
  const mirror = use(await startMirror(join(directory, 'mirror'), { upstreams }))
  const nginx = use(await startCachingNginx(join(directory, 'nginx'), originUrl))
  const contestants = [
    { name: 'imgapi-mirror', urlOf: ({ filePath }: OriginImage) => mirror.url + filePath },
    { name: 'nginx proxy_cache', urlOf: ({ filePath }: OriginImage) => nginx.url + filePath },
  ]
  if (!isInstalled('docker-registry')) return contestants
  const registry = use(await startCachingRegistry(join(directory, 'registry'), originUrl))
  return [...contestants, { name: 'docker-registry', urlOf: ({ blobPath }: OriginImage) => registry.url + blobPath }]
}
