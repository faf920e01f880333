import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { hasCode, MirrorError } from '../errors.js'
import type { Digest } from '../images/digest.js'
import { forEachConcurrently } from '../parts/for-each-concurrently.js'
import type { Log } from '../parts/log.js'
import { OneAtATime } from '../parts/one-at-a-time.js'
import { BlobFiles } from './blob-files.js'
import { BlobIndex } from './blob-index.js'
import type { BlobRef, BlobStore, ExpectedBlob, Fingerprint, OpenBlob } from './blob-store.js'
import { BlobTable } from './blob-table.js'
import { DiskPartialBlob, type PartialOwner, readPromised } from './disk-partial-blob.js'
import type { FileSystem, OpenedFile } from './file-system.js'
import { HashPool, type Measured } from './hash-pool.js'
import { storeFailure } from './store-failure.js'

/** Left to fingerprints, manifests and claims: a disk that is full of blobs can still be written down. */
const HEADROOM_BYTES = 16 * 1024 * 1024
const RECOVERIES_AT_A_TIME = 16

export interface DiskBlobStoreOptions {
  /** The data directory, and the directory for files being written. */
  readonly root: string
  readonly partial: string
  readonly fileSystem: FileSystem
  readonly log: Log
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number
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
  readonly #pool = new HashPool()
  readonly #table = new BlobTable()
  /** Names come and go one at a time, so that two flights of the same bytes cannot trip over each other. */
  readonly #naming = new OneAtATime()
  readonly #partials = new Set<DiskPartialBlob>()
  /** One blob is let in at a time: each finds all before it among the partials when it asks for room. */
  readonly #admitting = new OneAtATime()
  #isClosing = false

