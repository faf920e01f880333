import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { onTestFinished } from 'vitest'
import { stringify } from 'yaml'
import { freePort } from '../../scripts/free-port.mjs'
import { temporaryDirectory } from './temporary.js'

const run = promisify(execFile)

/** Why Debian's Prometheus cannot be had here, or `undefined` when it can. */
export function whyNoPrometheus(): string | undefined {
  const found = spawnSync('which', ['prometheus', 'promtool'])
  return found.status === 0 ? undefined : "Debian's package prometheus is not installed"
}

/** Runs promtool. Answers what it says; rejects, with all of that, when it finds anything wrong. */
export async function promtool(args: readonly string[], input = ''): Promise<string> {
  const running = run('promtool', [...args])
  running.child.stdin!.end(input)
  const { stdout, stderr } = await running
  return stdout + stderr
}

export interface Answer {
  readonly status: 'success' | 'error'
  readonly error?: string
  readonly data: { readonly result: readonly { metric: Record<string, string>; value: [number, string] }[] }
}

/** A real Prometheus, which scrapes one mirror every second. */
export interface Prometheus {
  query(expression: string): Promise<Answer>
  get(path: string): Promise<unknown>
}

/** Starts it, and waits until it has scraped so often that it can tell rates. It ends with the test. */
export async function startPrometheus(target: string, ruleFiles: readonly string[]): Promise<Prometheus> {
  const directory = await temporaryDirectory()
  const configuration = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: ruleFiles,
    scrape_configs: [{ job_name: 'imgapi-mirror', static_configs: [{ targets: [target] }] }],
  }
  await writeFile(join(directory, 'prometheus.yml'), stringify(configuration))
  const address = `127.0.0.1:${await freePort()}`
  const args = [
    `--config.file=${join(directory, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(directory, 'data')}`,
    `--web.listen-address=${address}`,
    '--log.level=error',
  ]
  const child = spawn('prometheus', args, { stdio: 'ignore' })
  onTestFinished(async () => {
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
  })
  const get = async (path: string) => (await fetch(`http://${address}${path}`)).json()
  const query = async (expression: string) =>
    (await get(`/api/v1/query?query=${encodeURIComponent(expression)}`)) as Answer
  for (;;) {
    if (child.exitCode !== null) throw new Error(`prometheus ended with ${child.exitCode}`)
    const scraped = await query('count_over_time(up{job="imgapi-mirror"}[1m])').catch(() => undefined)
    if (Number(scraped?.data?.result[0]?.value[1]) >= 3) return { query, get }
    await wait(100)
  }
}
