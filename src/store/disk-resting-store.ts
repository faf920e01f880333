import { join, resolve } from 'node:path'
import { hasCode } from '../errors.js'
import type { Claim } from '../images/claim.js'
import { DIGEST_ALGORITHMS } from '../images/digest.js'
import { forEachConcurrently } from '../parts/for-each-concurrently.js'
import type { Log } from '../parts/log.js'
import { readChunks } from './blob-examiner.js'
import { BlobFiles } from './blob-files.js'
import { CHUNK_BYTES } from './blob-store.js'
import { ClaimLineReader } from './claim-lines.js'
import { CLAIMS_FILE_NAME } from './claim-log.js'
import { checkDataDirectory } from './data-directory.js'
import { readImages } from './disk-image-store.js'
import { type FileSystem, nodeFileSystem } from './file-system.js'
import { HashPool } from './hash-pool.js'
import { PinFile } from './pin-file.js'
import type { AtRest, MeasuredBlob, MeasureOptions, RestingBlob, RestingStore } from './resting-store.js'
import { ScrubLog } from './scrub-log.js'
import { storeFailure } from './store-failure.js'
import { UpstreamClaims } from './upstream-claims.js'

const READS_AT_A_TIME = 32

export interface DiskRestingStoreOptions {
  readonly directory: string
  readonly log: Log
  readonly fileSystem?: FileSystem
}

/** A data directory, only read: what a mirror writes there has its name only when it is whole, so it can be read at any time. */
export class DiskRestingStore implements RestingStore {
  readonly path: string
  readonly #fileSystem: FileSystem
  readonly #log: Log
  readonly #blobs: ReturnType<typeof BlobFiles.toRead>
  readonly #pool = new HashPool()

  constructor({ directory, fileSystem = nodeFileSystem, log }: DiskRestingStoreOptions) {
    this.path = resolve(directory)
    this.#fileSystem = fileSystem
    this.#log = log
    this.#blobs = BlobFiles.toRead(this.path, fileSystem)
  }

  async look(): Promise<AtRest> {
    const places = {
      root: this.path,
      partial: join(this.path, 'partial'),
      fileSystem: this.#fileSystem,
      log: this.#log,
    }
    await checkDataDirectory(this.path, this.#fileSystem)
    try {
      const { damaged, images } = await readImages(join(this.path, 'images'), places).catch(
        noneYet({ damaged: [], images: [] }),
      )
      const { claims, heardMs } = await this.#readClaims()
      const blobs = await this.#readBlobs()
      const pins = await new PinFile(places).look()
      const checkedMs = new Map<string, number>()
      await new ScrubLog(places).look((check) => checkedMs.set(check.sha256, check.checkedMs))
      return { images, damaged, blobs, claims, heardMs, pins, checkedMs }
    } catch (cause) {
      throw storeFailure(`cannot read data directory ${this.path}`, cause)
    }
  }

  async measure(sha256: string, { signal, onBytes }: MeasureOptions): Promise<MeasuredBlob | undefined> {
    try {
      const facts = await this.#blobs.describe(sha256)
      if (!facts) return undefined
      const { sizeBytes } = facts
      const { digests, hashes } = await readChunks(this.#pool, {
        path: this.#blobs.pathOf(sha256),
        sizeBytes,
        fromChunk: 0,
        digests: DIGEST_ALGORITHMS,
        signal,
        onChunk: (index) => onBytes(Math.min(sizeBytes, (index + 1) * CHUNK_BYTES)),
      })
      return { sizeBytes, digests, chunks: hashes, fingerprint: await this.#fingerprintOf(sha256) }
    } catch (cause) {
      signal.throwIfAborted()
      throw storeFailure(`cannot read blob ${sha256}`, cause)
    }
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }

  async #readBlobs(): Promise<Map<string, RestingBlob>> {
    const blobs = new Map<string, RestingBlob>()
    const sha256s: string[] = []
    try {
      for await (const shelf of this.#blobs.shelves()) for (const sha256 of shelf.sha256s) sha256s.push(sha256)
    } catch (cause) {
      if (!hasCode(cause, 'ENOENT')) throw cause
    }
    await forEachConcurrently(sha256s, READS_AT_A_TIME, async (sha256) => {
      const facts = await this.#blobs.describe(sha256)
      // Let go of since we asked for names.
      if (!facts) return
      const { keptMs, md5, sha1 } = (await this.#fingerprintOf(sha256)) ?? {}
      blobs.set(sha256, {
        sha256,
        sizeBytes: facts.sizeBytes,
        ...(sha1 !== undefined && md5 !== undefined && keptMs !== undefined && { sha1, md5, keptMs }),
      })
    })
    return blobs
  }

  /** One that cannot be read is as good as none. */
  #fingerprintOf(sha256: string) {
    return this.#blobs.readFingerprint(sha256).catch((error: unknown) => {
      this.#log.warn({ sha256, err: error }, 'what was measured of a blob cannot be read')
      return undefined
    })
  }

  async #readClaims(): Promise<Pick<AtRest, 'claims' | 'heardMs'>> {
    const directory = join(this.path, 'claims')
    const reader = new ClaimLineReader()
    const claims: Claim[] = []
    const heardMs = new Map<string, number>()
    const names = await this.#fileSystem.list(directory).catch(noneYet<string[]>([]))
    for (const name of names.sort()) {
      const upstream = CLAIMS_FILE_NAME.exec(name)?.[1]
      if (upstream === undefined) continue
      const file = new UpstreamClaims({
        upstream,
        path: join(directory, name),
        root: this.path,
        partial: join(this.path, 'partial'),
        fileSystem: this.#fileSystem,
        log: this.#log,
      })
      await file.look(reader)
      for (const claim of file.current()) claims.push(claim)
      if (file.listing) heardMs.set(upstream, file.listing.heardMs)
    }
    return { claims, heardMs }
  }
}

/** A mirror that has never run to its end may not have made all of its directories. */
function noneYet<Value>(nothing: Value): (cause: unknown) => Value {
  return (cause) => {
    if (hasCode(cause, 'ENOENT')) return nothing
    throw cause
  }
}
