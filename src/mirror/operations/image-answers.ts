import type { Uuid } from '../../images/uuid.js'
import type { CameByView } from './explanation.js'

/*
 * What operators are told of images, and of what was done with them. Plain JSON: times in ms since 1970, sizes in bytes, `null`
 * for what is not so or not known.
 */

/** A page of a list. `next` is the marker of the page behind it; null on the last one. */
export interface Page<Item> {
  readonly items: readonly Item[]
  readonly next: string | null
}

/** `GET /api/images`, with `held=true` for the held ones, and `filter` as parseFilter reads it. By name, then date, then uuid. */
export interface ImageRow {
  readonly uuid: Uuid
  readonly name: string
  readonly version: string
  readonly os: string
  readonly type: string
  readonly state: string
  readonly isPublic: boolean
  readonly publishedMs: number | null
  readonly origin: Uuid | null
  /** Of all its files together. */
  readonly sizeBytes: number
  readonly isHeld: boolean
  readonly isPinned: boolean
  /** Whose manifest we serve. */
  readonly upstream: string
  /** Of a held one. */
  readonly heldSinceMs: number | null
  /** Of a held one: when somebody last read its file. */
  readonly lastReadMs: number | null
}

/** `GET /api/images/:uuid`. */
export interface ImageDetails extends ImageRow {
  /** As clients of IMGAPI get it. */
  readonly manifest: Readonly<Record<string, unknown>>
  /** What each upstream says of it. */
  readonly claims: readonly ClaimFacts[]
  readonly conflicts: readonly ConflictFacts[]
  readonly pins: readonly PinFacts[]
  /** By which bundle it came here; `null` for one that is not held, or did not, as far as the newest entries of the ledger say. */
  readonly cameBy: CameByView | null
  /** Empty unless held. */
  readonly files: readonly HeldFileFacts[]
}

export interface ClaimFacts {
  readonly upstream: string
  readonly isListed: boolean
  readonly firstHeardMs: number
  readonly lastHeardMs: number
  readonly withdrawnMs: number | null
  /** Of its first file; `null` where it does not say. */
  readonly sha1: string | null
  readonly sizeBytes: number | null
}

export interface ConflictFacts {
  readonly winner: string
  readonly loser: string
  readonly differences: readonly string[]
  readonly firstSeenMs: number
}

/** Why an image never leaves by itself. `by` is `configuration` for the pins of the configuration. */
export interface PinFacts {
  readonly by: string
  readonly reason: string | null
  readonly sinceMs: number | null
}

export interface HeldFileFacts {
  readonly index: number
  readonly sizeBytes: number
  readonly sha256: string
  readonly sha1: string
  readonly md5: string
  readonly keptMs: number
  /** When it was last read from end to end and found right. */
  readonly checkedMs: number | null
  /** Which bytes came from whom, in order; empty for a file that was here already, for another image. */
  readonly extents: readonly { readonly startBytes: number; readonly endBytes: number; readonly upstream: string }[]
}

/** `GET /api/images/:uuid/ancestry`: itself first, then its origin, and so on to the base. */
export interface AncestryAnswer {
  readonly images: readonly ImageRow[]
  /** The origin nobody has told us of, if there is one. */
  readonly missing: Uuid | null
  /** Why it leads nowhere: a ring, or too long. */
  readonly broken: string | null
  /** What is still to be fetched for all of it to be held. */
  readonly bytesToPull: number
}

/** `DELETE /api/images/:uuid`. */
export interface RemovalAnswer {
  readonly uuid: Uuid
  /** What that gave back; files that other images share stay. */
  readonly freedBytes: number
}

/** `POST /api/vacuum` with `{bytes?, dryRun?}`: bytes to free; without it, as many as the quota demands. */
export interface VacuumAnswer {
  readonly dryRun: boolean
  /** In the order in which they go, or would. */
  readonly images: readonly {
    readonly uuid: Uuid
    readonly name: string
    readonly version: string
    readonly freedBytes: number
    readonly lastReadMs: number | null
  }[]
  /** What goes besides images: unfinished downloads, files of no image we know. */
  readonly others: readonly { readonly what: string; readonly freedBytes: number }[]
  readonly freedBytes: number
  readonly wantedBytes: number
}

/** `POST /api/refresh` with `{upstreams?: names}`. */
export interface RefreshAnswer {
  readonly upstreams: readonly {
    readonly name: string
    readonly ok: boolean
    readonly error: string | null
    readonly images: number
    readonly added: number
    readonly changed: number
    readonly withdrawn: number
    readonly tookMs: number
  }[]
}

/** `POST /api/upstreams/check` with `{upstreams?: names}`: each asked a cheap question now. */
export interface UpstreamCheck {
  readonly name: string
  readonly url: string
  readonly ok: boolean
  /** In words: IMGAPI 4.x, DSAPI, Docker registry. */
  readonly protocol: string | null
  readonly tookMs: number
  readonly error: string | null
}
