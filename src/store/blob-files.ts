import { randomUUID } from 'node:crypto'
import { dirname, join } from 'node:path'
import type { Fingerprint } from './blob-store.js'
import type { FileFacts, FileSystem, OpenedFile } from './file-system.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** A fingerprint has 67 bytes for every MiB: enough for blobs of 2 TiB. */
const FINGERPRINT_LIMIT_BYTES = 150 * 1024 * 1024
const SHA256_HEX = /^[0-9a-f]{64}$/

/** A blob that was set aside, with what is known of it. */
export interface QuarantinedBlob {
  readonly path: string
  readonly sizeBytes: number
  readonly fingerprint: Fingerprint | undefined
}

/**
 * Where blobs lie: `blobs/sha256/<first two hex>/<hex>`, so that `sha256sum` can audit them by hand; what was measured of each in
 * `fingerprints/sha256/<first two hex>/<hex>.json`; and `quarantine/<hex>-<when>-<random>` for what turned out not to be what its
 * name says, with what showed it in `.json` and what was once measured of it in `.fingerprint.json` beside it.
 *
 * A name under `blobs/` means: whole, verified, synced, and its fingerprint was in place before it.
 */
export class BlobFiles {
  readonly #fileSystem: FileSystem
  readonly #root: string
  readonly #partial: string
  /** At most 2 x 256 names, so that a directory is made once and not asked for again with every blob. */
  readonly #madeDirectories = new Set<string>()

  static async at(root: string, partial: string, fileSystem: FileSystem): Promise<BlobFiles> {
    for (const name of ['blobs/sha256', 'fingerprints/sha256', 'quarantine']) {
      await ensureDirectory(fileSystem, join(root, name))
    }
    return new BlobFiles(root, partial, fileSystem)
  }

  /** Where a data directory has its blobs already, to be read only. */
  static toRead(
    root: string,
    fileSystem: FileSystem,
  ): Pick<BlobFiles, 'describe' | 'pathOf' | 'readFingerprint' | 'shelves'> {
    return new BlobFiles(root, join(root, 'partial'), fileSystem)
  }

  private constructor(root: string, partial: string, fileSystem: FileSystem) {
    this.#root = root
    this.#partial = partial
    this.#fileSystem = fileSystem
  }

