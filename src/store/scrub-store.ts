/** How far the scrub has come: enough to go on after a restart. */
export interface ScrubProgress {
  /** By sha256: when a blob was last read again from end to end, ms since 1970. */
  readonly checkedMs: ReadonlyMap<string, number>
  /** The blob that was being read, and where to go on. */
  readonly current: { readonly sha256: string; readonly nextChunk: number } | undefined
  /** When the reading of a blob last ended, and when everything else was last read. */
  readonly endedMs: number | undefined
  readonly auditedMs: number | undefined
}

/** Where the scrub writes down how far it is. Losing it costs reading again what was read; nothing else. */
export interface ScrubStore {
  /** What was saved last, or a beginning, when there is none or it is damaged. */
  load(): Promise<ScrubProgress>
  /** Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  save(progress: ScrubProgress): Promise<void>
}
