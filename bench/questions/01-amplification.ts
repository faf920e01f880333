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

/** A file that takes 8 s: longer than the 5 s that nginx has requests wait for one another. */
const SIZES = { sizeBytes: 8 * 2 ** 20, bytesPerConnection: 2 ** 20 }
const QUICK_SIZES = { sizeBytes: 2 ** 20, bytesPerConnection: 4 * 2 ** 20 }

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, say } = bench
  const crowds = isQuick ? [1, 20] : [1, 10, 100, 1000]
  const sizes = isQuick ? QUICK_SIZES : SIZES
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count: crowds.length, ...sizes }))
  const contestants = await start(bench, origin.url)
  const rows: string[][] = []
  const ours: { readonly times: number; readonly reads: Reads }[] = []
  for (const { name, urlOf } of contestants) {
    for (const [place, count] of crowds.entries()) {
      say(`${name}, ${count} clients`)
      const image = origin.images[place]!
      await origin.forget()
      const reads = await readAll(urlOf(image), { count, file: image.file })
      const times = (await origin.sentBytes(image)) / image.sizeBytes
      rows.push([
        name,
        String(count),
        times.toFixed(2),
        `${rounded(reads.seconds)} s`,
        `${reads.complete} of ${count}`,
        String(reads.corrupt),
      ])
      if (name === 'imgapi-mirror') ours.push({ times, reads })
    }
  }
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
      `A file of ${sizes.sizeBytes / 2 ** 20} MiB from an origin that gives each connection ${sizes.bytesPerConnection / 2 ** 20} MiB/s. "fetched" is what the origin's log says it sent of that file, in files. Each crowd came once.`,
    ],
  }
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
