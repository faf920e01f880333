import { createHash, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { hasCode, MirrorError } from '../errors.js'
import type { Digest } from '../images/digest.js'
import { forEachConcurrently } from '../parts/for-each-concurrently.js'
import { inSlices } from '../parts/in-slices.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import type { Flaw } from './audit-store.js'
import { readChunks } from './blob-examiner.js'
import { BlobFiles } from './blob-files.js'
import { BlobIndex } from './blob-index.js'
import { BlobReaders, DiskOpenBlob } from './blob-readers.js'
import {
  type BlobRef,
  type BlobStore,
  CHUNK_BYTES,
  type Examination,
  type ExamineOptions,
  type ExpectedBlob,
  type Fingerprint,
  type OpenBlob,
  type SuspendedBlob,
  type TimedBlob,
} from './blob-store.js'
import { type BlobRow, BlobTable } from './blob-table.js'
import { ChunkHashes } from './chunk-hashes.js'
import { DiskPartialBlob, type PartialOwner, SYNC_INTERVAL_BYTES } from './disk-partial-blob.js'
import type { FileSystem, OpenedFile } from './file-system.js'
import { HashPool, type Measured } from './hash-pool.js'
import { copyMended } from './mended-copy.js'
import { PartialFiles, resumableName } from './partial-files.js'
import { storeFailure } from './store-failure.js'

/** Left to fingerprints, manifests and claims: a disk that is full of blobs can still be written down. */
const HEADROOM_BYTES = 16 * 1024 * 1024
const RECOVERIES_AT_A_TIME = 16
/** How much of a blob's last use a crash may cost: it is written to the index when it falls into another minute. */
const USE_RESOLUTION_MS = 60_000

export interface DiskBlobStoreOptions {
  /** The data directory, and the directory for files being written. */
  readonly root: string
  readonly partial: string
  readonly fileSystem: FileSystem
  readonly log: Log
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number
  /** Which start of the machine this is; see boot-identity.ts. */
  readonly boot: string
  readonly syncIntervalBytes?: number
}

/**
 * Blobs as plain files (see BlobFiles), with what is known of each in memory, and in `index/` for the next start.
 *
 * The files are the truth. At start their names are compared with the rows of the index: a blob without a row, because we were killed
 * before it was written or level has lost it, is taken up from its fingerprint; a row without a blob is dropped. That
 * costs reading 256 directories, and finds every difference but a changed size, which is looked at when a blob is opened.
 */
export class DiskBlobStore implements BlobStore {
  readonly #fileSystem: FileSystem
  readonly #partialDirectory: string
  readonly #log: Log
  readonly #now: () => number
  readonly #files: BlobFiles
  readonly #index: BlobIndex
  readonly #partialFiles: PartialFiles
  readonly #syncIntervalBytes: number
  readonly #pool = new HashPool()
  readonly #table = new BlobTable()
  /** Names come and go one at a time, so that two flights of the same bytes cannot trip over each other. */
  readonly #naming = new OneAtATime()
  readonly #partials = new Set<DiskPartialBlob>()
  /** Those of them that have their place under the name they are resumed by. */
  readonly #named = new Map<string, DiskPartialBlob>()
  /** Copies being made by `repair`, and the room they were promised. */
  readonly #mending = new Set<{ readonly awaitedBytes: number }>()
  readonly #readers = new BlobReaders()
  readonly #chunkHashes = new ChunkHashes()
  /** Used since that was last written to the index. At most one entry a blob. */
  readonly #newlyUsed = new Set<string>()
  /** One blob is let in at a time: each finds all before it among the partials when it asks for room. */
  readonly #admitting = new OneAtATime()
  #isClosing = false

  static async open(options: DiskBlobStoreOptions): Promise<DiskBlobStore> {
    const { root, partial, fileSystem, log } = options
    try {
      const files = await BlobFiles.at(root, partial, fileSystem)
      const partialFiles = await PartialFiles.at(partial, options)
      const index = await BlobIndex.open(join(root, 'index'), log)
      const store = new DiskBlobStore(options, files, partialFiles, index)
      try {
        await store.#takeStock()
        return store
      } catch (cause) {
        await store.close()
        throw cause
      }
    } catch (cause) {
      throw storeFailure(`cannot read the blobs in ${root}`, cause)
    }
  }

  private constructor(
    { partial, fileSystem, log, now, syncIntervalBytes = SYNC_INTERVAL_BYTES }: DiskBlobStoreOptions,
    files: BlobFiles,
    partialFiles: PartialFiles,
    index: BlobIndex,
  ) {
    this.#partialDirectory = partial
    this.#partialFiles = partialFiles
    this.#syncIntervalBytes = syncIntervalBytes
    this.#fileSystem = fileSystem
    this.#log = log
    this.#now = now
    this.#files = files
    this.#index = index
  }

  find(digest: Digest, sizeBytes?: number): BlobRef | undefined {
    const [ref, another] = this.#table.matching(digest)
    // Two blobs with one sha1 or md5: then that digest says nothing about which is meant, and neither is shared.
    if (!ref || another || (sizeBytes !== undefined && ref.sizeBytes !== sizeBytes)) return undefined
    return ref
  }

  all(): Iterable<BlobRef> {
    return this.#table.all()
  }

  async open(sha256: string): Promise<OpenBlob | undefined> {
    const ref = this.#table.get(sha256)
    if (!ref) return undefined
    // From here on it is not let go of; whoever was letting go of it before has taken it out of the table.
    const lease = this.#readers.begin(sha256)
    let file: OpenedFile | undefined
    try {
      file = await this.#files.open(sha256)
      if ((await file.sizeBytes()) === ref.sizeBytes && !lease.isBroken) {
        this.#noteUse(sha256)
        return new DiskOpenBlob(ref, this.#files.shelfPathOf(sha256), file, lease)
      }
      await file.close()
    } catch (cause) {
      lease.end()
      await file?.close().catch(() => {})
      if (!hasCode(cause, 'ENOENT')) throw storeFailure(`cannot open blob ${sha256}`, cause)
    }
    lease.end()
    await this.#missOrSetAside(ref)
    return undefined
  }

  async fingerprint(sha256: string): Promise<Fingerprint | undefined> {
    if (!this.#table.get(sha256)) return undefined
    try {
      return (await this.#files.readFingerprint(sha256)) ?? (await this.#naming.run(() => this.#recover(sha256)))
    } catch (cause) {
      throw storeFailure(`cannot read the fingerprint of blob ${sha256}`, cause)
    }
  }

  async receive(expected: ExpectedBlob): Promise<DiskPartialBlob> {
    this.#checkOpen()
    try {
      return await this.#admitting.run(async () => {
        const name = resumableName(expected)
        // Whoever had the place before is about to leave it, with or without its bytes.
        const before = name === undefined ? undefined : this.#named.get(name)
        await before?.leaving?.catch(() => {})
        return await this.#startPartial(expected, name !== undefined && this.#named.has(name) ? undefined : name)
      })
    } catch (cause) {
      throw storeFailure(`cannot receive a blob of ${expected.sizeBytes} bytes`, cause)
    }
  }

  async #startPartial(expected: ExpectedBlob, name: string | undefined): Promise<DiskPartialBlob> {
    const hereBytes = name === undefined ? 0 : this.#partialFiles.bytesLeftOf(name)
    await this.#checkRoom(expected.isOpenEnded ? 0 : expected.sizeBytes - hereBytes)
    const place =
      name === undefined
        ? await this.#partialFiles.createAnonymous()
        : await this.#partialFiles.openNamed(name, expected)
    try {
      // Fails when the store was closed while we waited for the disk.
      const partial = new DiskPartialBlob(expected, place, this.#ownerOf(name))
      this.#partials.add(partial)
      if (name !== undefined) this.#named.set(name, partial)
      return partial
    } catch (cause) {
      await place.journal?.close()
      await place.file.close()
      if (hereBytes > 0) await this.#partialFiles.suspend(place)
      else await this.#partialFiles.drop(place)
      throw cause
    }
  }

  suspended(): Iterable<SuspendedBlob> {
    return this.#partialFiles.suspended
  }

  async reclaim(untouchedSinceMs: number, isAwaited?: (left: ExpectedBlob) => boolean): Promise<number> {
    try {
      return await this.#admitting.run(() => this.#partialFiles.reclaim(untouchedSinceMs, isAwaited))
    } catch (cause) {
      throw storeFailure('cannot remove what is left of old downloads', cause)
    }
  }

  get keptCount(): number {
    return this.#table.count
  }

  get keptBytes(): number {
    return this.#table.totalBytes
  }

  get receivingBytes(): number {
    let sizeBytes = 0
    for (const { foreseenBytes } of this.#partials) sizeBytes += foreseenBytes
    return sizeBytes
  }

  async freeBytes(): Promise<number> {
    try {
      const { freeBytes, promisedBytes } = await this.#room()
      return Math.max(0, freeBytes - promisedBytes)
    } catch (cause) {
      throw storeFailure(`cannot see what is free in ${this.#partialDirectory}`, cause)
    }
  }

  async letGo(sha256: string, isNeeded: () => boolean = () => false): Promise<boolean> {
    return await this.#naming.run(async () => {
      const row = this.#rowOf(sha256)
      if (!row || this.#readers.has(sha256) || isNeeded()) return false
      // Out of the table first, so that nobody opens it while it goes.
      this.#dropFromMemory(sha256)
      try {
        await this.#files.remove(sha256)
      } catch (cause) {
        // Whatever became of it: `open` looks again.
        this.#table.set(row.ref, row.usedMs)
        throw storeFailure(`cannot let go of blob ${sha256}`, cause)
      }
      await this.#index.delete(sha256)
      return true
    })
  }

  lastUsedMs(sha256: string): number | undefined {
    return this.#table.usedMs(sha256)
  }

  inOrderOfUse(): Iterable<TimedBlob> {
    return this.#table.inOrderOfUse()
  }

  checkedMs(sha256: string): number | undefined {
    return this.#table.checkedMs(sha256)
  }

  noteCheck(sha256: string, atMs: number): void {
    this.#table.setChecked(sha256, atMs)
  }

  inOrderOfCheck(): Iterable<TimedBlob> {
    return this.#table.inOrderOfCheck()
  }

  checked(): Iterable<TimedBlob> {
    return this.#table.checked()
  }

  async examine(sha256: string, options: ExamineOptions): Promise<Examination | undefined> {
    this.#checkOpen()
    try {
      const examination = await this.#examine(sha256, options)
      return this.#table.get(sha256) && examination
    } catch (cause) {
      options.signal.throwIfAborted()
      // It was let go of, or taken out of service, while it was read.
      if (!this.#table.get(sha256)) return undefined
      throw storeFailure(`cannot examine blob ${sha256}`, cause)
    }
  }

  async isChunkGood(sha256: string, chunkIndex: number, bytes: Uint8Array): Promise<boolean> {
    if (!this.#chunkHashes.has(sha256)) {
      const fingerprint = await this.fingerprint(sha256)
      if (!fingerprint || !this.#table.get(sha256)) return false
      this.#chunkHashes.set(sha256, fingerprint.chunks)
    }
    return this.#chunkHashes.get(sha256, chunkIndex)?.equals(createHash('sha256').update(bytes).digest()) ?? false
  }

  async quarantine(sha256: string, evidence: object): Promise<void> {
    if (!this.#table.get(sha256)) return
    this.#dropFromMemory(sha256)
    this.#readers.break(sha256)
    await this.#naming.run(async () => {
      // While we waited for our turn its bytes may have come anew, and are good.
      if (this.#table.get(sha256)) return
      try {
        await this.#setAside(sha256, evidence)
        await this.#index.delete(sha256)
      } catch (cause) {
        throw storeFailure(`cannot move blob ${sha256} to quarantine`, cause)
      }
    })
  }

  async repair(sha256: string, goodChunks: ReadonlyMap<number, Uint8Array>): Promise<void> {
    this.#checkOpen()
    try {
      await this.#repair(sha256, goodChunks)
    } catch (cause) {
      throw storeFailure(`cannot repair blob ${sha256}`, cause)
    }
  }

  async #repair(sha256: string, goodChunks: ReadonlyMap<number, Uint8Array>): Promise<void> {
    const damaged = await this.#findDamaged(sha256)
    const { sizeBytes } = damaged
    const promise = { awaitedBytes: sizeBytes }
    await this.#admitting.run(async () => {
      await this.#checkRoom(sizeBytes)
      this.#mending.add(promise)
    })
    const path = join(this.#partialDirectory, randomUUID())
    try {
      await copyMended({ ...damaged, to: path, goodChunks, fileSystem: this.#fileSystem })
      const measured = await this.#pool.begin(path).finish(sizeBytes)
      if (measured.sha256 !== sha256) {
        throw new MirrorError('STORE_BROKEN', `with the good chunks it has sha256 ${measured.sha256} still`)
      }
      const { sha1, md5, chunks } = measured
      const fingerprint = { sizeBytes, sha256, sha1, md5, keptMs: damaged.keptMs, chunks }
      await this.#naming.run(async () => {
        await this.#files.replace(path, fingerprint)
        this.#chunkHashes.delete(sha256)
        await this.#take(fingerprint)
      })
    } finally {
      this.#mending.delete(promise)
      // It has its name already, or is of no use; if the disk refuses, it is swept at the next start.
      await this.#fileSystem.remove(path).catch(() => {})
    }
  }

  /** The file to mend, and how long it was when it was whole. */
  async #findDamaged(sha256: string): Promise<{ path: string; sizeBytes: number; keptMs: number }> {
    const ref = this.#table.get(sha256)
    if (ref) return { path: this.#files.pathOf(sha256), sizeBytes: ref.sizeBytes, keptMs: ref.keptMs }
    const found = await this.#files.findQuarantined(sha256)
    if (!found) throw new MirrorError('STORE_BROKEN', 'nothing of it is here')
    const { path, fingerprint, sizeBytes } = found
    const keptMs = fingerprint?.keptMs ?? this.#thisSecondMs()
    return { path, sizeBytes: fingerprint?.sizeBytes ?? sizeBytes, keptMs }
  }

  async #examine(sha256: string, options: ExamineOptions): Promise<Examination | undefined> {
    const ref = this.#table.get(sha256)
    const facts = ref && (await this.#files.describe(sha256))
    if (!ref || !facts) return undefined
    const written = await this.#files.readFingerprint(sha256)
    const fingerprint = written?.sizeBytes === ref.sizeBytes ? written : undefined
    const chunkCount = Math.ceil(ref.sizeBytes / CHUNK_BYTES)
    // Without a fingerprint only the whole can be compared.
    const fromChunk = fingerprint ? Math.min(options.fromChunk ?? 0, chunkCount) : 0
    const sizeBytes = Math.min(facts.sizeBytes, ref.sizeBytes)
    const read = await readChunks(this.#pool, {
      ...options,
      path: this.#files.pathOf(sha256),
      sizeBytes,
      fromChunk: Math.min(fromChunk, Math.ceil(sizeBytes / CHUNK_BYTES)),
      digests: ['sha256'],
    })
    const isOfItsSize = facts.sizeBytes === ref.sizeBytes
    const isWhole = fromChunk > 0 ? undefined : isOfItsSize && read.digests?.sha256 === sha256
    const all = Array.from({ length: chunkCount }, (_, index) => index)
    const damagedChunks = fingerprint
      ? all.filter((index) => index >= fromChunk && read.hashes[index] !== fingerprint.chunks[index])
      : all
    if (!isWhole) {
      const isExplained = damagedChunks.length > 0 || !isOfItsSize || isWhole === undefined
      if (fingerprint && isExplained) return { damagedChunks, isWhole, fingerprint: 'good' }
      return { damagedChunks: all, isWhole, fingerprint: 'lost' }
    }
    if (fingerprint && damagedChunks.length === 0) return { damagedChunks, isWhole, fingerprint: 'good' }
    // The name proves the bytes: it is the list that was wrong, or missing.
    await this.#naming.run(async () => {
      const measured = await this.#measureAgain(sha256, facts)
      if (!measured || !this.#table.get(sha256)) return
      this.#table.set(measured, this.#table.usedMs(sha256)!)
      this.#chunkHashes.delete(sha256)
      await this.#index.put([this.#rowOf(sha256)!])
    })
    return { damagedChunks: [], isWhole, fingerprint: 'measured again' }
  }

  async audit(): Promise<readonly Flaw[]> {
    return await this.#naming.run(async () => {
      const rows = new BlobTable()
      const { isDamaged } = await this.#index.read(({ ref, usedMs }) => rows.set(ref, usedMs))
      let [missing, surplus] = [0, 0]
      for await (const ref of inSlices(this.#table.all())) {
        if (!isDeepStrictEqual(rows.get(ref.sha256), ref)) missing++
      }
      for await (const { sha256 } of inSlices(rows.all())) if (!this.#table.get(sha256)) surplus++
      if (!isDamaged && missing === 0 && surplus === 0) return []
      await this.#index.reset()
      await this.#index.put(this.#rows())
      const complaint = `${missing} of its rows are missing or damaged, ${surplus} are of blobs not here`
      return [{ kind: 'index', path: this.#index.directory, complaint, isMended: true }]
    })
  }

  #checkOpen(): void {
    if (this.#isClosing) throw new MirrorError('CLOSING', 'the store is closing and takes nothing new')
  }

  /** Waits for blobs that are getting their names; what is still being received is left for the next start. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#pool.refuseNew()
    await this.#admitting.idle()
    await Promise.allSettled([...this.#partials].map((partial) => partial.suspend()))
    await this.#naming.idle()
    await this.#pool.close()
    await this.#index.put([...this.#newlyUsed].flatMap((sha256) => this.#rowOf(sha256) ?? []))
    await this.#index.close()
  }

  /** Every blob under way has its room spoken for, so that two which fit singly but not together do not both start. */
  async #checkRoom(wantedBytes: number): Promise<void> {
    const { freeBytes, promisedBytes } = await this.#room()
    if (wantedBytes <= freeBytes - promisedBytes) return
    throw new MirrorError(
      'STORE_FULL',
      `no room for ${wantedBytes} bytes: ${freeBytes} are free, ${promisedBytes} of them promised to others`,
    )
  }

  async #room(): Promise<{ freeBytes: number; promisedBytes: number }> {
    const freeBytes = await this.#fileSystem.freeBytes(this.#partialDirectory)
    let promisedBytes = HEADROOM_BYTES
    for (const { awaitedBytes } of [...this.#partials, ...this.#mending]) promisedBytes += awaitedBytes
    return { freeBytes, promisedBytes }
  }

  #ownerOf(name: string | undefined): PartialOwner {
    return {
      log: this.#log,
      now: this.#now,
      syncIntervalBytes: this.#syncIntervalBytes,
      measure: (path) => this.#pool.begin(path),
      digest: (path, algorithm, sizeBytes) => this.#pool.digest(path, algorithm, sizeBytes),
      sync: (place) => this.#partialFiles.sync(place),
      admit: (path, measured, onKept) => this.#naming.run(() => this.#admit(path, measured, onKept)),
      clear: (place) => this.#partialFiles.clear(place),
      drop: (place) => this.#partialFiles.drop(place),
      onLeft: async (place, isSuspended) => {
        if (isSuspended) await this.#partialFiles.suspend(place)
        if (name !== undefined) this.#named.delete(name)
      },
      onClosed: (partial) => this.#partials.delete(partial),
    }
  }

  async #admit(
    path: string,
    measured: Measured & { readonly sizeBytes: number },
    onKept: () => void,
  ): Promise<Fingerprint> {
    const { sizeBytes, sha256, sha1, md5, chunks } = measured
    const kept = await this.#keptAlready(sha256)
    if (kept) {
      await this.#fileSystem.remove(path)
      onKept()
      return kept
    }
    const twin = this.#table.matching({ algorithm: 'sha1', hex: sha1 }).find((ref) => ref.sha256 !== sha256)
    if (twin) {
      throw new MirrorError(
        'UPSTREAM_MISBEHAVED',
        `sha1:${sha1} is forged: a blob with it and sha256:${twin.sha256} is kept, these bytes have sha256:${sha256}`,
      )
    }
    const fingerprint = { sizeBytes, sha256, sha1, md5, keptMs: this.#thisSecondMs(), chunks }
    await this.#files.adopt(path, fingerprint)
    await this.#take(fingerprint, onKept)
    return fingerprint
  }

  async #take(fingerprint: Fingerprint, onKept: () => void = () => {}): Promise<void> {
    const row = { ref: fingerprint, usedMs: this.#now() }
    this.#table.set(row.ref, row.usedMs)
    onKept()
    this.#newlyUsed.delete(fingerprint.sha256)
    await this.#index.put([row])
  }

  #noteUse(sha256: string): void {
    const before = this.#table.usedMs(sha256)
    if (before === undefined) return
    const now = this.#now()
    this.#table.setUsed(sha256, now)
    this.#newlyUsed.add(sha256)
    if (Math.floor(now / USE_RESOLUTION_MS) === Math.floor(before / USE_RESOLUTION_MS)) return
    this.#newlyUsed.delete(sha256)
    // Not waited for: nobody's reading should wait for it, and it never fails.
    void this.#index.put([this.#rowOf(sha256)!])
  }

  #rowOf(sha256: string): BlobRow | undefined {
    const ref = this.#table.get(sha256)
    return ref && { ref, usedMs: this.#table.usedMs(sha256)! }
  }

  #thisSecondMs(): number {
    return Math.floor(this.#now() / 1000) * 1000
  }

  /** Not if its file has gone or lost its size: then good bytes have just come to take its place. */
  async #keptAlready(sha256: string): Promise<Fingerprint | undefined> {
    const ref = this.#table.get(sha256)
    if (!ref || (await this.#files.describe(sha256))?.sizeBytes !== ref.sizeBytes) return undefined
    return (await this.#files.readFingerprint(sha256)) ?? (await this.#recover(sha256))
  }

  /** For a blob whose file has gone, or has not the size it was kept with. */
  async #missOrSetAside({ sha256, sizeBytes }: BlobRef): Promise<void> {
    await this.#naming.run(async () => {
      try {
        if (!this.#table.get(sha256)) return
        const facts = await this.#files.describe(sha256)
        // Meanwhile it may have been received anew.
        if (facts?.sizeBytes === sizeBytes) return
        const reason = `it has ${facts?.sizeBytes} bytes instead of ${sizeBytes}`
        if (facts) await this.#setAside(sha256, { reason })
        else this.#log.error({ sha256 }, 'a blob has vanished from the disk; it is no longer served')
        await this.#forget(sha256)
      } catch (cause) {
        throw storeFailure(`cannot set blob ${sha256} aside`, cause)
      }
    })
  }

  async #forget(sha256: string): Promise<void> {
    this.#dropFromMemory(sha256)
    await this.#index.delete(sha256)
  }

  #dropFromMemory(sha256: string): void {
    this.#table.delete(sha256)
    this.#newlyUsed.delete(sha256)
    this.#chunkHashes.delete(sha256)
  }

  async #setAside(sha256: string, evidence: object): Promise<void> {
    const quarantine = await this.#files.setAside(sha256, evidence, this.#now())
    this.#log.error(
      { sha256, evidence, quarantine },
      'a blob is not what its name says; it is set aside and not served',
    )
  }

  /** Makes the table agree with the names on disk, and the index with the table. */
  async #takeStock(): Promise<void> {
    const rows = new BlobTable()
    const { isDamaged } = await this.#index.read(({ ref, usedMs }) => rows.set(ref, usedMs))
    const missing: string[] = []
    for await (const { sha256s, strangers } of this.#files.shelves()) {
      for (const path of strangers) this.#log.warn({ path }, 'this is not the name of a blob, and left alone')
      for (const sha256 of sha256s) {
        const ref = rows.get(sha256)
        if (ref) this.#table.set(ref, rows.usedMs(sha256)!)
        else missing.push(sha256)
        rows.delete(sha256)
      }
    }
    if (missing.length > 0) this.#log.info({ blobs: missing.length }, 'taking up blobs that the index does not know')
    const recovered: string[] = []
    await forEachConcurrently(missing, RECOVERIES_AT_A_TIME, async (sha256) => {
      try {
        if (await this.#recover(sha256)) recovered.push(sha256)
      } catch (error) {
        // One unreadable file is no reason to serve nothing.
        this.#log.error({ sha256, err: error }, 'a blob cannot be read; it is not served')
      }
    })
    if (isDamaged) {
      this.#log.warn({ blobs: this.#table.count }, 'the index was damaged and is written anew')
      await this.#index.reset()
      await this.#index.put(this.#rows())
      return
    }
    for (const { sha256 } of rows.all()) await this.#index.delete(sha256)
    await this.#index.put(recovered.flatMap((sha256) => this.#rowOf(sha256) ?? []))
  }

  *#rows(): Generator<BlobRow> {
    for (const ref of this.#table.all()) yield { ref, usedMs: this.#table.usedMs(ref.sha256)! }
  }

  /**
   * Takes up a blob by its fingerprint; where that is missing, damaged or of another size, the blob is measured again
   * and its name checked. Answers `undefined` when it is not what its name says: then it is set aside.
   */
  async #recover(sha256: string): Promise<Fingerprint | undefined> {
    const facts = await this.#files.describe(sha256)
    if (!facts) return undefined
    const written = await this.#files.readFingerprint(sha256)
    const fingerprint = written?.sizeBytes === facts.sizeBytes ? written : await this.#measureAgain(sha256, facts)
    if (!fingerprint) {
      await this.#forget(sha256)
      return undefined
    }
    const twin = this.#table.matching({ algorithm: 'sha1', hex: fingerprint.sha1 }).find((ref) => ref.sha256 !== sha256)
    if (twin)
      this.#log.error({ sha1: fingerprint.sha1, sha256s: [twin.sha256, sha256] }, 'two blobs have the same sha1')
    // When it was last used is known of one that was here already; of others it is not earlier than this.
    this.#table.set(fingerprint, this.#table.usedMs(sha256) ?? fingerprint.keptMs)
    return fingerprint
  }

  async #measureAgain(
    sha256: string,
    { sizeBytes, modifiedMs }: { sizeBytes: number; modifiedMs: number },
  ): Promise<Fingerprint | undefined> {
    this.#log.warn({ sha256, sizeBytes }, 'a blob has no usable fingerprint and is measured again')
    const measured = await this.#pool.begin(this.#files.pathOf(sha256)).finish(sizeBytes)
    if (measured.sha256 !== sha256) {
      await this.#setAside(sha256, { reason: `its bytes have sha256 ${measured.sha256}` })
      return undefined
    }
    const { sha1, md5, chunks } = measured
    const keptMs = Math.floor(modifiedMs / 1000) * 1000
    const fingerprint = { sizeBytes, sha256, sha1, md5, keptMs, chunks }
    await this.#files.writeFingerprint(fingerprint)
    return fingerprint
  }
}
