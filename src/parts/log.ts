/** The log a room is handed. Messages are sentences; facts go into `facts`, under names a query can find. */
export interface Log {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
  /** A log whose lines all carry `facts`. */
  with(facts: object): Log
}

/** For tests and tools: says nothing. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => silentLog,
}
