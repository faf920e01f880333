import { type Logger, pino, stdSerializers } from 'pino'
import { prettyFactory } from 'pino-pretty'
import { isMirrorError, type MirrorError } from '../errors.js'
import type { Log } from '../parts/log.js'
import { hideSecrets } from './hide-secrets.js'

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  /** `auto` is pretty on a terminal and json elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty'
  readonly isTerminal: boolean
  /** Takes whole lines, with their end. */
  readonly write: (line: string) => void
}

/** The log of a process, which may be told to say more, or less. */
export interface ProcessLog extends Log {
  setLevel(level: LogOptions['level']): void
}

/**
 * Credentials inside of texts: in a url, or a header that found its way into a message. The last line of defence, so it
 * looks at the finished line, whatever brought it there.
 */
const CREDENTIALS_IN_URL = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@"'\\]*@/gi
const CREDENTIALS_IN_HEADER = /(authorization\\?["']?\s*[:=,]\s*\\?["']?(?:basic|bearer|signature)\s+)[^\s"'\\,]+/gi

/** The facts that errors are called in log lines. */
const ERROR_NAMES = ['err', 'error', 'cause', 'reason']

/**
 * Makes the log of this process. Of errors among the facts, those we expect are told by code and message; any other one is
 * a bug, and is written with its causes and stacks.
 */
export function makeLog({ level, format, isTerminal, write }: LogOptions): ProcessLog {
  const isPretty = format === 'pretty' || (format === 'auto' && isTerminal)
  const dress = isPretty ? prettyDress(isTerminal) : (line: string) => line
  // Handed on before the call returns: the last line before a crash is the one that is needed (see gathered-lines.ts).
  const destination = { write: (line: string) => write(withoutCredentials(dress(line))) }

  const threshold: Threshold = { level }
  const logger = pino(
    {
      // What is written is decided by ours, which every log made of this one shares.
      level: 'debug',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // Ours have been told by then (see tellable); pino's own would take what was told of them for an error.
      serializers: { err: (told) => told },
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  )
  return {
    ...asLog(logger, threshold),
    setLevel: (changed) => {
      threshold.level = changed
    },
  }
}

/** One line for the eyes, too: only the stack of a bug takes more. */
function prettyDress(isTerminal: boolean): (line: string) => string {
  const options = { colorize: isTerminal, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname', singleLine: true }
  const asOneLine = prettyFactory({ ...options, errorLikeObjectKeys: [] })
  const withStack = prettyFactory({ ...options, errorLikeObjectKeys: ERROR_NAMES })
  return (line) => (line.includes('"stack":') ? withStack(line) : asOneLine(line)) ?? ''
}

const LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** The least serious lines that are written now. */
interface Threshold {
  level: LogOptions['level']
}

function asLog(logger: Logger, threshold: Threshold): Log {
  const writer = (level: LogOptions['level']) => (facts: object, message: string) => {
    if (LEVELS.indexOf(level) >= LEVELS.indexOf(threshold.level)) logger[level](tellable(facts), message)
  }
  return {
    debug: writer('debug'),
    info: writer('info'),
    warn: writer('warn'),
    error: writer('error'),
    with: (facts) => asLog(logger.child(tellable(facts)), threshold),
  }
}

/** The facts as they are written: errors told, and nothing secret. Copied only where that changes something. */
function tellable(facts: object): object {
  const names = ERROR_NAMES.filter((name) => name in facts)
  if (names.length === 0) return hideSecrets(facts)
  const told = names.map((name) => [name, serializeError((facts as Record<string, unknown>)[name])])
  return hideSecrets({ ...facts, ...Object.fromEntries(told) })
}

function serializeError(value: unknown): unknown {
  if (isMirrorError(value)) return tellExpected(value)
  return value instanceof Error ? stdSerializers.errWithCause(value) : value
}

/** Its message names what it was about, and mostly tells the cause too; where that says more, it stands beside it. */
function tellExpected(failure: MirrorError): { code: string; message: string; cause?: string } {
  const { code, message } = failure
  const more: string[] = []
  const seen = new Set<unknown>([failure])
  for (let cause = failure.cause; cause instanceof Error && !seen.has(cause); cause = cause.cause) {
    seen.add(cause)
    // Of many addresses that were tried in vain, Node gives an error without a message of its own.
    const text = cause.message || ('code' in cause ? String(cause.code) : cause.name)
    if (![message, ...more].some((told) => told.includes(text))) more.push(text)
  }
  return { code, message, ...(more.length > 0 && { cause: more.join(': ') }) }
}

function withoutCredentials(line: string): string {
  return line.replaceAll(CREDENTIALS_IN_URL, '$1(secret)@').replaceAll(CREDENTIALS_IN_HEADER, '$1(secret)')
}
