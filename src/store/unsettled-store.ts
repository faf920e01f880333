/**
 * Which blobs publishing is about to keep or to let go of: after a crash these, and no others, are looked at again, to see whether
 * any image has them.
 */
export interface UnsettledStore {
  /** Their sha256, as they were saved last; none when there is nothing, or what there is is damaged: they stay, then. */
  load(): Promise<readonly string[]>
  /** Replaces all. Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  save(sha256s: readonly string[]): Promise<void>
}