  pathOf(sha256: string): string {
    return join(this.#root, 'blobs', this.shelfPathOf(sha256))
  }

  /** Below `blobs/`. */
  shelfPathOf(sha256: string): string {
    return `sha256/${sha256.slice(0, 2)}/${sha256}`
  }

  open(sha256: string): Promise<OpenedFile> {
    return this.#fileSystem.open(this.pathOf(sha256), 'read')
  }

  describe(sha256: string): Promise<FileFacts | undefined> {
    return this.#fileSystem.describe(this.pathOf(sha256))
  }

  /** The sha256 of everything that has a blob's name, shelf by shelf; `strangers` are paths that do not belong here. */
  async *shelves(): AsyncGenerator<{ sha256s: string[]; strangers: string[] }> {
    const root = join(this.#root, 'blobs', 'sha256')
    for (const shelf of (await this.#fileSystem.list(root)).sort()) {
      const path = join(root, shelf)
      const names = (await this.#fileSystem.describe(path))?.isDirectory ? await this.#fileSystem.list(path) : []
      const belongs = (name: string) => SHA256_HEX.test(name) && name.startsWith(shelf) && shelf.length === 2
      const strangers = names.filter((name) => !belongs(name)).map((name) => join(path, name))
      yield { sha256s: names.filter(belongs), strangers }
    }
  }

  /**
   * Gives a synced file its name as a blob; durable when it resolves. After a failure nothing has that name.
   *
   * The fingerprint goes first: whoever finds the blob after a crash finds what was measured of it. The other way round, a
   * crash between the two would cost reading the whole blob again.
   */
  async adopt(path: string, fingerprint: Fingerprint): Promise<void> {
    const blob = this.pathOf(fingerprint.sha256)
    try {
      await this.writeFingerprint(fingerprint)
      await this.#ensure(dirname(blob))
      await this.#fileSystem.rename(path, blob)
      await this.#fileSystem.syncDirectory(dirname(blob))
    } catch (cause) {
      await this.#removeQuietly(blob)
      await this.#removeQuietly(this.#fingerprintPathOf(fingerprint.sha256))
      throw cause
    }
  }

  /**
   * As `adopt`, for a blob that has its name already, or had it before: the mended bytes take the place of the damaged
   * ones at once. After a failure either of the two has the name.
   */
  async replace(path: string, fingerprint: Fingerprint): Promise<void> {
    const blob = this.pathOf(fingerprint.sha256)
    await this.writeFingerprint(fingerprint)
    await this.#ensure(dirname(blob))
    await this.#fileSystem.rename(path, blob)
    await this.#fileSystem.syncDirectory(dirname(blob))
  }

  /**
   * Removes a blob; durable when it resolves. The fingerprint goes when the name has gone for good: a blob that is back
   * after a power cut would have to be read as a whole without it. The other way round it is overwritten in time.
   */
  async remove(sha256: string): Promise<void> {
    const blob = this.pathOf(sha256)
    await this.#fileSystem.remove(blob)
    await this.#fileSystem.syncDirectory(dirname(blob))
    const fingerprint = this.#fingerprintPathOf(sha256)
    await this.#fileSystem.remove(fingerprint)
    if (await this.#fileSystem.describe(dirname(fingerprint))) {
      await this.#fileSystem.syncDirectory(dirname(fingerprint))
    }
  }

  /** `undefined` when there is none, or it is damaged, or it is not of that blob. */
  readFingerprint(sha256: string): Promise<Fingerprint | undefined> {
    return this.#readFingerprintAt(this.#fingerprintPathOf(sha256), sha256)
  }

  async #readFingerprintAt(path: string, sha256: string): Promise<Fingerprint | undefined> {
    const text = await readWhole(this.#fileSystem, path, FINGERPRINT_LIMIT_BYTES)
    // The seal says that we wrote it and nobody changed it: its form needs no further look.
    const found = text && (openSealedJson(text) as (Fingerprint & { crc32: string }) | undefined)
    if (found?.sha256 !== sha256) return undefined
    const { crc32: _, ...fingerprint } = found
    return fingerprint
  }

  async writeFingerprint(fingerprint: Fingerprint): Promise<void> {
    const path = this.#fingerprintPathOf(fingerprint.sha256)
    await this.#ensure(dirname(path))
    const text = sealJson(JSON.stringify(fingerprint))
    await writeWhole(this.#fileSystem, path, Buffer.from(text), this.#partial)
  }

  /**
   * Takes a blob that is not what its name says out of the way, with its fingerprint and with what showed it. Answers
   * where to, or `undefined` when there is no such blob.
   */
  async setAside(sha256: string, evidence: object, nowMs: number): Promise<string | undefined> {
    const blob = this.pathOf(sha256)
    if (!(await this.#fileSystem.describe(blob))) return undefined
    const when = new Date(nowMs).toISOString().replace(/[-:.]/g, '')
    const aside = join(this.#quarantine, `${sha256}-${when}-${randomUUID().slice(0, 8)}`)
    const text = `${JSON.stringify({ sha256, quarantined: new Date(nowMs).toISOString(), evidence }, undefined, 2)}\n`
    await writeWhole(this.#fileSystem, `${aside}.json`, Buffer.from(text), this.#partial)
    await this.#fileSystem.rename(blob, aside)
    await this.#fileSystem.syncDirectory(this.#quarantine)
    await this.#fileSystem.syncDirectory(dirname(blob))
    const fingerprint = this.#fingerprintPathOf(sha256)
    if (await this.#fileSystem.describe(fingerprint)) {
      await this.#fileSystem.rename(fingerprint, `${aside}.fingerprint.json`)
      await this.#fileSystem.syncDirectory(this.#quarantine)
    }
    return aside
  }

  /** The one that was set aside last. */
  async findQuarantined(sha256: string): Promise<QuarantinedBlob | undefined> {
    const names = await this.#fileSystem.list(this.#quarantine)
    // Their names sort as they were set aside.
    const name = names
      .filter((each) => each.startsWith(`${sha256}-`) && !each.includes('.'))
      .sort()
      .at(-1)
    if (name === undefined) return undefined
    const path = join(this.#quarantine, name)
    const facts = await this.#fileSystem.describe(path)
    if (!facts || facts.isDirectory) return undefined
    const fingerprint =
      (await this.#readFingerprintAt(`${path}.fingerprint.json`, sha256)) ?? (await this.readFingerprint(sha256))
    return { path, sizeBytes: facts.sizeBytes, fingerprint }
  }

  get #quarantine(): string {
    return join(this.#root, 'quarantine')
  }

  #fingerprintPathOf(sha256: string): string {
    return join(this.#root, 'fingerprints', 'sha256', sha256.slice(0, 2), `${sha256}.json`)
  }

  async #ensure(directory: string): Promise<void> {
    if (this.#madeDirectories.has(directory)) return
    await ensureDirectory(this.#fileSystem, directory)
    this.#madeDirectories.add(directory)
  }

  /** The failure that brought us here is the one to tell of; at the next start the name is checked like any other. */
  async #removeQuietly(path: string): Promise<void> {
    await this.#fileSystem.remove(path).catch(() => {})
  }
}
