import type { Audited } from './audit-store.js'

/** A bundle of which at least one volume has come. Plain JSON, ms since 1970. */
export interface Arrival {
  /** SHA-256 of its `bundle.json`. */
  readonly id: string
  /** Who made it, as it says itself. */
  readonly from: { readonly site: string; readonly key: string }
  /** Whose signature was checked; `null` when nobody we know has signed it, and an operator took it all the same. */
  readonly signedBy: { readonly key: string; readonly isTrusted: boolean } | null
  readonly series: { readonly name: string; readonly number: number; readonly previous: string | null } | null
  readonly images: number
  readonly volumes: number
  /** Those that have come, ascending. */
  readonly volumesCome: readonly number[]
  readonly firstComeMs: number
  readonly lastComeMs: number
  /** Since when nothing of it is lacking, or nobody waits for the rest; `null` while it is awaited. */
  readonly endedMs: number | null
}

/** Of a series nobody waits for numbers up to this one. */
export interface ExcusedSeries {
  readonly name: string
  readonly upTo: number
}

export interface Arrivals {
  readonly arrivals: readonly Arrival[]
  readonly excused: readonly ExcusedSeries[]
}

/** What is kept of a bundle while it is awaited, as it lay on the medium. */
export type ArrivalDocument = 'bundle.json' | 'bundle.json.minisig' | 'provenance.jsonl'

/** Which bundles have come, and what is needed to go on with those of which something is lacking. */
export interface ArrivalStore extends Audited {
  /** What was saved last; none when there is nothing. A damaged file is set aside and told of in the log. */
  load(): Promise<Arrivals>
  /** Replaces all. Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  save(arrivals: Arrivals): Promise<void>
  /** @throws MirrorError STORE_BROKEN. */
  document(id: string, name: ArrivalDocument): Promise<Buffer | undefined>
  /** Durable when it resolves. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  keepDocument(id: string, name: ArrivalDocument, bytes: Uint8Array): Promise<void>
  /** Removes the documents of a bundle. Harmless where there are none. @throws MirrorError STORE_BROKEN. */
  forgetDocuments(id: string): Promise<void>
}
