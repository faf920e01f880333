import type { Uuid } from '../../images/uuid.js'
import type { Outcome } from '../prewarming/plan.js'

/*
 * What is known of one image, and why it is answered as it is. Plain JSON, as image-answers.ts: times in ms since 1970, sizes in
 * bytes, `null` for what is not so or not known.
 */

/** `GET /api/explain/:what`: of a uuid, a name, name@version, or the repository:tag of a Docker image. */
export interface Explanation {
  /** As it was asked. */
  readonly asked: string
  /** Null when nothing of that name is known; of a uuid there is always something to say. */
  readonly image: ImageExplanation | null
  /** Further images of that name, newest first; not all of them, when there are very many. */
  readonly others: readonly ImageName[]
  readonly otherCount: number
  /** The same in plain words, line by line; lines of details begin with two blanks. */
  readonly words: readonly string[]
}

export interface ImageName {
  readonly uuid: Uuid
  readonly name: string
  readonly version: string
}

export interface ImageExplanation {
  readonly uuid: Uuid
  /** Null for an image of which nobody has told more than its uuid. */
  readonly name: string | null
  readonly version: string | null
  readonly type: string | null
  readonly os: string | null
  readonly state: string | null
  readonly isPublic: boolean | null
  readonly publishedMs: number | null
  /** Whether it is in the list that clients get without any filter. */
  readonly isListed: boolean
  /** Whether a client who asks for it by uuid gets its manifest; and its file, where `reasons` do not say `file lost`. */
  readonly isServed: boolean
  /** Why it is not listed, or not served, or only its manifest is; empty when all is well. */
  readonly reasons: readonly Reason[]
  /** In order of precedence. */
  readonly upstreams: readonly UpstreamView[]
  /** Whose word stands: an upstream, `the held image`, `the image published here`; null when nobody's does. */
  readonly stands: string | null
  readonly policy: PolicyView | null
  /** Channels of ours that it is in; null on a mirror without channels. */
  readonly channels: readonly string[] | null
  readonly held: HeldView | null
  /** What is being fetched of it now. */
  readonly flights: readonly {
    readonly fileIndex: number
    readonly sizeBytes: number
    readonly receivedBytes: number
  }[]
  /** What keeps it from leaving, of pins. */
  readonly pins: readonly PinView[]
  /** Prewarm policies that want it here before anyone asks. */
  readonly wantedBy: readonly WantedByView[]
  readonly eviction: EvictionView | null
  /** Itself first, then its origin, and so on to the base. */
  readonly ancestry: readonly AncestorView[]
  /** Why its ancestry leads nowhere: a ring, or too long. */
  readonly brokenAncestry: string | null
  /** By which bundle it came here last; null for one that did not, as far as the newest entries of the ledger say. */
  readonly cameBy: CameByView | null
  /** Bundles that have come in part, and of which some of it is lacking. */
  readonly awaited: readonly AwaitedView[]
  /** The newest entries about it, in order. */
  readonly ledger: readonly LedgerView[]
  /** Images whose files are not here: what a client would lack if we were offline. */
  readonly offlineLacks: readonly Uuid[]
}

export interface Reason {
  readonly code:
    | 'unknown'
    | 'withdrawn'
    | 'left out'
    | 'withheld'
    | 'origin withheld'
    | 'ancestry broken'
    | 'not active'
    | 'not listed upstream'
    | 'no channel'
    | 'hidden'
    | 'incomplete offline'
    | 'private'
    | 'file lost'
    | 'refused'
  /** A whole sentence. */
  readonly text: string
}

export interface UpstreamView {
  readonly name: string
  readonly url: string | null
  /**
   * `left out` by our filters, `set aside` as no usable manifest; `not asked` when this mirror is offline; `unknown` when it
   * could not be asked.
   */
  readonly says:
    | 'has it'
    | 'has it unlisted'
    | 'withdrew it'
    | 'left out'
    | 'set aside'
    | 'has none'
    | 'unknown'
    | 'not asked'
  /** In words: which filter, what was wrong, what failed. */
  readonly why: string | null
  readonly firstHeardMs: number | null
  readonly lastHeardMs: number | null
  readonly withdrawnMs: number | null
  /** From what stands, or would stand if order decided; empty when it agrees. */
  readonly differences: readonly string[]
  /** Of its catalogue, when it fails. */
  readonly error: string | null
}

export interface PolicyView {
  /** As the configuration has it: `withhold`, `quorum: 2`, `upstream: smartos`... */
  readonly policy: string
  /** Where it does. */
  readonly from: string
  readonly isWithheld: boolean
  /** Why it is withheld. */
  readonly why: string | null
}

export interface HeldView {
  readonly sinceMs: number
  /** Who published it here; null for an upstream's image. */
  readonly publishedBy: string | null
  readonly files: readonly HeldFileView[]
}

export interface HeldFileView {
  readonly index: number
  readonly sizeBytes: number
  readonly sha256: string
  /** These three are null when the file is lost: damaged, and not to be had again so far. */
  readonly sha1: string | null
  readonly keptMs: number | null
  readonly lastReadMs: number | null
  /** When it was last read from end to end and found right; null if never since it was kept. */
  readonly checkedMs: number | null
  /** How many bytes came from whom; empty for a file that was here already, for another image. */
  readonly sources: readonly { readonly upstream: string; readonly bytes: number }[]
  readonly corrections: readonly {
    readonly startBytes: number
    readonly endBytes: number
    readonly wrongFrom: readonly string[]
    readonly rightFrom: string
    readonly atMs: number
  }[]
}

export interface CameByView {
  /** Its id. */
  readonly bundle: string
  /** What the mirror is called that made it. */
  readonly site: string
  /** Null when nobody signed it, and it was taken all the same. */
  readonly signedBy: { readonly key: string; readonly isTrusted: boolean } | null
  readonly atMs: number
}

export interface AwaitedView {
  readonly bundle: string
  readonly site: string
  readonly missingBytes: number
  /** Images it builds on that are neither here nor in the bundle. */
  readonly missingOrigins: readonly string[]
  /** Of the bundle, those with bytes that are not here. */
  readonly volumesMissing: readonly number[]
  readonly volumes: number
}

export interface PinView {
  /** `configuration` for the pins of the configuration. */
  readonly by: string
  /** The pin as it is written. */
  readonly pin: string
  /** Null when it pins this very image; else the image that is pinned and builds on this one. */
  readonly through: ImageName | null
}

export interface WantedByView {
  readonly policy: string
  /** What becomes of what it wants, as plans say it. */
  readonly outcome: Outcome
  /** Null when it wants this very image; else one that it wants and that builds on this one. */
  readonly through: ImageName | null
  readonly doneMs: number | null
  /** When the policy may fetch next; now, if it may. */
  readonly nextOpeningMs: number | null
}

export interface EvictionView {
  readonly mayLeave: boolean
  /** In words: why it stays, or why it would leave. */
  readonly why: string
  /** How much leaves before it. */
  readonly before: { readonly count: number; readonly bytes: number; readonly last: Uuid | null } | null
  readonly quotaBytes: number | null
  readonly usedBytes: number
}

/** Something that happened to the image, as the ledger has it. */
export interface LedgerView {
  readonly seq: number
  readonly atMs: number
  readonly kind: string
  readonly facts: Readonly<Record<string, unknown>>
}

export interface AncestorView {
  readonly uuid: Uuid
  readonly name: string | null
  readonly version: string | null
  readonly is: 'held' | 'not held' | 'withheld' | 'unknown'
}
