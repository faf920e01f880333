import { isMirrorError, MirrorError } from '../errors.js'
import type { Digest } from '../images/digest.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { Clock } from '../parts/clock.js'
import type { Log } from '../parts/log.js'
import type { BlobStore } from '../store/blob-store.js'
import type { HeldFile } from '../store/image-store.js'
import type { LedgerStore, SignedHead } from '../store/ledger-store.js'
import type { TlsIdentity } from '../upstream/upstream.js'
import type { MirrorCounters } from './counters.js'

/** What a manifest says of one file. */
export interface DeclaredFile {
  readonly sizeBytes: number
  readonly sha256?: string
  readonly sha1?: string
  readonly md5?: string
}

/** Which file an image has. */
export interface KeptFile {
  readonly sizeBytes: number
  readonly sha256: string
  readonly sha1: string
  readonly md5: string
}

/** Bytes [startBytes, endBytes) and who gave them. */
interface GivenBytes {
  readonly upstream: string
  readonly location: string
  readonly startBytes: number
  readonly endBytes: number
}

/** Who somebody on the other side proved to be, and where. */
interface KnownServer {
  readonly upstream: string
  readonly server: string
  readonly tls: TlsIdentity
}

/** Who made a bundle, as it says itself. */
interface BundleMaker {
  readonly site: string
  readonly key: string
}

interface BundleSigner {
  readonly key: string
  readonly isTrusted: boolean
}

