import { randomUUID } from 'node:crypto'
import { basename, join } from 'node:path'
import { formatDigest, strongestDigest } from '../images/digest.js'
import type { Log } from '../parts/log.js'
import type { ExpectedBlob, SuspendedBlob } from './blob-store.js'
import { Extents } from './extents.js'
import type { FileSystem, OpenedFile } from './file-system.js'
import { PartialJournal, readJournal, type WrittenDown } from './partial-journal.js'
import { writeFully, writeWhole } from './whole-files.js'

const RESUMABLE_NAME = /^(?:sha256-[0-9a-f]{64}|sha1-[0-9a-f]{40}|md5-[0-9a-f]{32})-\d{1,16}$/

/** Where the bytes of a blob on its way in are. */
export interface PartialPlace {
  /** Of the bytes. */
  readonly path: string
  readonly file: OpenedFile
  /** What is in the file already. */
  readonly extents: Extents
  /** Only where it can be resumed, and the directory that then holds the two. */
  readonly journal: PartialJournal | undefined
  readonly directory: string | undefined
}

/**
 * The name under which a file is resumed; `undefined` for one without a digest, which nobody could recognise, and for one that
 * comes only once.
 */
export function resumableName({ digests, isOnce, sizeBytes }: ExpectedBlob): string | undefined {
  const digest = isOnce ? undefined : strongestDigest(digests)
  return digest && `${formatDigest(digest).replace(':', '-')}-${sizeBytes}`
}

/**
 * Files on their way in: `partial/<algorithm>-<hex>-<size>/` with `bytes` and `journal` for what can be resumed, and
 * `partial/<uuid>` for what cannot, which is swept at start.
 */
export class PartialFiles {
  readonly #root: string
  readonly #fileSystem: FileSystem
  readonly #log: Log
  readonly #boot: string
  /** What is on the disk, and nobody has open, by name. As many as there are downloads that were broken off. */
  readonly #suspended = new Map<string, SuspendedBlob & { readonly hereBytes: number }>()

  /** Looks at what an earlier run has left. */
  static async at(root: string, options: { fileSystem: FileSystem; log: Log; boot: string }): Promise<PartialFiles> {
    const files = new PartialFiles(root, options)
    for (const name of (await options.fileSystem.list(root)).sort()) {
      if (RESUMABLE_NAME.test(name)) await files.#lookAt(name)
      else options.log.warn({ path: join(root, name) }, 'this is no download of ours, and left alone')
    }
    return files
  }

  private constructor(root: string, { fileSystem, log, boot }: { fileSystem: FileSystem; log: Log; boot: string }) {
    this.#root = root
    this.#fileSystem = fileSystem
    this.#log = log
    this.#boot = boot
  }

  get suspended(): Iterable<SuspendedBlob> {
    return this.#suspended.values()
  }

  /** How much there is of what can be resumed under this name, wherever in the file. */
  bytesLeftOf(name: string): number {
    return this.#suspended.get(name)?.hereBytes ?? 0
  }

