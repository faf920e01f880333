import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ServerProcess } from './server-process.js'

const script = fileURLToPath(new URL('./line.mjs', import.meta.url))

export interface Line {
  readonly name: string
  readonly bytesPerSecond: number
  readonly roundTripMs: number
}

/** For notes. */
export const HOW_LINES_ARE_SHAPED =
  'Lines are shaped by a relay of this bench (servers/line.mjs), as not every kernel has netem: a rate that all connections share, half a round trip each way, and one more for a new connection.'

/** A line in front of a server. */
export async function startLine(
  directory: string,
  upstreamUrl: string,
  { bytesPerSecond, roundTripMs }: Line,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  let port: string | undefined
  const relay = await ServerProcess.start({
    command: process.execPath,
    args: [script, upstreamUrl, String(bytesPerSecond), String(roundTripMs)],
    log: join(directory, `line-${randomUUID()}.log`),
    isUp: async ({ said }) => {
      port = /^port (\d+)$/m.exec(said)?.[1]
      return port !== undefined
    },
  })
  return { url: `http://127.0.0.1:${port}`, close: () => relay.close() }
}
