import type { Digest } from '../images/digest.js'
import type { FileChunks } from '../images/file-chunks.js'
import type { ListQuery } from '../images/list-query.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { UpstreamHealth } from '../upstream/upstream.js'
import type { Channels } from './channels.js'
import type { PrewarmPolicyStatus } from './operations/prewarm-answers.js'

export type { FileChunks } from '../images/file-chunks.js'

/** Images that answer a query, in the order they are to be served. */
export interface ImageList {
  readonly manifests: readonly Manifest[]
  /** Changes whenever any list may have changed; equal revisions mean equal answers to equal queries. */
  readonly revision: number
}

/** An image file that exists, as far as it can be described without fetching a byte of it. */
export interface FileOnOffer {
  readonly manifest: Manifest
  readonly fileIndex: number
  readonly sizeBytes: number
  /** What we measured of the bytes: only of a file that is held and verified. */
  readonly held: HeldFacts | undefined
  /** Wrong bytes of it have left lately: whoever goes on with a part from then would complete a wrong file. */
  readonly isSpoilt: boolean
  /**
   * Starts reading. A file that is not held is fetched, or the fetch under way joined; resolves once an upstream has
   * begun to deliver, so that a failure before the first byte can still be answered with a status.
   * `signal` aborts the waiting only; the fetch goes on.
   * @throws MirrorError UPSTREAM_UNREACHABLE, UPSTREAM_MISBEHAVED, STORE_FULL, STORE_BROKEN, IMAGE_INCOMPLETE (offline).
   */
  open(signal: AbortSignal): Promise<OpenFile>
}

export interface HeldFacts {
  readonly sha256: string
  readonly sha1: string
  readonly md5: string
  readonly keptMs: number
}

/** Bytes in their order, once. Whoever looks at them changes nothing: others may be looking at the same. */
export interface ByteStream extends AsyncIterable<Uint8Array> {
  /** Nothing more is wanted; who waits for the next bytes hears at once that there are none. */
  destroy(): void
}

/** A file being read. Close it when no stream of it is wanted any more; streams still open end with it. */
export interface OpenFile {
  /** The file's MD5: measured if held, else what the upstream's Content-MD5 said, else unknown. */
  readonly md5: Digest | undefined
  /**
   * Where the file of a whole and verified one lies, below `blobs/` of the data directory. Whoever reads it there is not told
   * when it turns out to be damaged, and may find that it has left.
   */
  readonly path?: string | undefined
  /**
   * The bytes from `startBytes` up to, not including, `endBytes`, at the reader's own pace. The last `holdback` bytes of
   * the range (at least one) come only when the whole file is verified. Fails, having delivered less than asked, when
   * that cannot be; destroying it harms nobody else.
   */
  stream(startBytes: number, endBytes: number): ByteStream
  /** May be told of each chunk of a stream, once, when its reader looks at it no more: other bytes will stand there. */
  readonly pieceSpent?: ((piece: Uint8Array) => void) | undefined
  close(): Promise<void>
}

export interface IconOnOffer {
  readonly contentType: 'image/jpeg' | 'image/gif' | 'image/png'
  readonly bytes: Buffer
  readonly keptMs: number
}

/**
 * What the mirror answers, before any protocol has dressed it.
 *
 * On a mirror with channels, `channel` says through which one to look, in the words of the request: without it, through the
 * default channel; `*` is all of them. An image that is not in it is IMAGE_UNKNOWN, in words that do not say whether there is
 * such an image; what we do not have is CHANNEL_UNKNOWN. Origins are looked for in all channels.
 */
export interface Mirror {
  readonly channels: Channels

  /**
   * Never fails for want of an upstream: what we know is the answer. Before any upstream has answered once, it waits a
   * bounded time for the first.
   * @throws MirrorError IMAGE_UNKNOWN for a marker uuid that nobody knows, CHANNEL_UNKNOWN.
   */
  listImages(query: ListQuery): Promise<ImageList>

  /**
   * Any state. Asks the upstreams for a uuid that nobody listed, once for all who ask. Makes the manifests of its
   * ancestry ready in passing.
   * @throws MirrorError IMAGE_UNKNOWN, IMAGE_WITHHELD (also where it builds on one that is), IMAGE_INCOMPLETE (offline, saying
   *   what is missing), ANCESTRY_BROKEN, CHANNEL_UNKNOWN.
   */
  getImage(uuid: Uuid, signal: AbortSignal, channel?: string): Promise<Manifest>

  /** What `getImage` would answer through the default channel, if that takes no waiting and no work; `undefined`: ask it. */
  imageAtHand(uuid: Uuid): Manifest | undefined

  /** The revision that `listImages` would answer, if that takes no waiting; `undefined`: ask it. */
  revisionAtHand(): number | undefined

  /** @throws MirrorError as getImage, and FILE_UNKNOWN. */
  findFile(uuid: Uuid, fileIndex: number, signal: AbortSignal, channel?: string): Promise<FileOnOffer>

  /** @throws MirrorError as getImage, ICON_UNKNOWN, UPSTREAM_UNREACHABLE. */
  getIcon(uuid: Uuid, signal: AbortSignal, channel?: string): Promise<IconOnOffer>

  /** @throws MirrorError as findFile; FILE_UNKNOWN also when the file is not held. */
  getChunks(uuid: Uuid, fileIndex: number, signal: AbortSignal, channel?: string): Promise<FileChunks>

