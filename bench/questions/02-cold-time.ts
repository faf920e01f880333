import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { inTurns, median, ratios, rounded, spread } from '../figures.js'
import { type Reads, readAll } from '../load/readers.js'
import type { Bench, Result } from '../question.js'
import { HOW_LINES_ARE_SHAPED, type Line, startLine } from '../servers/line.js'
import { startMirror } from '../servers/mirror.js'
import { startCachingNginx } from '../servers/nginx.js'
import { startOrigin } from '../servers/origin.js'

export const question = 'How much later than from the origin itself do clients have a cold file?'
export const wish =
  'time to first byte at most 1.2 of direct on a fast line; total time of all clients at most 1.05 of one direct download behind 200 Mbit/s and 50 ms'

const FAST: Line = { name: '1 Gbit/s, 10 ms', bytesPerSecond: 125e6, roundTripMs: 10 }
const SLOW: Line = { name: '200 Mbit/s, 50 ms', bytesPerSecond: 25e6, roundTripMs: 50 }
const LOOPBACK: Line = { name: 'loopback', bytesPerSecond: Number.POSITIVE_INFINITY, roundTripMs: 0 }

export async function run(bench: Bench): Promise<Result> {
  const measured: Measured[] = []
  for (const line of bench.isQuick ? [FAST] : [LOOPBACK, FAST, SLOW]) {
    measured.push(await measure(bench, line))
  }
  const rows = measured.flatMap(({ line, reads }) =>
    Object.entries(reads).map(([name, samples]) => [
      line.name,
      name,
      spread(samples.map(firstByteMs)),
      spread(ratios(samples.map(firstByteMs), reads.direct!.map(firstByteMs))),
      spread(samples.map(({ seconds }) => seconds)),
      spread(ratios(samples.map(totalSeconds), reads.direct!.map(totalSeconds))),
    ]),
  )
  const firstByte = ratiosOf(measured, FAST, 1, firstByteMs)
  const total = bench.isQuick
    ? firstByte
    : Math.max(...CROWDS.map((count) => ratiosOf(measured, SLOW, count, totalSeconds)))
  const all = measured
    .flatMap(({ reads }) => Object.entries(reads))
    .filter(([name]) => name.startsWith('imgapi-mirror'))
  const isWhole = all.every(([, samples]) => samples.every(({ corrupt, failed }) => corrupt === 0 && failed === 0))
  return {
    tables: [{ columns: ['line', 'who', 'first byte, ms', 'by direct', 'all done after, s', 'by direct'], rows }],
    verdicts: [
      { wish: 'first byte on a fast line at most 1.2 of direct', found: rounded(firstByte), isMet: firstByte <= 1.2 },
      ...(bench.isQuick
        ? []
        : [{ wish: 'total behind 200 Mbit/s at most 1.05 of direct', found: rounded(total), isMet: total <= 1.05 }]),
    ],
    checks: [{ what: 'every client of the mirror got the whole file and no wrong byte', isRight: isWhole }],
    notes: [
      `${HOW_LINES_ARE_SHAPED} The first byte is that of the slowest client. The mirror keeps its connections to an upstream open, so that it saves the handshake that a direct download begins with.`,
    ],
  }
}

interface Measured {
  readonly line: Line
  readonly reads: Readonly<Record<string, readonly Reads[]>>
}

/** Clients that come at once. */
const CROWDS = [1, 10, 50]

async function measure(bench: Bench, line: Line): Promise<Measured> {
  const { isQuick, rounds } = bench
  const directory = join(bench.directory, line.name.replaceAll(/\W+/g, '-'))
  await mkdir(directory)
  const crowds = isQuick ? [1, 10] : CROWDS
  const sizeBytes = (isQuick ? 4 : 64) * 2 ** 20
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count: rounds * crowds.length, sizeBytes }))
  const far = line === LOOPBACK ? origin.url : bench.use(await startLine(directory, origin.url, line)).url
  const upstreams = [{ name: 'origin', url: far }]
  const mirror = bench.use(await startMirror(join(directory, 'mirror'), { upstreams }))
  const nginx = bench.use(await startCachingNginx(join(directory, 'nginx'), far))
  // Everybody reads an image once only: it is cold for each.
  const read = async (url: string, place: number, count: number) => {
    const image = origin.images[place]!
    return await readAll(url + image.filePath, { count, file: image.file })
  }
  const ofCrowds = (name: string, url: string) =>
    crowds.map((count, place) => [
      `${name}, ${count}`,
      (round: number) => read(url, round * crowds.length + place, count),
    ])
  const reads: Record<string, Reads[]> = await inTurns(bench, {
    direct: (round) => read(far, round, 1),
    ...Object.fromEntries([...ofCrowds('imgapi-mirror', mirror.url), ...ofCrowds('nginx proxy_cache', nginx.url)]),
  })
  return { line, reads }
}

function ratiosOf(measured: readonly Measured[], line: Line, count: number, figure: (reads: Reads) => number): number {
  const { reads } = measured.find((each) => each.line === line)!
  return median(ratios(reads[`imgapi-mirror, ${count}`]!.map(figure), reads.direct!.map(figure)))
}

function firstByteMs({ firstByteSeconds }: Reads): number {
  return Math.max(...firstByteSeconds) * 1000
}

function totalSeconds({ seconds }: Reads): number {
  return seconds
}
