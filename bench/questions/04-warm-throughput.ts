import { join } from 'node:path'
import { inTurns, median, ratios, rounded, spread } from '../figures.js'
import { readAll } from '../load/readers.js'
import type { Bench, Result } from '../question.js'
import { startMirror } from '../servers/mirror.js'
import { startNginx } from '../servers/nginx.js'
import { startOrigin } from '../servers/origin.js'
import type { ServerProcess } from '../servers/server-process.js'

export const question = 'How fast is a kept file, for one reader and for many?'
export const wish = 'at least 0.9 of nginx serving the same file'

interface Crowd {
  readonly readers: number
  /** How often each reads the whole. */
  readonly times: number
}

const CROWDS: readonly Crowd[] = [
  { readers: 1, times: 32 },
  { readers: 4, times: 8 },
  { readers: 64, times: 1 },
]

interface Reading {
  readonly bytesPerSecond: number
  readonly cpuSecondsPerGb: number
  readonly isRight: boolean
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick } = bench
  const sizeBytes = (isQuick ? 2 : 64) * 2 ** 20
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count: 1, sizeBytes }))
  const image = origin.images[0]!
  const mirror = bench.use(
    await startMirror(join(directory, 'mirror'), { upstreams: [{ name: 'origin', url: origin.url }] }),
  )
  const nginx = bench.use(await startNginx(join(directory, 'nginx'), `root ${join(directory, 'origin', 'root')};`))
  // Warm means kept, and in the page cache.
  const warm = [mirror, nginx].map(({ url }) => readAll(url + image.filePath, { file: image.file }))
  const isSame = (await Promise.all(warm)).every(({ corrupt, failed }) => corrupt === 0 && failed === 0)

  const rows: string[][] = []
  const found: number[] = []
  const all: Reading[] = []
  for (const { readers, times } of CROWDS) {
    const read = async (url: string, server: ServerProcess): Promise<Reading> => {
      const before = await server.cpuSeconds()
      const { bytes, failed, seconds } = await readAll(url + image.filePath, { count: readers, rounds: times })
      const cpuSeconds = (await server.cpuSeconds()) - before
      return { bytesPerSecond: bytes / seconds, cpuSecondsPerGb: (cpuSeconds / bytes) * 1e9, isRight: failed === 0 }
    }
    const { ours, nginxs } = await inTurns(bench, {
      ours: () => read(mirror.url, mirror.process),
      nginxs: () => read(nginx.url, nginx.process),
    })
    const speeds = (readings: readonly Reading[]) => readings.map(({ bytesPerSecond }) => bytesPerSecond / 1e6)
    const costs = (readings: readonly Reading[]) => readings.map(({ cpuSecondsPerGb }) => cpuSecondsPerGb)
    const share = ratios(speeds(ours), speeds(nginxs))
    rows.push(
      ['imgapi-mirror', String(readers), spread(speeds(ours)), spread(share), spread(costs(ours))],
      ['nginx', String(readers), spread(speeds(nginxs)), '1', spread(costs(nginxs))],
    )
    found.push(median(share))
    all.push(...ours)
  }
  const least = Math.min(...found)
  return {
    tables: [{ columns: ['server', 'readers', 'MB/s', 'by nginx', 'CPU s per GB'], rows }],
    verdicts: [{ wish, found: `${rounded(least)} at least (${found.map(rounded).join(', ')})`, isMet: least >= 0.9 }],
    checks: [
      { what: 'what is warm is the very file', isRight: isSame },
      { what: 'every reader of the mirror got the whole file', isRight: all.every(({ isRight }) => isRight) },
    ],
    notes: [
      `A file of ${sizeBytes / 2 ** 20} MiB, in the page cache. Clients take part of the same processors, most of one core. nginx has the kernel copy from file to socket (sendfile); Node cannot, and copies through memory.`,
    ],
  }
}
