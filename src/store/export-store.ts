import type { Uuid } from '../images/uuid.js'

/** A bundle that was made here. */
export interface ExportRecord {
  /** SHA-256 of its `bundle.json`. */
  readonly id: string
  /** SHA-256 of what `bundle.json` would be if it were of no series: the same contents have the same number. */
  readonly contents: string
  readonly series: { readonly name: string; readonly number: number; readonly previous: string | undefined } | undefined
  /** Whose inventory it answered; `undefined` for anybody's. */
  readonly site: string | undefined
  /** When it was first begun: what signatures say, each time it is written. ms since 1970. */
  readonly atMs: number
  /** What whoever has taken it in has, required images too: uuid, and the SHA-256 of files. `undefined` when it is no longer known. */
  readonly images: readonly (readonly [uuid: Uuid, ...sha256s: string[]])[] | undefined
}

/** Which bundles were made here, so that series can be counted, and the same export is the same bundle. Few enough to be in memory. */
export interface ExportStore {
  /** Oldest first. What cannot be read back is told, and lost. @throws MirrorError STORE_BROKEN. */
  load(): Promise<readonly ExportRecord[]>
  /** Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  save(records: readonly ExportRecord[]): Promise<void>
}
