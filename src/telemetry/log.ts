import { type Logger, pino, stdSerializers } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { Log } from '../parts/log.js'

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  /** `auto` is pretty on a terminal and json elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty'
  readonly isTerminal: boolean
  /** Takes whole lines, with their end. */
  readonly write: (line: string) => void
}

/** Facts whose names promise a secret; none of our own do, but those of an error from a library might. */
const SECRET_NAMES = ['password', 'passphrase', 'secret', 'token', 'key', 'authorization', 'Authorization', 'cookie']

/**
 * Credentials inside of texts: in a url, or a header that found its way into a message. The last line of defence, so it
 * looks at the finished line, whatever brought it there.
 */
const CREDENTIALS_IN_URL = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@"'\\]*@/gi
const CREDENTIALS_IN_HEADER = /(authorization\\?["']?\s*[:=,]\s*\\?["']?(?:basic|bearer|signature)\s+)[^\s"'\\,]+/gi

/** Makes the log of this process. Errors among the facts (`error`, `cause`, `reason`) are written with their causes and stacks. */
export function makeLog({ level, format, isTerminal, write }: LogOptions): Log {
  const isPretty = format === 'pretty' || (format === 'auto' && isTerminal)
  const dress = isPretty
    ? prettyFactory({ colorize: isTerminal, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' })
    : (line: string) => line
  // Written before the call returns: the last line before a crash is the one that is needed.
  const destination = { write: (line: string) => write(withoutCredentials(dress(line) ?? '')) }

  return asLog(
    pino(
      {
        level,
        base: null,
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
        serializers: { error: serializeError, cause: serializeError, reason: serializeError },
        redact: { paths: SECRET_NAMES.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '(secret)' },
      },
      destination,
    ),
  )
}

function asLog(logger: Logger): Log {
  return {
    debug: (facts, message) => logger.debug(facts, message),
    info: (facts, message) => logger.info(facts, message),
    warn: (facts, message) => logger.warn(facts, message),
    error: (facts, message) => logger.error(facts, message),
    with: (facts) => asLog(logger.child(facts)),
  }
}

function serializeError(value: unknown): unknown {
  return value instanceof Error ? stdSerializers.errWithCause(value) : value
}

function withoutCredentials(line: string): string {
  return line.replaceAll(CREDENTIALS_IN_URL, '$1(secret)@').replaceAll(CREDENTIALS_IN_HEADER, '$1(secret)')
}
