#!/usr/bin/env node
/*
 * The process: arguments, signals, output, exit code. Nothing else touches `process`, so everything else can be run,
 * and tested, without one.
 */
import { open, readFile, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { openData } from './assemble/open-data.js'
import { openLedger } from './assemble/open-ledger.js'
import { assemble } from './assemble.js'
import { run } from './cli/run.js'
import type { Input } from './cli/surroundings.js'
import { hasCode, MirrorError } from './errors.js'
import type { Log } from './parts/log.js'
import { GatheredLines } from './telemetry/gathered-lines.js'
import { makeLog } from './telemetry/log.js'

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))

/** Where failures nobody expected are told: the log, once there is one. */
let log: Log | undefined

const logLines = new GatheredLines((text) => process.stdout.write(text))

/** Why standard output did not take everything. */
let unwritten: Error | undefined

/** Ctrl-C under `npm start` arrives twice: from the terminal, and passed on by npm. That is one wish, not two. */
const SAME_WISH_MS = 500

const stop = new AbortController()
let askedAtMs = 0
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (!stop.signal.aborted) {
      askedAtMs = performance.now()
      stop.abort(signal)
    } else if (performance.now() - askedAtMs > SAME_WISH_MS) {
      // Whoever asks twice does not want to wait.
      process.exit(128 + constants.signals[signal])
    }
  })
}

process.on('uncaughtException', (error) => fail(error))
process.on('unhandledRejection', (reason) => fail(reason))
// A reader of our output that went away (a pager, a log collector) is no reason to stop serving.
process.stdout.on('error', noteUnwritten)
process.stderr.on('error', () => {})
process.on('exit', () => logLines.flush())
process.on('exit', tellUnwritten)

try {
  process.exitCode = await run(process.argv.slice(2), {
    version,
    pid: process.pid,
    environment: process.env,
    write: (text) => process.stdout.write(text),
    complain: (text) => process.stderr.write(text),
    ...(process.stdout.isTTY && { terminal: { columns: () => process.stdout.columns || 80 } }),
    readFile: (path) => readFile(path, 'utf8'),
    writeFile: (path, text) => writeFile(path, text, { flush: true }),
    openInput,
    stop: stop.signal,
    onHangUp: (listener) => process.on('SIGHUP', listener),
    makeLog: (options) => {
      const made = makeLog({
        ...options,
        isTerminal: process.stdout.isTTY === true,
        write: (line) => logLines.add(line),
      })
      log = made
      return made
    },
    assemble: (options) => assemble({ ...options, onLost: leave }),
    openLedger,
    openData,
  })
  // Closed, but something may still hold the process: a timer, or a client that was not to be waited for.
  if (stop.signal.aborted) process.exit()
} catch (error) {
  fail(error)
}

async function openInput(path: string | undefined): Promise<Input> {
  if (path === undefined) return { stream: process.stdin, sizeBytes: undefined }
  try {
    const file = await open(path)
    const facts = await file.stat()
    return { stream: file.createReadStream(), sizeBytes: facts.isFile() ? facts.size : undefined }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MirrorError('CONFIG_INVALID', `${path} cannot be read: ${reason}`, { cause })
  }
}

/** What a command had to say, and could not: a report on a full disk is none. */
function noteUnwritten(error: Error): void {
  if (!hasCode(error, 'EPIPE')) unwritten ??= error
}

/** A mirror goes on without its log, and ends as it would have; whoever waits for the words of a command has to know. */
function tellUnwritten(): void {
  if (!unwritten || log) return
  process.stderr.write(`imgapi-mirror: the output could not be written: ${unwritten.message}\n`)
  process.exitCode ||= 1
}

/** What we keep is somebody else's: whatever we write, even to close in order, could damage it. */
function leave({ message }: Error): never {
  log?.error({}, `${message}: leaving at once`)
  process.exit(1)
}

/** A bug. What state it left is unknown, so we go; everything we keep is made to survive that. */
function fail(error: unknown): never {
  if (log) log.error({ error }, 'a failure nobody expected: leaving')
  else process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exit(1)
}
