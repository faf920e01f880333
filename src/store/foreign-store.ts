import type { Readable } from 'node:stream'

/** A regular file in a directory that is not ours. */
export interface ForeignFile {
  readonly path: string
  readonly sizeBytes: number
}

/** Directories on this machine that somebody else has filled: read, and never written. Links are not followed. */
export interface ForeignStore {
  /**
   * Every regular file below a directory, in no order. What may not be read is left out.
   * @throws MirrorError QUERY_INVALID when it is no directory that we may read, or has more than a million entries.
   */
  list(path: string, signal: AbortSignal): AsyncIterable<ForeignFile>
  /** A file from its beginning; the caller reads it out or destroys it. It may have changed since it was listed. @throws MirrorError QUERY_INVALID. */
  open(path: string): Promise<Readable>
}
