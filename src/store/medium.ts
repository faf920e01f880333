export interface OpenMediumFile {
  readonly sizeBytes: number
  /**
   * Fills `buffer` from `positionBytes`, and answers how many bytes it got; fewer only at the end.
   * @throws MirrorError MEDIUM_UNREADABLE where the medium refuses (a bad sector, a stick pulled out): other places of the file may be readable all the same.
   */
  read(buffer: Uint8Array, positionBytes: number): Promise<number>
  close(): Promise<void>
}

/** A file being written: what was written in an earlier run is here still. */
export interface WritingMediumFile extends OpenMediumFile {
  /** @throws MirrorError MEDIUM_FULL, MEDIUM_UNREADABLE. */
  write(bytes: Uint8Array, positionBytes: number): Promise<void>
  truncate(sizeBytes: number): Promise<void>
  sync(): Promise<void>
}

/**
 * A directory that is not ours, on something that can be carried away: bundles are written to it and read from it. Paths are relative, of plain parts:
 * whatever leads out of it (`..`, absolute, a symbolic link anywhere on the way) or is no regular file (a device, a pipe) is refused, also
 * where it has become that since it was listed.
 */
export interface Medium {
  /** As it was named, for messages. */
  readonly path: string
  /** Entries directly in a directory of it (`''`: itself), at most `most`. @throws MirrorError MEDIUM_UNREADABLE. */
  list(directory: string, most: number): Promise<readonly { readonly name: string; readonly isDirectory: boolean }[]>
  /**
   * `undefined` where there is none. `isPastCache` reads what the medium has, and not what memory has of what was just written, where the system
   * can: buffers must then begin at a page of memory, and they, and positions, be multiples of 4 KiB.
   * @throws MirrorError MEDIUM_UNREADABLE for one that is no regular file.
   */
  open(path: string, options?: { isPastCache?: boolean }): Promise<OpenMediumFile | undefined>
  /** A small file, whole. @throws MirrorError BUNDLE_INVALID for one larger than `limitBytes`, without reading it; MEDIUM_UNREADABLE. */
  readWhole(path: string, limitBytes: number): Promise<Buffer | undefined>
  /** Opens for writing, made with its directories if it is not there; never through a link. @throws MirrorError MEDIUM_FULL, MEDIUM_UNREADABLE. */
  write(path: string): Promise<WritingMediumFile>
  /** Writes a small file so that it is there whole, synced, or not at all. */
  writeWhole(path: string, bytes: Uint8Array): Promise<void>
  /** Harmless where there is none. Only what export itself has begun is ever removed. */
  remove(path: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** What the medium has free, for us. */
  freeBytes(): Promise<number>
}

/** Opens directories on this machine as media. */
export interface Media {
  /** @throws MirrorError QUERY_INVALID when `path` is no directory that we may use. @param isToBeWritten makes the directory if only it is missing. */
  open(path: string, options?: { isToBeWritten?: boolean }): Promise<Medium>
}
