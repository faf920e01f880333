import * as fs from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type FileSystem, nodeFileSystem, type OpenedFile } from '../../src/store/file-system.js'

/** One change to the disk, with paths below the root. */
type Change =
  | { readonly kind: 'create' | 'remove' | 'makeDirectory' | 'syncDirectory'; readonly path: string }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string }
  | { readonly kind: 'write'; readonly file: number; readonly positionBytes: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly file: number; readonly sizeBytes: number }
  | { readonly kind: 'sync'; readonly file: number }

/**
 * What a crash leaves of the changes before it:
 * `killed`: all of them, only our process is gone. `power lost`: only what was synced, names and bytes alike.
 * `names first`: every name as it was last, but of the bytes only what was synced; file systems may order it so.
 * `sizes first`: as that, and files have the size they had last, with zeros where nothing was synced.
 */
export type Crash = 'killed' | 'power lost' | 'names first' | 'sizes first'

/** The real file system, and a list of every change made through it, which can be played again up to any point. */
export class RecordingFileSystem implements FileSystem {
  readonly #root: string
  readonly #changes: Change[] = []
  /** Which file, by number, has this name now: so that writes through an open descriptor follow a rename. */
  readonly #files = new Map<string, number>()
  #nextFile = 0

  constructor(root: string) {
    this.#root = root
  }

  /** Of a directory that is not empty: what is in it counts as synced. */
  static async of(root: string): Promise<RecordingFileSystem> {
    const recording = new RecordingFileSystem(root)
    const entries = await fs.readdir(root, { recursive: true, withFileTypes: true })
    for (const entry of entries.sort((left, right) => left.parentPath.length - right.parentPath.length)) {
      const parent = recording.#below(entry.parentPath)
      const path = recording.#below(join(entry.parentPath, entry.name))
      if (entry.isDirectory()) {
        recording.#changes.push({ kind: 'makeDirectory', path })
      } else {
        const file = recording.#nextFile++
        recording.#files.set(path, file)
        const bytes = await fs.readFile(join(root, path))
        recording.#changes.push({ kind: 'create', path }, { kind: 'write', file, positionBytes: 0, bytes })
        recording.#changes.push({ kind: 'sync', file })
      }
      recording.#changes.push({ kind: 'syncDirectory', path: parent })
    }
    return recording
  }

  /** How many changes there were so far. */
  get count(): number {
    return this.#changes.length
  }

