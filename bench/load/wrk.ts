import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** What wrk saw. */
export interface Requests {
  readonly perSecond: number
  readonly p99Ms: number
  /** Not 2xx or 3xx, cut, or too late. */
  readonly failed: number
}

const MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 }

/** As many requests as a server answers, over connections that stay open. */
export async function requestAll(url: string, { connections = 16, seconds = 4 } = {}): Promise<Requests> {
  const args = ['--latency', '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '20s', url]
  const { stdout } = await run('wrk', args)
  const [, amount = 'NaN', unit = ''] = /^ +99% +([\d.]+)(us|ms|s|m)$/m.exec(stdout) ?? []
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0)
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout)?.slice(1) ?? []
  return {
    perSecond: Number(/^Requests\/sec: +([\d.]+)$/m.exec(stdout)?.[1]),
    p99Ms: Number(amount) * (MS[unit] ?? Number.NaN),
    failed: errors.reduce((sum, count) => sum + Number(count), refused),
  }
}