  /** A file of its own, which is never resumed. */
  async createAnonymous(): Promise<PartialPlace> {
    const path = join(this.#root, randomUUID())
    const file = await this.#fileSystem.open(path, 'create')
    return { path, file, extents: new Extents(), journal: undefined, directory: undefined }
  }

  /** Goes on with what is left under this name, or starts anew. Only while nobody else has it open. */
  async openNamed(name: string, expected: ExpectedBlob): Promise<PartialPlace> {
    const directory = join(this.#root, name)
    if (this.#suspended.delete(name)) {
      const place = await this.#resume(directory, expected)
      if (place) return place
    }
    try {
      // What could not be removed when its time had come.
      await this.#remove(directory)
    } catch (error) {
      this.#log.error(
        { path: directory, err: error },
        'something is in the way of a download, which is not resumable so',
      )
      return await this.createAnonymous()
    }
    return await this.#create(directory, expected)
  }

  /** Makes a place's bytes, and what tells of them, durable. */
  async sync({ file, journal, directory }: PartialPlace): Promise<void> {
    await journal?.sync(() => file.sync())
    if (directory === undefined) return
    await this.#fileSystem.syncDirectory(directory)
    await this.#fileSystem.syncDirectory(this.#root)
  }

  /** Its bytes are not wanted. They are not resumed after a power cut either. */
  async drop({ path, directory }: PartialPlace): Promise<void> {
    if (directory === undefined) {
      await this.#fileSystem.remove(path)
      return
    }
    await this.#remove(directory)
    await this.#fileSystem.syncDirectory(this.#root)
  }

  /** Its bytes have got their name. Should the place be back after a power cut, it finds the blob kept already. */
  async clear({ directory }: PartialPlace): Promise<void> {
    if (directory !== undefined) await this.#remove(directory)
  }

  /** For a place that has been closed, and whose bytes may be wanted again. */
  async suspend({ directory }: PartialPlace): Promise<void> {
    if (directory !== undefined) await this.#lookAt(basename(directory))
  }

  /** Answers the bytes freed. */
  async reclaim(untouchedSinceMs: number, isAwaited: (left: ExpectedBlob) => boolean = () => false): Promise<number> {
    let freedBytes = 0
    for (const [name, { expected, sizeOnDiskBytes, touchedMs }] of [...this.#suspended]) {
      if (touchedMs >= untouchedSinceMs || isAwaited(expected) || !this.#suspended.delete(name)) continue
      await this.#remove(join(this.#root, name))
      freedBytes += sizeOnDiskBytes
    }
    return freedBytes
  }

  async #create(directory: string, expected: ExpectedBlob): Promise<PartialPlace> {
    const path = join(directory, 'bytes')
    const opened: OpenedFile[] = []
    try {
      await this.#fileSystem.makeDirectory(directory)
      const file = await this.#fileSystem.open(path, 'create')
      opened.push(file)
      const notes = await this.#fileSystem.open(join(directory, 'journal'), 'create')
      opened.push(notes)
      const beginning = PartialJournal.beginning(expected, this.#boot, [])
      await writeFully(notes, beginning.text, 0)
      return { path, file, extents: new Extents(), journal: new PartialJournal(notes, beginning), directory }
    } catch (cause) {
      for (const file of opened) await file.close()
      // Why it could not be made is the news; what is left is removed before the next attempt.
      await this.#remove(directory).catch(() => {})
      throw cause
    }
  }

  /** `undefined` when what is left cannot be used after all. */
  async #resume(directory: string, expected: ExpectedBlob): Promise<PartialPlace | undefined> {
    const path = join(directory, 'bytes')
    const written = await this.#read(directory)
    if (!written) return undefined
    const file = await this.#fileSystem.open(path, 'write')
    try {
      // What we build on may have been written by a process that was killed. Synced, it need not be told apart again.
      await file.sync()
      const beginning = PartialJournal.beginning(expected, this.#boot, written.extents.list)
      const journalPath = join(directory, 'journal')
      await writeWhole(this.#fileSystem, journalPath, beginning.text, this.#root)
      await this.#fileSystem.syncDirectory(this.#root)
      const notes = await this.#fileSystem.open(journalPath, 'write')
      const journal = new PartialJournal(notes, beginning)
      return { path, file, extents: written.extents, journal, directory }
    } catch (cause) {
      await file.close()
      await this.#lookAt(basename(directory)).catch(() => {})
      throw cause
    }
  }

  /** What can be used of what is left, `undefined` when nothing can. */
  async #read(directory: string): Promise<WrittenDown | undefined> {
    const facts = await this.#fileSystem.describe(join(directory, 'bytes'))
    const journalPath = join(directory, 'journal')
    if (!facts || !(await this.#fileSystem.describe(journalPath))) return undefined
    const file = await this.#fileSystem.open(journalPath, 'read')
    try {
      const written = await readJournal(file, this.#boot)
      if (!written || written.isRefused || resumableName(written.expected) !== basename(directory)) return undefined
      written.extents.truncate(Math.min(facts.sizeBytes, written.expected.sizeBytes))
      return written.extents.totalBytes > 0 ? written : undefined
    } finally {
      await file.close()
    }
  }

  /** Remembers what is left under a name, or removes it when it is of no use. */
  async #lookAt(name: string): Promise<void> {
    const directory = join(this.#root, name)
    try {
      const facts = await this.#fileSystem.describe(join(directory, 'bytes'))
      const written = await this.#read(directory)
      if (facts && written) {
        const { expected, extents } = written
        const { modifiedMs: touchedMs, sizeOnDiskBytes } = facts
        const { list, prefixBytes: receivedBytes, totalBytes: hereBytes } = extents
        this.#suspended.set(name, {
          ...{ expected, receivedBytes, extents: list, hereBytes },
          ...{ sizeOnDiskBytes, touchedMs },
        })
        return
      }
      this.#log.info({ path: directory }, 'what is left of a download is of no use, and removed')
      await this.#remove(directory)
    } catch (error) {
      // It takes room and does no other harm: no reason to serve nothing.
      this.#log.error({ path: directory, err: error }, 'what is left of a download can be neither read nor removed')
    }
  }

  /** The journal first: bytes without one are not resumed, whatever happens in between. */
  async #remove(directory: string): Promise<void> {
    if (!(await this.#fileSystem.describe(directory))) return
    await this.#fileSystem.remove(join(directory, 'journal'))
    for (const name of await this.#fileSystem.list(directory)) await this.#fileSystem.remove(join(directory, name))
    await this.#fileSystem.removeDirectory(directory)
  }
}
