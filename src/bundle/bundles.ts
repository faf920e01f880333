import type { Job } from '../mirror/jobs.js'
import type { Operator } from '../mirror/operations/operations.js'
import type { Want } from './inventory.js'

/** What is asked of an export. JSON, as the operator API takes it. */
export interface ExportRequest {
  /** Filters as in `imgapi-mirror list`, and uuids: see `findSelected`. Empty: what the inventory wants, or else all that is held. */
  readonly select: readonly string[]
  /** Of these the newest so many per name. */
  readonly latest?: number | undefined
  /** What newest means; without it, by version. */
  readonly by?: 'version' | 'date' | undefined
  /** The text of an inventory. Without it, a full bundle. */
  readonly inventory?: string | undefined
  /** Only images that came to be held since then, ms: for those who insist. Not with an inventory. */
  readonly sinceMs?: number | undefined
  /** Only what this bundle, by its id or the beginning of it, and those before it in its series did not have. Not with an inventory. */
  readonly sinceBundle?: string | undefined
  /** Where the volumes go: a directory on the mirror's machine. Without it, there can be a plan, but no export. */
  readonly out?: string | undefined
  readonly volumeBytes?: number | undefined
  /** Write these volumes only, from 1; all without it. */
  readonly volumes?: readonly number[] | undefined
  /** Parity blocks per hundred data blocks, 0 to 50. */
  readonly parityPercent?: number | undefined
  /** A chain of bundles that a receiver who cannot answer can count. */
  readonly series?: string | undefined
  /** Take an inventory that nobody we trust has signed. */
  readonly isUntrustedAllowed?: boolean | undefined
}

/** What an export would write. */
export interface ExportPlan {
  /** The bundle's id; `null` while images have to be pulled first, as what they turn out to be is part of it, and of nothing at all. */
  readonly id: string | null
  readonly images: readonly {
    readonly uuid: string
    readonly name: string
    readonly version: string
    readonly sizeBytes: number
    /** What of it goes into the bundle: less than its size when the receiver has parts of it. */
    readonly bundledBytes: number
    /** What has to be pulled first. */
    readonly pulledBytes: number
    /** Why it is there: `selected`, `wanted`, or `origin` of one that is. */
    readonly why: 'selected' | 'wanted' | 'origin'
  }[]
  readonly volumes: readonly {
    readonly volume: number
    readonly directory: string
    readonly sizeBytes: number
    readonly isWritten: boolean
  }[]
  /** What the volumes take, parity and all. */
  readonly sizeBytes: number
  readonly pulledBytes: number
  /** What the medium has free; `null` where nobody can tell. */
  readonly freeBytes: number | null
  /** Selected, and the receiver has them. */
  readonly alreadyThere: number
  /** Whatever stands in the way, or should be known: too little room, an image that cannot be had whole. */
  readonly warnings: readonly string[]
}

export interface ExportResult extends ExportPlan {
  readonly writtenBytes: number
}

export interface ImportRequest {
  /** A directory on the mirror's machine: a volume, or one with volumes in it. */
  readonly path: string
  /** Take a bundle that nobody we trust has signed; the ledger tells. */
  readonly isUntrustedAllowed?: boolean | undefined
}

/** What is still lacking of a bundle. */
export interface Lacking {
  readonly bundle: string
  readonly from: { readonly site: string; readonly key: string }
  readonly series: { readonly name: string; readonly number: number } | null
  readonly firstComeMs: number
  readonly volumes: number
  /** Those with bytes that are not here: they never came, or were damaged. */
  readonly volumesMissing: readonly number[]
  /** Manifests, configs and layers of Docker images. */
  readonly objectsMissing: number
  readonly images: readonly {
    readonly uuid: string
    readonly name: string
    readonly version: string
    readonly missingBytes: number
    /** Origins that are neither here nor in the bundle. */
    readonly missingOrigins: readonly string[]
  }[]
}

/** Bundles of one series that never came. */
export interface SeriesGap {
  readonly from: { readonly site: string; readonly key: string }
  readonly series: string
  /** Numbers that never came, as first and last of each gap. */
  readonly missing: readonly (readonly [number, number])[]
  /** Of those that came, which follow another bundle than the one that came under the number before: `previous` is what never came. */
  readonly unfollowed: readonly { readonly number: number; readonly previous: string }[]
  readonly lastNumber: number
}

/** What is awaited, in numbers. */
export interface BundlesStatus {
  readonly isDiode: boolean
  readonly awaited: number
  readonly volumesMissing: number
  readonly imagesMissing: number
  readonly missingBytes: number
  /** Bundles of series that never came. */
  readonly neverCame: number
}

export interface ImportResult {
  /** Per volume that was found: what became of it. */
  readonly volumes: readonly {
    readonly directory: string
    readonly bundle: string | null
    readonly volume: number | null
    /** `taken`: what it has is here. `repeated`: it had nothing new. `damaged`: some of it could not be healed. `refused`: nothing of it was taken. */
    readonly outcome: 'taken' | 'repeated' | 'damaged' | 'refused'
    readonly note: string | null
    readonly takenBytes: number
    readonly healedBlocks: number
  }[]
  /** Images that came to be held, and those that are not taken, and why. */
  readonly imagesHeld: number
  readonly imagesRefused: readonly {
    readonly uuid: string
    readonly name: string
    readonly version: string
    readonly why: string
  }[]
  readonly takenBytes: number
  readonly lacking: readonly Lacking[]
}

/** The open side: what leaves. Plain JSON, as operators ask and are answered. */
export interface BundleExports {
  /** The text of an inventory, signed with the mirror's key. @throws MirrorError QUERY_INVALID (of wants), STORE_FULL, STORE_BROKEN. */
  inventory(wants?: readonly Want[]): Promise<string>
  /** Like `inventory`, with what is lacking as wants. */
  request(): Promise<string>
  /**
   * What an export would do, without doing any of it. @throws MirrorError QUERY_INVALID, BUNDLE_INVALID, BUNDLE_UNTRUSTED (of the
   * inventory), FORBIDDEN to whoever is not on this machine, and names a directory on it.
   */
  plan(request: ExportRequest, operator: Operator, signal: AbortSignal): Promise<ExportPlan>
  /** A job whose result is an ExportResult. @throws MirrorError FORBIDDEN to whoever is not on this machine, QUERY_INVALID. */
  startExport(request: ExportRequest, operator: Operator): Job
}

/** The closed side: what comes. Plain JSON, as operators ask and are answered. */
export interface BundleImports {
  /** A job whose result is an ImportResult. @throws MirrorError FORBIDDEN to whoever is not on this machine. */
  startImport(request: ImportRequest, operator: Operator): Job
  /** Bundles of which something is lacking still. */
  lacking(): readonly Lacking[]
  /** Series of which some bundle never came. */
  gaps(): readonly SeriesGap[]
  /** Whether nothing of ours can travel back. */
  readonly isDiode: boolean
  status(): BundlesStatus
  /**
   * Nobody waits any more for what is lacking of a bundle (by its id, or how that begins), or of a series for what came before: of
   * `NAME:NUMBER`, that number is the last that is not waited for. What came stays until room is needed.
   * @throws MirrorError BUNDLE_UNKNOWN, STORE_FULL, STORE_BROKEN.
   */
  forget(what: string, operator: Operator): Promise<void>
}
