import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { rounded, spread } from '../figures.js'
import { readAll } from '../load/readers.js'
import type { Bench, Result } from '../question.js'
import { type BenchedMirror, startMirror } from '../servers/mirror.js'
import { type Origin, type OriginImage, startOrigin } from '../servers/origin.js'
import { unreadBytes } from '../servers/unread-bytes.js'

export const question = 'How much is fetched again after SIGKILL, late in a large file?'
export const wish = 'at most one chunk (1 MiB)'

const CHUNK_BYTES = 2 ** 20
const KILLED_AT = 0.9
const MOST_ROUNDS = 3

interface Killed {
  /** Read by the process that was killed. */
  readonly hadBytes: number
  /** Sent for the one after it. */
  readonly thenBytes: number
  readonly againBytes: number
  readonly restartSeconds: number
  readonly isWhole: boolean
}

export async function run(bench: Bench): Promise<Result> {
  const { directory, isQuick, say } = bench
  const count = Math.min(bench.rounds, MOST_ROUNDS)
  const sizeBytes = isQuick ? 64 * 2 ** 20 : 2 ** 30
  // Slow enough to be killed where it is meant to be.
  const bytesPerConnection = isQuick ? 32 * 2 ** 20 : 128 * 2 ** 20
  const origin = bench.use(await startOrigin(join(directory, 'origin'), { count, sizeBytes, bytesPerConnection }))
  const killed: Killed[] = []
  for (const [place, image] of origin.images.entries()) {
    say(`kill ${place + 1} of ${count}`)
    killed.push(await killOnce(join(directory, 'mirror'), origin, image))
  }
  const mib = (bytes: number) => `${rounded(bytes / 2 ** 20)} MiB`
  const again = killed.map(({ againBytes }) => againBytes)
  const most = Math.max(...again)
  return {
    tables: [
      {
        columns: ['file', 'had when killed', 'fetched then', 'fetched again', 'from start to serving'],
        rows: [
          [
            mib(sizeBytes),
            spread(
              killed.map(({ hadBytes }) => hadBytes),
              mib,
            ),
            spread(
              killed.map(({ thenBytes }) => thenBytes),
              mib,
            ),
            spread(again, mib),
            spread(
              killed.map(({ restartSeconds }) => restartSeconds),
              (seconds) => `${rounded(seconds)} s`,
            ),
          ],
        ],
      },
    ],
    verdicts: [{ wish, found: `${mib(most)} at most`, isMet: most <= CHUNK_BYTES }],
    checks: [
      { what: 'no more than one chunk was fetched again', isRight: most <= CHUNK_BYTES },
      { what: 'the file was whole afterwards, byte by byte', isRight: killed.every(({ isWhole }) => isWhole) },
    ],
    notes: [
      `The process is frozen at ${KILLED_AT * 100} %, so that what it has read can be told exactly, and killed: what the origin's log says it sent, less what lay unread in the kernel's buffers. The next process has the same data directory.`,
    ],
  }
}

async function killOnce(directory: string, origin: Origin, image: OriginImage): Promise<Killed> {
  const settings = { upstreams: [{ name: 'origin', url: origin.url }] }
  await origin.forget()
  const first = await startMirror(directory, settings)
  const reading = readAll(first.url + image.filePath, { file: image.file })
  try {
    while ((await receivedBytes(first)) < image.sizeBytes * KILLED_AT) await wait(5)
    first.process.freeze()
  } catch (cause) {
    await first.close()
    await reading
    throw cause
  }
  const unread = await unreadBytes(origin.url)
  await first.process.kill()
  await reading
  const sentBytes = await loggedBytes(origin, image)
  const hadBytes = sentBytes - unread
  await origin.forget()

  const startMs = performance.now()
  const second = await startMirror(directory, settings)
  const restartSeconds = (performance.now() - startMs) / 1000
  try {
    const reads = await readAll(second.url + image.filePath, { file: image.file })
    const thenBytes = await loggedBytes(origin, image)
    return {
      hadBytes,
      thenBytes,
      againBytes: hadBytes + thenBytes - image.sizeBytes,
      restartSeconds,
      isWhole: reads.complete === 1 && reads.corrupt === 0,
    }
  } finally {
    await second.close()
  }
}

/** @throws Error when it is not being fetched: it came faster than it could be looked at. */
async function receivedBytes({ operatorUrl }: BenchedMirror): Promise<number> {
  const answer = await fetch(`${operatorUrl}/status`)
  const { flights } = (await answer.json()) as { readonly flights: readonly { readonly receivedBytes: number }[] }
  return flights[0]?.receivedBytes ?? 0
}

/** A request is in the log when it is over, which may be a moment after its client has gone. */
async function loggedBytes(origin: Origin, image: OriginImage): Promise<number> {
  for (;;) {
    const bytes = await origin.sentBytes(image)
    if (bytes > 0) return bytes
    await wait(20)
  }
}
