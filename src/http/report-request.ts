import type { Log } from '../parts/log.js'

/** Called once per request, when it is over; `route` is empty for a path that leads nowhere. */
export type OnRequest = (route: string, method: string, status: number, durationMs: number, bytes: number) => void

export interface ReportOptions {
  readonly log: Log
  readonly onRequest?: OnRequest | undefined
}

/** A request that is over. */
export interface RequestFacts {
  /** `performance.now()` when its headers had been read. */
  readonly startedMs: number
  readonly requestId: string
  readonly method: string
  /** As it was asked for, without the query: that may say what is nobody's business. */
  readonly path: string
  /** As the router knows it; empty for a path that leads nowhere. */
  readonly route: string
  readonly status: number
  /** Of the body, handed to the connection. */
  readonly bytes: number
  readonly client: string
  readonly user?: string | undefined
  /** Whether the client was sent the whole answer. */
  readonly isComplete: boolean
}

/** Paths in log lines are cut here; the listener lets longer ones in. */
export const LOGGED_PATH_LIMIT = 256

/** One line in the log, and the counts. */
export function reportRequest({ log, onRequest }: ReportOptions, facts: RequestFacts): void {
  const { requestId, method, path, route, status, bytes, client, user, isComplete } = facts
  const durationMs = Math.round(performance.now() - facts.startedMs)
  log.info(
    {
      requestId,
      method,
      path: path.slice(0, LOGGED_PATH_LIMIT),
      status,
      bytes,
      durationMs,
      client,
      ...(user !== undefined && { user }),
      isComplete,
    },
    'request',
  )
  onRequest?.(route, method, status, durationMs, bytes)
}