  static async open(options: DiskBlobStoreOptions): Promise<DiskBlobStore> {
    const { root, partial, fileSystem, log } = options
    try {
      const files = await BlobFiles.at(root, partial, fileSystem)
      const index = await BlobIndex.open(join(root, 'index'), log)
      const store = new DiskBlobStore(options, files, index)
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

  private constructor({ partial, fileSystem, log, now }: DiskBlobStoreOptions, files: BlobFiles, index: BlobIndex) {
    this.#partialDirectory = partial
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
    let file: OpenedFile | undefined
    try {
      file = await this.#files.open(sha256)
      if ((await file.sizeBytes()) === ref.sizeBytes) return new DiskOpenBlob(ref, file)
      await file.close()
    } catch (cause) {
      await file?.close().catch(() => {})
      if (!hasCode(cause, 'ENOENT')) throw storeFailure(`cannot open blob ${sha256}`, cause)
    }
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
    if (this.#isClosing) throw new MirrorError('CLOSING', 'the store is closing and receives nothing new')
    try {
      return await this.#admitting.run(async () => {
        await this.#checkRoom(expected)
        return await this.#startPartial(expected)
      })
    } catch (cause) {
      throw storeFailure(`cannot receive a blob of ${expected.sizeBytes} bytes`, cause)
    }
  }

  async #startPartial(expected: ExpectedBlob): Promise<DiskPartialBlob> {
    const path = join(this.#partialDirectory, randomUUID())
    const file = await this.#fileSystem.open(path, 'create')
    try {
      // Fails when the store was closed while we waited for the disk.
      const partial = new DiskPartialBlob(expected, path, file, this.#pool.begin(path), this.#partialOwner)
      this.#partials.add(partial)
      return partial
    } catch (cause) {
      await file.close()
      await this.#fileSystem.remove(path)
      throw cause
    }
  }

  /** Waits for blobs that are getting their names, and drops what is still being received. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#pool.refuseNew()
    await this.#admitting.idle()
    await Promise.allSettled([...this.#partials].map((partial) => partial.close()))
    await this.#naming.idle()
    await this.#pool.close()
    await this.#index.close()
  }

  /** Every blob under way has its room spoken for, so that two which fit singly but not together do not both start. */
  async #checkRoom({ sizeBytes }: ExpectedBlob): Promise<void> {
    const freeBytes = await this.#fileSystem.freeBytes(this.#partialDirectory)
    let promisedBytes = HEADROOM_BYTES
    for (const partial of this.#partials) promisedBytes += partial.awaitedBytes
    if (sizeBytes <= freeBytes - promisedBytes) return
    throw new MirrorError(
      'STORE_FULL',
      `no room for a blob of ${sizeBytes} bytes: ${freeBytes} are free, ${promisedBytes} of them promised to others`,
    )
  }

  readonly #partialOwner: PartialOwner = {
    admit: (path, measured) => this.#naming.run(() => this.#admit(path, measured)),
    remove: (path) => this.#fileSystem.remove(path),
    onClosed: (partial) => this.#partials.delete(partial),
  }

  async #admit(path: string, measured: Measured & { readonly sizeBytes: number }): Promise<Fingerprint> {
    const { sizeBytes, sha256, sha1, md5, chunks } = measured
    const kept = await this.#keptAlready(sha256)
    if (kept) {
      await this.#fileSystem.remove(path)
      return kept
    }
    const twin = this.#table.matching({ algorithm: 'sha1', hex: sha1 }).find((ref) => ref.sha256 !== sha256)
    if (twin) {
      throw new MirrorError(
        'UPSTREAM_MISBEHAVED',
        `sha1:${sha1} is forged: a blob with it and sha256:${twin.sha256} is kept, these bytes have sha256:${sha256}`,
      )
    }
    const keptMs = Math.floor(this.#now() / 1000) * 1000
    const fingerprint = { sizeBytes, sha256, sha1, md5, keptMs, chunks }
    await this.#files.adopt(path, fingerprint)
    this.#table.set(fingerprint)
    await this.#index.put([fingerprint])
    return fingerprint
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
        const facts = await this.#files.describe(sha256)
        // Meanwhile it may have been received anew.
        if (facts?.sizeBytes === sizeBytes) return
        if (facts) await this.#setAside(sha256, `it has ${facts.sizeBytes} bytes instead of ${sizeBytes}`)
        else this.#log.error({ sha256 }, 'a blob has vanished from the disk; it is no longer served')
        await this.#forget(sha256)
      } catch (cause) {
        throw storeFailure(`cannot set blob ${sha256} aside`, cause)
      }
    })
  }

  async #forget(sha256: string): Promise<void> {
    this.#table.delete(sha256)
    await this.#index.delete(sha256)
  }

  async #setAside(sha256: string, reason: string): Promise<void> {
    const quarantine = await this.#files.setAside(sha256)
    this.#log.error({ sha256, reason, quarantine }, 'a blob is not what its name says; it is set aside and not served')
  }

  /** Makes the table agree with the names on disk, and the index with the table. */
  async #takeStock(): Promise<void> {
    const rows = new BlobTable()
    const { isDamaged } = await this.#index.read((ref) => rows.set(ref))
    const missing: string[] = []
    for await (const { sha256s, strangers } of this.#files.shelves()) {
      for (const path of strangers) this.#log.warn({ path }, 'this is not the name of a blob, and left alone')
      for (const sha256 of sha256s) {
        const ref = rows.get(sha256)
        if (ref) this.#table.set(ref)
        else missing.push(sha256)
        rows.delete(sha256)
      }
    }
    if (missing.length > 0) this.#log.info({ blobs: missing.length }, 'taking up blobs that the index does not know')
    const recovered: Fingerprint[] = []
    await forEachConcurrently(missing, RECOVERIES_AT_A_TIME, async (sha256) => {
      try {
        const fingerprint = await this.#recover(sha256)
        if (fingerprint) recovered.push({ ...fingerprint, chunks: [] })
      } catch (error) {
        // One unreadable file is no reason to serve nothing.
        this.#log.error({ sha256, err: error }, 'a blob cannot be read; it is not served')
      }
    })
    if (isDamaged) {
      this.#log.warn({ blobs: this.#table.count }, 'the index was damaged and is written anew')
      await this.#index.reset()
      await this.#index.put(this.#table.all())
      return
    }
    for (const { sha256 } of rows.all()) await this.#index.delete(sha256)
    await this.#index.put(recovered)
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
    this.#table.set(fingerprint)
    return fingerprint
  }

  async #measureAgain(
    sha256: string,
    { sizeBytes, modifiedMs }: { sizeBytes: number; modifiedMs: number },
  ): Promise<Fingerprint | undefined> {
    this.#log.warn({ sha256, sizeBytes }, 'a blob has no usable fingerprint and is measured again')
    const measured = await this.#pool.begin(this.#files.pathOf(sha256)).finish(sizeBytes)
    if (measured.sha256 !== sha256) {
      await this.#setAside(sha256, `its bytes have sha256 ${measured.sha256}`)
      return undefined
    }
    const { sha1, md5, chunks } = measured
    const keptMs = Math.floor(modifiedMs / 1000) * 1000
    const fingerprint = { sizeBytes, sha256, sha1, md5, keptMs, chunks }
    await this.#files.writeFingerprint(fingerprint)
    return fingerprint
  }
}

class DiskOpenBlob implements OpenBlob {
  readonly ref: BlobRef
  readonly #file: OpenedFile
  #closing: Promise<void> | undefined

  constructor(ref: BlobRef, file: OpenedFile) {
    this.ref = ref
    this.#file = file
  }

  read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    const wanted = buffer.subarray(0, Math.max(0, Math.min(buffer.length, this.ref.sizeBytes - positionBytes)))
    return readPromised(this.#file, wanted, positionBytes, `blob ${this.ref.sha256}`)
  }

  close(): Promise<void> {
    this.#closing ??= this.#file.close()
    return this.#closing
  }
}
