import type { Readable } from 'node:stream'
import type { LeftOut, SetAside, Statement } from '../images/claim.js'
import type { Digest } from '../images/digest.js'
import type { FileChunks } from '../images/file-chunks.js'
import type { Uuid } from '../images/uuid.js'
import type { RateLimit } from '../parts/rate-plan.js'
import type { RegistryUpstream, TagSighting } from './registry-upstream.js'

export type { FileChunks } from '../images/file-chunks.js'

/** The whole catalogue of an upstream as it stands now, already narrowed by its `include` and `exclude` filters. */
export interface Listing {
  /** No duplicates by uuid. */
  readonly statements: readonly Statement[]
  readonly setAside: readonly SetAside[]
  /** What our filters left out, or as much of it as is remembered. */
  readonly leftOut?: readonly LeftOut[]
  /** How many images the upstream itself listed, before our filters: 0 is suspicious, all filtered is not. */
  readonly listedCount: number
  /** Hand it back next time to be told `unchanged` for the price of a 304. `undefined` where that is not possible. */
  readonly validator: string | undefined
  /** Set when the upstream's paging could not be followed to the end, and why. */
  readonly incomplete: string | undefined
  /** Of a Docker registry: what the tags we follow mean now. */
  readonly tags?: readonly TagSighting[] | undefined
}

/** Who a server proved to be when we connected to it: its certificate, as far as it names somebody. */
export interface TlsIdentity {
  readonly subject: string
  readonly issuer: string
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string
  readonly validFromMs: number
  readonly validToMs: number
  /** False where configuration says `insecure`, and nobody we believe vouches for it. */
  readonly isTrusted: boolean
}

/** The bytes of an image file on their way. */
export interface FileBody {
  /** Where in the file the first byte of `body` stands: the offset asked for, or 0 if the upstream ignored the range. */
  readonly startBytes: number
  /** Where `body` ends, exclusive: the end asked for, or the file's if the upstream ignored the range. */
  readonly endBytes: number
  /** The size of the whole file by Content-Length or Content-Range; `undefined` if it was not said. */
  readonly totalBytes: number | undefined
  /** From a Content-MD5 header that was present and well formed. */
  readonly contentMd5: Digest | undefined
  /** A strong validator (ETag) for `If-Range`, if the upstream gave one. */
  readonly validator: string | undefined
  /** The url that answered, without credentials. */
  readonly location: string
  /** Of the server that answered, as it was when we last connected to it; `undefined` without TLS. */
  readonly tls?: TlsIdentity | undefined
  /** Fails with UPSTREAM_UNREACHABLE when the upstream cuts it, or sends nothing for the stall limit. */
  readonly body: Readable
}

/** Who waits for an answer. Clients go first; in a closed window, only they may be let through. */
export type Priority = 'client' | 'background'

/** As a function it is asked again and again: a client may join what was begun for nobody. */
export type LivePriority = Priority | (() => Priority)

export function priorityNow(priority: LivePriority): Priority {
  return typeof priority === 'function' ? priority() : priority
}

export interface FileRequest {
  readonly statement: Statement
  readonly fileIndex: number
  /** Where to start; 0 for the whole file. The answer may start at 0 all the same. */
  readonly startBytes: number
  /** Where to end, exclusive; without it, the end of the file. The answer may go on to the file's end all the same. */
  readonly endBytes?: number | undefined
  /** From an earlier body of this file by this upstream: if the file has changed since, start at 0. */
  readonly validator?: string | undefined
  /** Without it, a client. */
  readonly priority?: LivePriority | undefined
  /** A client waits and nobody else offers the file: worth a probe before its time, if the breaker is open. */
  readonly isLastResort?: boolean | undefined
  readonly signal: AbortSignal
}

/** How an upstream is, as far as we can tell. Times are since 1970. */
export interface UpstreamHealth {
  /** open: it is not asked, until a probe at `nextProbeMs`. half-open: the probe is under way. */
  readonly breaker: 'closed' | 'open' | 'half-open'
  /** In a row. */
  readonly failures: number
  readonly nextProbeMs: number | undefined
  /** Whether it gives parts of files, as seen last; `undefined` until it was asked for one. */
  readonly canResume: boolean | undefined
  /** It asked for silence until then. */
  readonly quietUntilMs: number | undefined
  /** In bytes per second, what holds now and until when. */
  readonly rate: { readonly limit: RateLimit; readonly untilMs: number | undefined }
  /** Of a Docker registry that has such a limit. */
  readonly pullLimit?: PullLimit | undefined
}

/** How many manifests a registry still lets us have, as it told last. Times are since 1970. */
export interface PullLimit {
  /** `undefined`: not told. */
  readonly limit: number | undefined
  readonly remaining: number
  /** When the count begins anew, at latest. */
  readonly untilMs: number
}

export interface Icon {
  readonly contentType: 'image/jpeg' | 'image/gif' | 'image/png'
  /** At most 128 KiB (sdc-imgapi, lib/constants.js, `MAX_ICON_SIZE`). */
  readonly bytes: Buffer
}

/**
 * A server we pull from. Everything it answers is checked for form here: uuids, sizes, digests, urls, redirects, JSON
 * depth and length. Whether the bytes are the promised ones is for whoever keeps them to check.
 *
 * Every method throws MirrorError UPSTREAM_UNREACHABLE (no connection, time limit, 5xx, 429) or UPSTREAM_MISBEHAVED (an
 * answer that its protocol does not allow). A `signal` that aborts rejects with the signal's reason. UPSTREAM_UNREACHABLE
 * comes at once, with `retryAfterMs`, while the upstream must not be asked: it is ill, its line is closed, or it wants
 * silence. Lists are background; everything else is a client's unless it says otherwise.
 */
export interface Upstream {
  readonly name: string
  /** Without credentials, for messages. */
  readonly url: string
  /** How it named itself in Via when it answered last, if it is a mirror like us. */
  readonly instance?: string | undefined
  /** Of a Docker registry: what its own clients ask for. */
  readonly registry?: RegistryUpstream | undefined

  /** Answers `unchanged` only if `validator` was given and still holds. */
  listImages(options: { validator?: string | undefined; signal: AbortSignal }): Promise<Listing | 'unchanged'>

  /**
   * Asks for one image, also one that is in no list: inactive origins are. Filters do not apply. Answers `undefined`
   * when the upstream says it has none.
   */
  getImage(uuid: Uuid, signal: AbortSignal): Promise<Statement | undefined>

  /** Which filter of `include` and `exclude` leaves this image out, in words; `undefined` for one that they let through. */
  whyLeftOut(statement: Statement): string | undefined

  /** The caller owns `body` and ends it, by reading it out or destroying it. A 404 is UPSTREAM_MISBEHAVED. */
  openFile(request: FileRequest): Promise<FileBody>

  /** Answers `undefined` when there is none. */
  getIcon(uuid: Uuid, signal: AbortSignal): Promise<Icon | undefined>

  /**
   * The chunk hashes of a file, from an upstream that is a mirror like us and holds it; `undefined` from all others.
   * They fit the statement's size and digests, but only bytes can prove them.
   */
  getChunks(
    statement: Statement,
    fileIndex: number,
    signal: AbortSignal,
    priority?: Priority,
  ): Promise<FileChunks | undefined>

  /**
   * Asks a question that costs next to nothing, to see whether anybody answers; also while the upstream counts as ill. Answers what it
   * speaks, in words for people.
   */
  check(signal: AbortSignal): Promise<string>

  /** Asks nobody. */
  health(): UpstreamHealth

  /** Closes its connections. */
  close(): Promise<void>
}