  async open(path: string, how: 'read' | 'write' | 'create'): Promise<OpenedFile> {
    const opened = await nodeFileSystem.open(path, how)
    const name = this.#below(path)
    if (how === 'create') {
      this.#files.set(name, this.#nextFile++)
      this.#changes.push({ kind: 'create', path: name })
    }
    const file = this.#files.get(name)!
    return {
      read: (buffer, position) => opened.read(buffer, position),
      write: async (bytes, positionBytes) => {
        const takenBytes = await opened.write(bytes, positionBytes)
        this.#changes.push({ kind: 'write', file, positionBytes, bytes: Buffer.from(bytes.subarray(0, takenBytes)) })
        return takenBytes
      },
      truncate: async (sizeBytes) => {
        await opened.truncate(sizeBytes)
        this.#changes.push({ kind: 'truncate', file, sizeBytes })
      },
      sync: async () => {
        await opened.sync()
        this.#changes.push({ kind: 'sync', file })
      },
      sizeBytes: () => opened.sizeBytes(),
      close: () => opened.close(),
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await nodeFileSystem.rename(from, to)
    const [path, target] = [this.#below(from), this.#below(to)]
    this.#files.set(target, this.#files.get(path)!)
    this.#files.delete(path)
    this.#changes.push({ kind: 'rename', path, to: target })
  }

  async remove(path: string): Promise<void> {
    await nodeFileSystem.remove(path)
    this.#changes.push({ kind: 'remove', path: this.#below(path) })
  }

  async makeDirectory(path: string): Promise<void> {
    await nodeFileSystem.makeDirectory(path)
    this.#changes.push({ kind: 'makeDirectory', path: this.#below(path) })
  }

  async removeDirectory(path: string): Promise<void> {
    await nodeFileSystem.removeDirectory(path)
    this.#changes.push({ kind: 'remove', path: this.#below(path) })
  }

  async syncDirectory(path: string): Promise<void> {
    await nodeFileSystem.syncDirectory(path)
    this.#changes.push({ kind: 'syncDirectory', path: this.#below(path) })
  }

  list = (path: string) => nodeFileSystem.list(path)
  describe = (path: string) => nodeFileSystem.describe(path)
  freeBytes = (path: string) => nodeFileSystem.freeBytes(path)

  /**
   * Writes into the empty directory `root` what `crash` leaves of everything so far, and goes on there. After a kill what
   * was not synced still is not.
   */
  async goOnIn(root: string, crash: Crash): Promise<RecordingFileSystem> {
    const recording = new RecordingFileSystem(root)
    recording.#changes.push(...this.#changes)
    for (const [name, file] of this.#files) recording.#files.set(name, file)
    recording.#nextFile = this.#nextFile
    await recording.replay(root, recording.count, crash)
    return crash === 'killed' ? recording : await RecordingFileSystem.of(root)
  }

  /** Writes into the empty directory `root` what `crash` leaves of the first `count` changes. */
  async replay(root: string, count: number, crash: Crash): Promise<void> {
    const { directories, files } = this.#after(count, crash)
    for (const path of directories) await fs.mkdir(join(root, path), { recursive: true })
    for (const [path, bytes] of files) await fs.writeFile(join(root, path), bytes)
  }

  /** Whether the last of the first `count` changes makes any difference to what `crash` leaves. */
  isOfConsequence(count: number, crash: Crash): boolean {
    return count === 0 || !isDeepStrictEqual(this.#after(count - 1, crash), this.#after(count, crash))
  }

  #after(count: number, crash: Crash) {
    const disk = new ModelDisk()
    for (const change of this.#changes.slice(0, count)) disk.apply(change)
    return disk.after(crash)
  }

  #below(path: string): string {
    return relative(this.#root, path) || '.'
  }
}

interface ModelFile {
  bytes: Buffer
  syncedBytes: Buffer
}

function bytesAfter(crash: Crash, { bytes, syncedBytes }: ModelFile): Buffer {
  if (crash === 'killed') return bytes
  return crash === 'sizes first' ? Buffer.concat([syncedBytes], bytes.length) : syncedBytes
}

/** Names and bytes, each as they are now and as they were last synced. */
class ModelDisk {
  readonly #files: ModelFile[] = []
  /** By path; a directory has no file. */
  readonly #now = new Map<string, ModelFile | 'directory'>()
  readonly #synced = new Map<string, ModelFile | 'directory'>()

  apply(change: Change): void {
    switch (change.kind) {
      case 'create': {
        const file = { bytes: Buffer.alloc(0), syncedBytes: Buffer.alloc(0) }
        this.#files.push(file)
        this.#now.set(change.path, file)
        return
      }
      case 'makeDirectory':
        this.#now.set(change.path, 'directory')
        return
      case 'remove':
        this.#now.delete(change.path)
        return
      case 'rename':
        this.#now.set(change.to, this.#now.get(change.path)!)
        this.#now.delete(change.path)
        return
      case 'write': {
        const file = this.#files[change.file]!
        const sizeBytes = Math.max(file.bytes.length, change.positionBytes + change.bytes.length)
        const bytes = Buffer.concat([file.bytes], sizeBytes)
        change.bytes.copy(bytes, change.positionBytes)
        file.bytes = bytes
        return
      }
      case 'truncate': {
        const file = this.#files[change.file]!
        file.bytes = Buffer.concat([file.bytes], change.sizeBytes)
        return
      }
      case 'sync': {
        const file = this.#files[change.file]!
        file.syncedBytes = file.bytes
        return
      }
      case 'syncDirectory': {
        const isIn = (path: string) => dirname(path) === change.path
        for (const path of [...this.#synced.keys()].filter(isIn)) this.#synced.delete(path)
        for (const [path, entry] of this.#now) if (isIn(path)) this.#synced.set(path, entry)
      }
    }
  }

  after(crash: Crash): { directories: string[]; files: Map<string, Buffer> } {
    const names = crash === 'power lost' ? this.#synced : this.#now
    const directories: string[] = []
    const files = new Map<string, Buffer>()
    for (const [path, entry] of names) {
      if (!this.#isReachable(path, names)) continue
      if (entry === 'directory') directories.push(path)
      else files.set(path, bytesAfter(crash, entry))
    }
    return { directories, files }
  }

  /** A file whose directory was never synced is gone with it. */
  #isReachable(path: string, names: Map<string, unknown>): boolean {
    const parent = dirname(path)
    return parent === '.' || (names.has(parent) && this.#isReachable(parent, names))
  }
}
