/** What upstreams count. Handed in when they are made; telemetry turns it into metrics. */
export interface UpstreamCounters {
  breakerTurned(upstream: string, state: 'closed' | 'open' | 'half-open'): void
  /** A question was asked once more. */
  retried(upstream: string): void
  /** An answer fell silent, and was given up. */
  stalled(upstream: string): void
  /** Bytes that had come were held back for so long, to keep to the rate. */
  waitedForRate(upstream: string, seconds: number): void
  /** We did not ask: the breaker is open, the line closed, or the upstream wants to be left alone. */
  notAsked(upstream: string, reason: 'breaker' | 'closed' | 'quiet'): void
}

/** For tests and tools: counts nothing. */
export const noUpstreamCounters: UpstreamCounters = {
  breakerTurned() {},
  retried() {},
  stalled() {},
  waitedForRate() {},
  notAsked() {},
}
