import type { BlobStore } from './blob-store.js'

/** How far the scrub has come: enough to go on after a restart. */
export interface ScrubProgress {
  /** The blob that was being read, and where to go on. */
  readonly current: { readonly sha256: string; readonly nextChunk: number } | undefined
  /** When the reading of a blob last ended, and when everything else was last read; ms since 1970. */
  readonly endedMs: number | undefined
  readonly auditedMs: number | undefined
}

/** A blob was read again from end to end then, ms since 1970. */
export interface Check {
  readonly sha256: string
  readonly checkedMs: number
}

/** Where the scrub writes down how far it is. Losing it costs reading again what was read; nothing else. */
export interface ScrubStore {
  /**
   * What was saved last, or a beginning, when there is none or it is damaged. To be called once, before `save`.
   * @param take told of every check that was saved, in their order; also of blobs that are gone.
   */
  load(take: (check: Check) => void): Promise<ScrubProgress>
  /**
   * Durable when it resolves. Takes time for the checks that are new, not for all there are.
   * @param checks since it was saved last; of those that could not be saved then, nothing need be said again.
   * @param kept knows all checks that count: what it takes to write them down is at most 256 bytes for each blob that is kept, and 1 MiB.
   * @throws MirrorError STORE_FULL, STORE_BROKEN.
   */
  save(progress: ScrubProgress, checks: Iterable<Check>, kept: Pick<BlobStore, 'keptCount' | 'checked'>): Promise<void>
}
