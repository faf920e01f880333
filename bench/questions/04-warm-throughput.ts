import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { inTurns, median, ratios, rounded, spread } from '../figures.js'
import { readAll } from '../load/readers.js'
import type { Bench, Result } from '../question.js'
import { startMirror } from '../servers/mirror.js'
import { type BenchedNginx, startNginx } from '../servers/nginx.js'
import { startOrigin } from '../servers/origin.js'
import type { ServerProcess } from '../servers/server-process.js'

export const question = 'How fast is a kept file, for one reader and for many?'
export const wish = 'at least 0.9 of nginx serving the same file; 1.0 with nginx in front'

const [OURS, NGINX, FRONT] = ['imgapi-mirror', 'nginx', 'nginx before imgapi-mirror'] as const

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
    await startMirror(join(directory, 'mirror'), {
      upstreams: [{ name: 'origin', url: origin.url }],
      // For those who say that they can; others get bytes.
      accelRedirect: '/held/',
      trustedProxies: ['127.0.0.1'],
    }),
  )
  // Warm means kept, and in the page cache; nginx in front sends what is held already.
  await readAll(mirror.url + image.filePath)
  const data = join(directory, 'mirror', 'data')
  const front = bench.use(await startFront(join(directory, 'front'), mirror.url, data))
  // The very file that we keep: how one was written decides in what pieces the page cache has it, and how fast it is sent.
  const blob = await onlyFileBelow(join(data, 'blobs'), image.sizeBytes)
  const nginx = bench.use(await startNginx(join(directory, 'nginx'), `location = ${image.filePath} { alias ${blob}; }`))
  const warm = [mirror, nginx, front].map(({ url }) => readAll(url + image.filePath, { file: image.file }))
  const isSame = (await Promise.all(warm)).every(({ corrupt, failed }) => corrupt === 0 && failed === 0)

  const rows: string[][] = []
  const found: number[] = []
  const foundInFront: number[] = []
  const all: Reading[] = []
  for (const { readers, times } of CROWDS) {
    const read = async (url: string, server: ServerProcess): Promise<Reading> => {
      const before = await server.cpuSeconds()
      const { bytes, failed, seconds } = await readAll(url + image.filePath, { count: readers, rounds: times })
      const cpuSeconds = (await server.cpuSeconds()) - before
      return { bytesPerSecond: bytes / seconds, cpuSecondsPerGb: (cpuSeconds / bytes) * 1e9, isRight: failed === 0 }
    }
    const readings: Record<string, Reading[]> = await inTurns(bench, {
      [OURS]: () => read(mirror.url, mirror.process),
      [NGINX]: () => read(nginx.url, nginx.process),
      [FRONT]: () => read(front.url, front.process),
    })
    const speeds = (readings: readonly Reading[]) => readings.map(({ bytesPerSecond }) => bytesPerSecond / 1e6)
    const costs = (readings: readonly Reading[]) => readings.map(({ cpuSecondsPerGb }) => cpuSecondsPerGb)
    const shareOf = (name: string) => ratios(speeds(readings[name]!), speeds(readings[NGINX]!))
    for (const [name, each] of Object.entries(readings)) {
      rows.push([name, String(readers), spread(speeds(each)), spread(shareOf(name)), spread(costs(each))])
    }
    found.push(median(shareOf(OURS)))
    foundInFront.push(median(shareOf(FRONT)))
    all.push(...readings[OURS]!, ...readings[FRONT]!)
  }
  return {
    tables: [{ columns: ['server', 'readers', 'MB/s', 'by nginx', 'CPU s per GB'], rows }],
    verdicts: [
      { wish: 'at least 0.9 of nginx', found: found.map(rounded).join(', '), isMet: Math.min(...found) >= 0.9 },
      {
        wish: 'as fast as nginx, with nginx in front (X-Accel-Redirect)',
        found: foundInFront.map(rounded).join(', '),
        // Of two that do the same, one is a little slower.
        isMet: Math.min(...foundInFront) >= 0.97,
      },
    ],
    checks: [
      { what: 'what is warm is the very file', isRight: isSame },
      { what: 'every reader of the mirror got the whole file', isRight: all.every(({ isRight }) => isRight) },
    ],
    notes: [
      `A file of ${sizeBytes / 2 ** 20} MiB, in the page cache. Clients take part of the same processors, most of one core. nginx has the kernel copy from file to socket (sendfile); Node cannot, and copies through memory.`,
    ],
  }
}

async function onlyFileBelow(directory: string, sizeBytes: number): Promise<string> {
  for (const name of await readdir(directory, { recursive: true })) {
    const found = await stat(join(directory, name))
    if (found.isFile() && found.size === sizeBytes) return join(directory, name)
  }
  throw new Error(`no file of ${sizeBytes} bytes below ${directory}`)
}

/** nginx before the mirror, which sends what is held itself, as deploy/nginx has it. */
async function startFront(directory: string, mirrorUrl: string, data: string): Promise<BenchedNginx> {
  return await startNginx(
    directory,
    `location / {
       proxy_pass http://imgapi_mirror; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
       proxy_set_header X-Sendfile-Type X-Accel-Redirect;
     }
     location /held/ { internal; alias ${join(data, 'blobs')}/; }`,
    `upstream imgapi_mirror { server ${new URL(mirrorUrl).host}; keepalive 64; }`,
  )
}
