import { randomUUID } from 'node:crypto'
import { dirname, join } from 'node:path'
import type { Fingerprint } from './blob-store.js'
import type { FileFacts, FileSystem, OpenedFile } from './file-system.js'
import { openSealedJson, sealJson } from './sealed-json.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

/** A fingerprint has 67 bytes for every MiB: enough for blobs of 2 TiB. */
const FINGERPRINT_LIMIT_BYTES = 150 * 1024 * 1024
const SHA256_HEX = /^[0-9a-f]{64}$/

/**
 * Where blobs lie: `blobs/sha256/<first two hex>/<hex>`, so that `sha256sum` can audit them by hand; what was measured of each in
 * `fingerprints/sha256/<first two hex>/<hex>.json`; and `quarantine/` for what turned out not to be what its name says.
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

  private constructor(root: string, partial: string, fileSystem: FileSystem) {
    this.#root = root
    this.#partial = partial
    this.#fileSystem = fileSystem
  }

  pathOf(sha256: string): string {
    return join(this.#root, 'blobs', 'sha256', sha256.slice(0, 2), sha256)
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

  /** `undefined` when there is none, or it is damaged, or it is not of that blob. */
  async readFingerprint(sha256: string): Promise<Fingerprint | undefined> {
    const path = this.#fingerprintPathOf(sha256)
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

  /** Takes a blob that is not what its name says out of the way, with its fingerprint, as evidence. Answers where to. */
  async setAside(sha256: string): Promise<string> {
    const aside = join(this.#root, 'quarantine', `${sha256}-${randomUUID()}`)
    await this.#fileSystem.rename(this.pathOf(sha256), aside)
    const fingerprint = this.#fingerprintPathOf(sha256)
    if (await this.#fileSystem.describe(fingerprint)) await this.#fileSystem.rename(fingerprint, `${aside}.json`)
    await this.#fileSystem.syncDirectory(dirname(aside))
    await this.#fileSystem.syncDirectory(dirname(this.pathOf(sha256)))
    return aside
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
