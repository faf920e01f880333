/** What the mirror counts. Handed in when it is built; telemetry turns it into metrics. */
export interface MirrorCounters {
  /** A file was asked for: held, being fetched already, or fetched now. */
  fileAsked(outcome: 'hit' | 'coalesced' | 'miss'): void
  bytesReceived(upstream: string, bytes: number): void
  flightEnded(outcome: 'kept' | 'failed'): void
  /** A file that was not what was promised. */
  verificationFailed(upstream: string): void
  conflictFound(): void
  refreshed(upstream: string, outcome: 'changed' | 'unchanged' | 'failed'): void
}