/** What is recorded, by kind, and with which facts. Times are ms since 1970. The names of the kinds are in docs/audit.md. */
export interface Happenings {
  /** An upstream says for the first time, or again after it had withdrawn it, that it has the image. */
  claimed: { upstream: string; isListed: boolean; name: string; version: string; files: readonly DeclaredFile[] }
  /** It says something else of it than before; `before` where that is another file. */
  'claim-changed': {
    upstream: string
    name: string
    version: string
    files: readonly DeclaredFile[]
    before?: readonly DeclaredFile[] | undefined
  }
  withdrawn: { upstream: string }
  conflicted: { winner: string; loser: string; differences: readonly string[]; firstSeenMs: number }
  settled: { winner: string; loser: string; differences: readonly string[] }
  /** A file came: which bytes from whom, what was wrong of it at first, and who they were. */
  pulled: {
    fileIndex: number
    sizeBytes: number
    isKept: boolean
    durationMs: number
    /** Who wanted it, where that was no client: `prewarm:NAME`. */
    wantedBy?: string
    extents: readonly GivenBytes[]
    /** So many more, where there are too many to name. */
    moreExtents?: number | undefined
    corrections: readonly { startBytes: number; endBytes: number; wrongFrom: readonly string[]; rightFrom: string }[]
    servers: readonly KnownServer[]
  }
  'pull-failed': { fileIndex: number; reason: string }
  /** All bytes were hashed, and are what was declared. */
  verified: { fileIndex: number; declared: DeclaredFile } & KeptFile
  'verification-failed': { fileIndex: number; upstreams: readonly string[]; reason: string }
  /** All files of the image are here. */
  held: {
    upstream: string
    name: string
    version: string
    files: readonly KeptFile[]
    firstHeardMs?: number | undefined
  }
  /** It was here already when the ledger was begun. */
  found: Happenings['held'] & { heldSinceMs: number }
  /** What only the bytes of a Docker layer tell. */
  derived: { sha1: string; compression: string }
  /** A layer was unpacked, found to be what its image says, and packed as clients can unpack it: of `fromSha256` came this file. */
  recompressed: { how: string; fromSha256: string; fromBytes: number; unpackedSha256: string } & KeptFile
  /** How often its files were asked for on a day; such as `2026-01-31`, by UTC. */
  served: { day: string; times: number }
  scrubbed: { sha256: string; sizeBytes: number; isGood: boolean; images: readonly string[] }
  damaged: { sha256: string; foundBy: string; chunks?: readonly number[] | undefined; images: readonly string[] }
  quarantined: { sha256: string; images: readonly string[] }
  repaired: { sha256: string; how: 'fingerprint' | 'chunks' | 'fetched'; images: readonly string[] }
  'not-repaired': { sha256: string; images: readonly string[] }
  /** Something small is not as it was written. */
  'file-damaged': { what: string; path: string; complaint: string; isMended: boolean }
  evicted: { sha256s: readonly string[]; sizeBytes: number; why: string; images: readonly string[] }
  created: { by: string; name: string; version: string }
  'file-added': { by: string; files: readonly DeclaredFile[] }
  /** It may be had by clients from now on. */
  published: { by: string; name: string; version: string; files: readonly KeptFile[] }
  changed: { by: string; fields: readonly string[] }
  /** With what left with it, where an operator let go of what upstreams have. */
  deleted: { by: string; sha256s?: readonly string[]; sizeBytes?: number }
  'tag-moved': { upstream: string; repository: string; tag: string; from: string; to: string }
  /** Volumes of a bundle were written to a medium. Of a bundle with many images there are several such entries. */
  exported: {
    by: string
    bundle: string
    volumes: readonly number[]
    /** How many there are. */
    of: number
    /** The site whose inventory it answers, and whether somebody we trust had signed that. */
    for?: string
    isTrusted?: boolean
    series?: string
    number?: number
    images: readonly string[]
  }
  pinned: { by: string; reason?: string | undefined }
  unpinned: { by: string }
  /** A volume of a bundle was read: who made it, and whose signature was found good; `null` when nobody's, and it was taken all the same. */
  'bundle-read': {
    by: string
    bundle: string
    volume: number
    volumes: number
    from: BundleMaker
    signedBy: BundleSigner | null
    takenBytes: number
    healedBlocks: number
    lostBytes: number
  }
  /**
   * An image came whole by a bundle. What the maker's mirror knows of it is that mirror's word: `claims` of its upstreams, with when it
   * first heard of them, and entries of its ledger, which their hashes hold it to.
   */
  imported: {
    bundle: string
    from: BundleMaker
    signedBy: BundleSigner | null
    upstream: string
    files: readonly KeptFile[]
    isPublishedThere: boolean
    claims: readonly { upstream: string; firstSeenMs: number }[]
    entries: readonly { kind: string; seq: number; hash: string }[]
  }
  'bundle-forgotten': { by: string; what: string }
  started: { version: string }
  stopped: Record<string, never>
  'config-loaded': { sha256: string; upstreams: readonly string[] }
}

/** Tells the ledger of something. Never fails, and costs some microseconds. */
export type RecordHappening = <Kind extends keyof Happenings>(
  kind: Kind,
  image: Uuid | undefined,
  facts: Happenings[Kind],
) => void

/** For tests and tools. */
export const recordNothing: RecordHappening = () => {}

export interface LedgerOptions {
  readonly store: LedgerStore
  readonly counters: Pick<MirrorCounters, 'recorded'>
  readonly clock: Clock
  readonly log: Log
}

/** So often a head is signed and told to the log. */
const HEAD_EVERY_MS = 3_600_000
/** Counted in memory at most; with more, what is counted so far is written down. */
const MOST_COUNTED = 10_000
/** Of a file that came in more pieces, no more are named. */
const MOST_EXTENTS = 100