  /** For operators: what is going on. */
  status(): MirrorStatus
}

export interface MirrorStatus {
  readonly isOffline: boolean
  /** Images in the unfiltered list, images whose files are all held, blobs. */
  readonly imagesListed: number
  readonly imagesHeld: number
  /** Images that a policy for conflicts keeps from everybody. */
  readonly imagesWithheld?: number
  readonly blobsKept: number
  readonly bytesKept: number
  readonly upstreams: readonly UpstreamStatus[]
  readonly flights: readonly FlightStatus[]
  readonly conflicts: readonly Conflict[]
  readonly keeping: KeepingStatus
  /** How many entries of the newest segment of the ledger were found damaged at start. */
  readonly ledgerDamaged?: number
  /** Layers that clients of IMGAPI cannot unpack, and that are packed anew. */
  readonly recompression?: RecompressionStatus
  /** How it stands with what is to be here before anyone asks. */
  readonly prewarming?: readonly PrewarmPolicyStatus[]
  /** Images being brought here from other servers because somebody asked, and the last that were; newest first. */
  readonly imports?: readonly ImportStatus[]
}

export interface RecompressionStatus {
  /** Images that nobody is told of until their layer was packed anew. */
  readonly waiting: number
  /** Those of which nothing can be made, and why; the first 100. */
  readonly refused: readonly { readonly uuid: Uuid; readonly reason: string }[]
}

/** Times in ms since 1970. */
export interface ImportStatus {
  readonly jobUuid: Uuid
  /** The image that was asked for. */
  readonly uuid: Uuid
  /** Url of the server. */
  readonly source: string
  readonly state: 'running' | 'done' | 'failed'
  /** It and what it builds on that was not here; base first. */
  readonly images: readonly Uuid[]
  /** How many of them are here and active. */
  readonly imported: number
  /** The one being brought here, or that failed. */
  readonly current: Uuid | undefined
  readonly startedMs: number
  readonly endedMs: number | undefined
  readonly error: string | undefined
}

export interface KeepingStatus {
  readonly room: RoomStatus
  /** `undefined` when it is off. */
  readonly scrub: ScrubStatus | undefined
  /** Files of held images that are not here: damaged, and not to be had again so far. */
  readonly lost: readonly { readonly uuid: Uuid; readonly fileIndex: number; readonly sha256: string }[]
  /** Files of images, also of those published here, that were damaged at start: these images count as not held. */
  readonly damagedRecords: readonly { readonly uuid: Uuid; readonly path: string }[]
}

export interface RoomStatus {
  /** How many bytes image files may take; `undefined`: only the disk sets a limit. */
  readonly quotaBytes: number | undefined
  /** Kept files, files under way at their full size, and what unfinished downloads have left. */
  readonly usedBytes: number
  /** Of what is kept: what never leaves, and what would, if room were needed. */
  readonly pinnedBytes: number
  readonly evictableBytes: number
  /** Let go of since the start. */
  readonly evictedBytes: number
  /** What the disk has for more files, as it was looked at last; `undefined`: never yet, or it does not say. */
  readonly freeBytes?: number | undefined
  /** The last file that there was no room for, as long as none so large has found any since. */
  readonly turnedAway?: TurnedAway | undefined
}

/** A file that passes by at best, because there is no room to keep it. */
export interface TurnedAway {
  readonly atMs: number
  /** What it needed, and what there was of the disk and the quota, whoever might have left. */
  readonly neededBytes: number
  readonly freeBytes: number
}

/** Times in ms since 1970. */
export interface ScrubStatus {
  readonly everyMs: number
  readonly bytesPerSecond: number
  /** When the blob that waits longest was last read from end to end, or kept; `undefined` while there is none. */
  readonly oldestCheckMs: number | undefined
  /** What is being read now. */
  readonly current: { readonly sha256: string; readonly chunk: number; readonly chunks: number } | undefined
  /** When manifests, icons, claims and the index were last read. */
  readonly auditedMs: number | undefined
  /** Since the start: blobs read again, and things found damaged, blobs included. */
  readonly blobsRead: number
  readonly damageFound: number
  /** Whether the rate is too low to read everything in time. */
  readonly isTooSlow: boolean
}

export interface UpstreamStatus {
  readonly name: string
  readonly url: string
  readonly state: 'waiting' | 'reachable' | 'failing'
  /** Images it lists that we admitted. */
  readonly images: number
  readonly setAside: readonly { readonly what: string; readonly reason: string }[]
  readonly incomplete: string | undefined
  readonly lastHeardMs: number | undefined
  readonly lastError: string | undefined
  readonly nextRefreshMs: number | undefined
  /** Of its line and its breaker. */
  readonly health?: UpstreamHealth | undefined
}

export interface FlightStatus {
  readonly uuid: Uuid
  readonly fileIndex: number
  readonly sizeBytes: number
  readonly receivedBytes: number
  readonly readers: number
  readonly upstream: string | undefined
}

/** Claims that disagree on sha1, size or origin. The winner stands; nothing is settled in silence. */
export interface Conflict {
  readonly uuid: Uuid
  /** An upstream, `the held image`, `the image published here`; or `nobody`, when the image is withheld. */
  readonly winner: string
  readonly loser: string
  readonly differences: readonly string[]
  readonly firstSeenMs: number
}
