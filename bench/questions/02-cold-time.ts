import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { inTurns, median, ratios, rounded, spread } from '../figures.js'
import { type Reads, readAll } from '../load/readers.js'
import { processorTimes } from '../machine.js'
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

/** More would take longer than a question may, and a line that is shaped gives the same each time. */
const MOST_ROUNDS = 3

export async function run(bench: Bench): Promise<Result> {
  const measured: Measured[] = []
  const rounds = Math.min(bench.rounds, MOST_ROUNDS)
  for (const line of bench.isQuick ? [FAST] : [FAST, SLOW]) {
    measured.push(await measure({ ...bench, rounds }, line))
  }
  const rows = measured.flatMap(({ line, reads }) =>
    Object.entries(reads).map(([name, samples]) => [
      line.name,
      name,
      spread(samples.map(firstByteMs)),
      spread(ratios(samples.map(firstByteMs), reads.direct!.map(firstByteMs))),
      spread(samples.map(({ seconds }) => seconds)),
      spread(ratios(samples.map(totalSeconds), reads.direct!.map(totalSeconds))),
      spread(samples.map(({ busyShare }) => busyShare)),
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
    tables: [
      {
        columns: ['line', 'who', 'first byte, ms', 'by direct', 'all done after, s', 'by direct', 'machine busy'],
        rows,
      },
    ],
    verdicts: [
      { wish: 'first byte on a fast line at most 1.2 of direct', found: rounded(firstByte), isMet: firstByte <= 1.2 },
      ...(bench.isQuick
        ? []
        : [{ wish: 'total behind 200 Mbit/s at most 1.05 of direct', found: rounded(total), isMet: total <= 1.05 }]),
    ],
    checks: [{ what: 'every client of the mirror got the whole file and no wrong byte', isRight: isWhole }],
    notes: [
      `A file of ${bench.isQuick ? 4 : 64} MiB; ${rounds} ${rounds === 1 ? 'round' : 'rounds'}. ${HOW_LINES_ARE_SHAPED} The first byte is that of the slowest client; one of each crowd compares what it gets. "machine busy" is the share of all processor time, of servers, clients, line and whatever else runs: near 1, it is the limit, and not the line. The mirror keeps its connections to an upstream open, so that it saves the handshake that a direct download begins with.`,
    ],
  }
}

interface Measured {
  readonly line: Line
  readonly reads: Readonly<Record<string, readonly Timed[]>>
}

interface Timed extends Reads {
  /** Of all processor time that there was. */
  readonly busyShare: number
}

/** Clients that come at once. Of more, the machine they share with the servers is the limit, and not the line. */
const CROWDS = [1, 10, 25]

async function measure(bench: Bench, line: Line): Promise<Measured> {
  const { isQuick, rounds } = bench
  const directory = join(bench.directory, line.name.replaceAll(/\W+/g, '-'))
  await mkdir(directory)
  const crowds = isQuick ? [1, 10] : CROWDS
  const sizeBytes = (isQuick ? 4 : 64) * 2 ** 20
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count: rounds * crowds.length, sizeBytes }))
  const far = bench.use(await startLine(directory, origin.url, line)).url
  const upstreams = [{ name: 'origin', url: far }]
  const mirror = bench.use(await startMirror(join(directory, 'mirror'), { upstreams }))
  const nginx = bench.use(await startCachingNginx(join(directory, 'nginx'), far))
  // Everybody reads an image once only: it is cold for each. One of a crowd compares: if all did, they would be measured.
  const read = async (url: string, place: number, count: number): Promise<Timed> => {
    const image = origin.images[place]!
    const before = processorTimes()
    const reads = await readAll(url + image.filePath, { count, file: image.file, checkers: 1 })
    const after = processorTimes()
    return { ...reads, busyShare: (after.busyMs - before.busyMs) / (after.totalMs - before.totalMs) }
  }
  const ofCrowds = (name: string, url: string) =>
    crowds.map((count, place) => [
      `${name}, ${count}`,
      (round: number) => read(url, round * crowds.length + place, count),
    ])
  const reads: Record<string, Timed[]> = await inTurns(bench, {
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
