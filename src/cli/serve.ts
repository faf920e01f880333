import { once } from 'node:events'
import { isMirrorError } from '../errors.js'
import { deferred } from '../parts/deferred.js'
import type { Log } from '../parts/log.js'
import { readConfig, readConfigAgain } from './read-config.js'
import type { Running, Surroundings } from './surroundings.js'

/**
 * How long closing may take. The service manager of SmartOS gives 60 s by default and then kills; whatever is lost here
 * was on its way to a client who has to ask again.
 */
const CLOSE_LIMIT_MS = 30_000

/** Runs the mirror until it is told to stop. Answers the exit code. */
export async function serve(
  { config: path }: { config: string },
  surroundings: Surroundings,
  closeLimitMs = CLOSE_LIMIT_MS,
): Promise<number> {
  const { assemble, environment, makeLog, onHangUp, pid, stop, version } = surroundings
  const config = await readConfig(path, surroundings)
  const log = makeLog(config.log)
  // Whoever wants it while we start has it when we have started.
  const started = deferred<Running>()
  onHangUp?.(() => void started.promise.then((running) => reload(running, log)))
  log.info({ version, config: path, data: config.dataDirectory }, `imgapi-mirror ${version} starts`)

  const running = await assemble({
    config,
    log,
    environment,
    version,
    pid,
    readConfig: () => readConfigAgain(path, surroundings),
    setLogLevel: (level) => log.setLevel?.(level),
  })
  for (const url of running.operators) log.info({ url }, `operators: ${url}`)
  for (const url of running.listeners) log.info({ url }, `clients: ${url}`)

  started.resolve(running)
  if (!stop.aborted) await once(stop, 'abort')
  log.info({ signal: stop.reason }, `${stop.reason}: closing`)
  const isClosed = await closeWithin(running, closeLimitMs)
  if (isClosed) log.info({}, 'closed')
  else log.error({ closeLimitMs }, `not closed after ${closeLimitMs / 1000} s: leaving all the same`)
  return isClosed ? 0 : 1
}

/** Nobody waits for an answer: the log has it. */
async function reload(running: Running, log: Log): Promise<void> {
  try {
    await running.reload('SIGHUP')
  } catch (error) {
    if (!isMirrorError(error))
      log.error({ err: error }, 'the configuration could not be read again, by a fault of ours')
  }
}

async function closeWithin(running: Running, limitMs: number): Promise<boolean> {
  const limit = deferred<false>()
  const timer = setTimeout(() => limit.resolve(false), limitMs)
  try {
    return await Promise.race([running.close().then(() => true), limit.promise])
  } finally {
    clearTimeout(timer)
  }
}
