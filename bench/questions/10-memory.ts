import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { rounded } from '../figures.js'
import { type Reads, readAll } from '../load/readers.js'
import type { Bench, Result } from '../question.js'
import { startMirror } from '../servers/mirror.js'
import { type OriginImage, startOrigin } from '../servers/origin.js'

export const question = 'How much memory do many readers of one large file take?'
export const wish = 'less than 200 MiB more than before, for 500 readers at their own offsets, cold and warm'

const MIB = 2 ** 20
const MOST_GROWTH_BYTES = 200 * MIB

interface Crowd {
  readonly count: number
  readonly partBytes: number
}

interface Taken {
  readonly reads: Reads
  readonly beforeBytes: number
  readonly peakBytes: number
  readonly fetchedTimes: number
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, say } = bench
  const sizeBytes = isQuick ? 128 * MIB : 4096 * MIB
  const crowd = { count: isQuick ? 100 : 500, partBytes: isQuick ? 4 * MIB : 64 * MIB }
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count: 1, sizeBytes }))
  const image = origin.images[0]!
  const settings = { upstreams: [{ name: 'origin', url: origin.url }] }

  /** A process of its own each time: what the one before has taken is not seen. */
  async function measure(name: string): Promise<Taken> {
    say(`${name}, ${crowd.count} readers`)
    await origin.forget()
    const mirror = await startMirror(join(directory, 'mirror'), settings)
    try {
      // Once, so that what is loaded with the first request is not counted.
      await fetch(`${mirror.url}/images/${image.uuid}`).then((answer) => answer.text())
      const beforeBytes = await mirror.process.residentBytes()
      const reads = await readParts(mirror.url, image, crowd)
      const peakBytes = await mirror.process.peakResidentBytes()
      // The flight goes on without readers, and the next one is to find it held.
      await whenNothingFlies(mirror.operatorUrl)
      return { reads, beforeBytes, peakBytes, fetchedTimes: (await origin.sentBytes(image)) / sizeBytes }
    } finally {
      await mirror.close()
    }
  }

  const taken = { cold: await measure('cold'), warm: await measure('warm') }
  const all = Object.values(taken)
  const mib = (bytes: number) => `${rounded(bytes / MIB)} MiB`
  const most = Math.max(...all.map(({ beforeBytes, peakBytes }) => peakBytes - beforeBytes))
  return {
    tables: [
      {
        columns: ['file', 'before', 'at most', 'growth', 'whole parts', 'all done after', 'fetched'],
        rows: Object.entries(taken).map(([name, { reads, beforeBytes, peakBytes, fetchedTimes }]) => [
          name,
          mib(beforeBytes),
          mib(peakBytes),
          mib(peakBytes - beforeBytes),
          `${reads.complete} of ${crowd.count}`,
          `${rounded(reads.seconds)} s`,
          fetchedTimes.toFixed(2),
        ]),
      },
    ],
    verdicts: [{ wish, found: `${mib(most)} more at most`, isMet: most < MOST_GROWTH_BYTES }],
    checks: [
      { what: 'every reader got its part', isRight: all.every(({ reads }) => reads.failed === 0) },
      { what: 'no reader got a wrong byte', isRight: all.every(({ reads }) => reads.corrupt === 0) },
      { what: 'the cold file was fetched once, the warm one not at all', isRight: isFetchedOnce(taken) },
    ],
    notes: [
      `A file of ${mib(sizeBytes)}; each of ${crowd.count} readers wants ${mib(crowd.partBytes)} from an offset of its own, all at once, and compares every byte. "before" and "at most" are the resident memory of the process (VmRSS, VmHWM), workers included.`,
    ],
  }
}

async function readParts(url: string, { filePath, file, sizeBytes }: OriginImage, crowd: Crowd): Promise<Reads> {
  const strideBytes = Math.floor((sizeBytes - crowd.partBytes) / (crowd.count - 1))
  const parts = { lengthBytes: crowd.partBytes, strideBytes }
  return await readAll(url + filePath, { count: crowd.count, file, parts })
}

async function whenNothingFlies(operatorUrl: string): Promise<void> {
  for (;;) {
    const { flights } = (await (await fetch(`${operatorUrl}/status`)).json()) as {
      readonly flights: readonly unknown[]
    }
    if (flights.length === 0) return
    await wait(50)
  }
}

function isFetchedOnce({ cold, warm }: { readonly cold: Taken; readonly warm: Taken }): boolean {
  return cold.fetchedTimes === 1 && warm.fetchedTimes === 0
}