/** What becomes of the ledger while the mirror runs: heads are signed, and what is counted is written down. */
export class Ledger {
  readonly #options: LedgerOptions
  readonly #abort = new AbortController()
  readonly #served = new Map<Uuid, number>()
  #day: string
  #signedMs: number | undefined
  #running: Promise<void> | undefined

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#day = dayOf(options.clock.wallMs())
  }

  readonly record: RecordHappening = (kind, image, facts) => {
    this.#options.store.append(kind, image, facts)
    this.#options.counters.recorded(kind)
  }

  /** Somebody was given a file of this image. Written down once a day, and when the mirror ends. */
  readonly served = (uuid: Uuid): void => {
    this.#turnDay()
    this.#served.set(uuid, (this.#served.get(uuid) ?? 0) + 1)
    if (this.#served.size >= MOST_COUNTED) this.#tellServed()
  }

  /** How it is, and when a head was last signed: ms since 1970. */
  get standing(): LedgerStore['standing'] & { readonly signedMs: number | undefined } {
    return { ...this.#options.store.standing, signedMs: this.#signedMs }
  }

  get store(): LedgerStore {
    return this.#options.store
  }

  /** Signs a head, and from now on one every hour. */
  async start(): Promise<void> {
    await this.#trySigning()
    this.#running ??= this.#run()
  }

  /** The head of everything that happened so far. @throws MirrorError STORE_FULL, STORE_BROKEN. */
  async sign(): Promise<SignedHead> {
    const head = await this.#options.store.sign()
    const { atMs, entries, hash, key } = head
    this.#signedMs = atMs
    this.#options.log.info(
      // Not `key`: the log takes whatever is called so for a secret, and this is the name of the public one.
      { entries, hash, signedBy: key, at: new Date(atMs).toISOString() },
      `the ledger has ${entries} entries`,
    )
    return head
  }

  /** The last of all that is to be closed before the store: everything else has something to tell. */
  async close(): Promise<void> {
    this.#abort.abort(new MirrorError('CLOSING', 'the mirror is closing'))
    await this.#running
    this.#tellServed()
    this.record('stopped', undefined, {})
    await this.#trySigning()
  }

  async #run(): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#abort
    while (!signal.aborted) {
      await clock.pause(HEAD_EVERY_MS, signal).catch(() => {})
      if (signal.aborted) return
      this.#turnDay()
      await this.#trySigning()
    }
  }

  async #trySigning(): Promise<void> {
    try {
      await this.sign()
    } catch (error) {
      if (!isMirrorError(error, 'STORE_FULL', 'STORE_BROKEN')) throw error
      this.#options.log.error({ err: error }, 'the head of the ledger could not be signed')
    }
  }

  #turnDay(): void {
    const day = dayOf(this.#options.clock.wallMs())
    if (day === this.#day) return
    this.#tellServed()
    this.#day = day
  }

  #tellServed(): void {
    for (const [uuid, times] of this.#served) this.record('served', uuid, { day: this.#day, times })
    this.#served.clear()
  }
}

export function declaredFiles({ files }: Manifest): DeclaredFile[] {
  return files.map(({ digests, sizeBytes }) => declaredFile(sizeBytes, digests))
}

export function declaredFile(sizeBytes: number, digests: readonly Digest[]): DeclaredFile {
  return { sizeBytes, ...Object.fromEntries(digests.map(({ algorithm, hex }) => [algorithm, hex])) }
}

/** What was measured of files that are kept. */
export function keptFiles(files: readonly Pick<HeldFile, 'sha256'>[], blobs: Pick<BlobStore, 'find'>): KeptFile[] {
  return files.flatMap(({ sha256 }) => {
    const blob = blobs.find({ algorithm: 'sha256', hex: sha256 })
    return blob ? [{ sizeBytes: blob.sizeBytes, sha256, sha1: blob.sha1, md5: blob.md5 }] : []
  })
}

/** Of the extents of a file those that an entry names. */
export function namedExtents(extents: readonly GivenBytes[]): {
  extents: readonly GivenBytes[]
  moreExtents?: number
} {
  const named = extents.slice(0, MOST_EXTENTS)
  const more = extents.length - named.length
  return { extents: named, ...(more > 0 && { moreExtents: more }) }
}

function dayOf(wallMs: number): string {
  return new Date(wallMs).toISOString().slice(0, 10)
}
