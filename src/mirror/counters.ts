/** What can be damaged at rest. */
export type DamageKind = 'blob' | 'fingerprint' | 'image' | 'icon' | 'claims' | 'registry' | 'bundle' | 'index'

/** What the mirror counts. Handed in when it is built; telemetry turns it into metrics. */
export interface MirrorCounters {
  /** A file was asked for: held, being fetched already, or fetched now. */
  fileAsked(outcome: 'hit' | 'coalesced' | 'miss'): void
  bytesReceived(upstream: string, bytes: number): void
  /** kept, passed on without being kept for want of room, or failed. */
  flightEnded(outcome: 'kept' | 'passed' | 'failed'): void
  /** A download goes on with this upstream, behind bytes that are here already. */
  flightResumed(upstream: string): void
  /** Another upstream is asked to go on, as this one has failed. */
  flightFailedOver(upstream: string): void
  /** A file that was wrong at first and was mended from a second copy. */
  fileRepaired(): void
  /** A file that was not what was promised. */
  verificationFailed(upstream: string): void
  conflictFound(): void
  /** A tag of a Docker registry means something else than before. */
  tagMoved(upstream: string): void
  /** Bytes were let go of to make room. */
  evicted(bytes: number): void
  /** A chunk was compared with its hash before it left. */
  readChecked(outcome: 'good' | 'bad'): void
  /** So many bytes of blobs were read again in the background. */
  scrubbed(bytes: number): void
  /** Something at rest is not what we wrote, and whether it is good again. */
  damageFound(kind: DamageKind): void
  damageMended(kind: DamageKind): void
  /** The ledger was told of something of this kind. */
  recorded(kind: string): void
  /** Bytes came that a policy wanted, before anyone asked. */
  prewarmed(policy: string, bytes: number): void
  refreshed(upstream: string, outcome: 'changed' | 'unchanged' | 'failed'): void
}
