import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import { stringify } from 'yaml'
import { assemble } from '../../src/assemble.js'
import { loadConfig } from '../../src/config.js'
import type { ReloadAnswer } from '../../src/mirror/operations/reload-answer.js'
import { RecordingLog } from './recording-log.js'

/** What `/status` on the operator listener says, as far as tests look at it. */
export interface Status {
  imagesListed: number
  imagesHeld: number
  upstreams: { name: string; state: string; images: number }[]
  flights: { readers: number; receivedBytes: number }[]
  conflicts: { uuid: string; winner: string; loser: string; differences: string[] }[]
}

/** A whole mirror: configuration, rooms and listeners as in production, on ports of its own. */
export interface RunningMirror {
  readonly url: string
  readonly operatorUrl: string
  readonly dataDirectory: string
  readonly log: RecordingLog
  status(): Promise<Status>
  /** Waits until every upstream has answered or failed once. */
  settled(): Promise<void>
  /**
   * Writes other settings into the config file, and has them taken on; listeners and the data directory stay, unless they are among
   * them.
   */
  reconfigure(settings: Record<string, unknown>): Promise<ReloadAnswer>
  close(): Promise<void>
}

/**
 * Starts a mirror; closed when the test has finished, if not before.
 * @param settings as in the config file; listeners and the data directory are filled in.
 */
export async function startMirror(settings: Record<string, unknown> = {}): Promise<RunningMirror> {
  const dataDirectory = (settings.data as string | undefined) ?? (await dataDirectoryOfItsOwn())
  const mirror = await openMirror({ ...settings, data: dataDirectory })
  onTestFinished(() => mirror.close())
  return mirror
}

/** As `startMirror`, for hooks: the caller closes it, and owns the data directory. */
export async function openMirror(settings: Record<string, unknown> & { data: string }): Promise<RunningMirror> {
  const dataDirectory = settings.data
  const path = join(dataDirectory, 'mirror.yaml')
  const textOf = (each: Record<string, unknown>) =>
    stringify({ listen: '127.0.0.1:0', operator: '127.0.0.1:0', data: dataDirectory, ...each })
  let text = textOf(settings)
  const readConfig = () => loadConfig({ path, text, environment: {}, readFile: (file) => readFile(file, 'utf8') })
  const log = new RecordingLog()
  const running = await assemble({
    config: await readConfig(),
    log,
    environment: {},
    version: '0.0.0-test',
    readConfig,
  })
  let closed: Promise<void> | undefined
  const close = () => {
    closed ??= running.close()
    return closed
  }
  // Without any, nobody asks.
  const operatorUrl = running.operators[0]!
  const status = async () => (await (await fetch(`${operatorUrl}/status`)).json()) as Status
  return {
    get url() {
      return running.listeners[0]!
    },
    reconfigure: (changed) => {
      text = textOf(changed)
      return running.reload('a test')
    },
    operatorUrl,
    dataDirectory,
    log,
    status,
    settled: () => until(async () => (await status()).upstreams.every(({ state }) => state !== 'waiting')),
    close,
  }
}

async function dataDirectoryOfItsOwn(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'imgapi-mirror-data-'))
  // Handed in before the mirror's own closing, so run after it.
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Waits for something that no event tells, by asking again and again. */
export async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await wait(10)
}
