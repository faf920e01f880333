import * as fs from 'node:fs/promises'
import { hasCode } from '../errors.js'

/**
 * The few things the store does to a disk. Every byte we keep goes through here, so that a test can record each step,
 * stop between any two, or be a disk that is full. Two things pass by on purpose: `level`, which holds nothing that cannot be
 * rebuilt, and the hash worker, which only reads.
 *
 * Failures are Node's own system errors; the callers know what they were doing, and say so.
 */
export interface FileSystem {
  /**
   * `read` and `write` (which reads too) want an existing file, `create` wants none to be there. Who may read and write one that is
   * created, `mode` says, where it is not to be everybody whom the process's umask lets.
   */
  open(path: string, how: 'read' | 'write' | 'create', mode?: number): Promise<OpenedFile>
  /** Replaces what was at `to`. Durable only after `syncDirectory` of both directories. */
  rename(from: string, to: string): Promise<void>
  /** Harmless when there is no such file. */
  remove(path: string): Promise<void>
  /** Harmless when it is there already. Its parent must be. */
  makeDirectory(path: string): Promise<void>
  /** It must be empty. */
  removeDirectory(path: string): Promise<void>
  /** Names without their path, in no order. */
  list(path: string): Promise<string[]>
  /** `undefined` when there is nothing of that name. */
  describe(path: string): Promise<FileFacts | undefined>
  /** Makes names that came, went or changed in it durable. */
  syncDirectory(path: string): Promise<void>
  /** How many more bytes we could write, by the file system's own word. */
  freeBytes(path: string): Promise<number>
}

/** A file by its descriptor. Reads and writes name their position, so that many may be under way at once. */
export interface OpenedFile {
  /** Answers how many bytes were read: 0 at the end, and possibly fewer than asked before it. */
  read(buffer: Uint8Array, positionBytes: number): Promise<number>
  /** Answers how many bytes were written, possibly fewer than given. */
  write(bytes: Uint8Array, positionBytes: number): Promise<number>
  truncate(sizeBytes: number): Promise<void>
  /** Makes content and size durable. */
  sync(): Promise<void>
  sizeBytes(): Promise<number>
  /** Waits for what is under way. */
  close(): Promise<void>
}

export interface FileFacts {
  /** Which one it is, on this machine, as long as there is one: what stands later in its place has another. */
  readonly identity: string
  readonly isDirectory: boolean
  readonly sizeBytes: number
  /** What it takes of the disk: less than its size where nothing was ever written. */
  readonly sizeOnDiskBytes: number
  readonly modifiedMs: number
}

const FLAGS = { read: 'r', write: 'r+', create: 'wx+' } as const

/** The real one. */
export const nodeFileSystem: FileSystem = {
  async open(path, how, mode) {
    return new NodeFile(await fs.open(path, FLAGS[how], mode))
  },

  rename: (from, to) => fs.rename(from, to),

  remove: (path) => fs.rm(path, { force: true }),

  async makeDirectory(path) {
    try {
      await fs.mkdir(path)
    } catch (cause) {
      if (!hasCode(cause, 'EEXIST') || !(await fs.stat(path)).isDirectory()) throw cause
    }
  },

  removeDirectory: (path) => fs.rmdir(path),

  list: (path) => fs.readdir(path),

  async describe(path) {
    try {
      const found = await fs.stat(path)
      return {
        identity: `${found.dev}:${found.ino}`,
        isDirectory: found.isDirectory(),
        sizeBytes: found.size,
        // stat(2): st_blocks counts 512 bytes, whatever the file system's own blocks are.
        sizeOnDiskBytes: found.blocks * 512,
        modifiedMs: found.mtimeMs,
      }
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return undefined
      throw cause
    }
  },

  async syncDirectory(path) {
    const directory = await fs.open(path, 'r')
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  },

  async freeBytes(path) {
    const { bavail, bsize } = await fs.statfs(path)
    return bavail * bsize
  },
}

class NodeFile implements OpenedFile {
  readonly #file: fs.FileHandle

  constructor(file: fs.FileHandle) {
    this.#file = file
  }

  async read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    return (await this.#file.read(buffer, 0, buffer.length, positionBytes)).bytesRead
  }

  async write(bytes: Uint8Array, positionBytes: number): Promise<number> {
    return (await this.#file.write(bytes, 0, bytes.length, positionBytes)).bytesWritten
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#file.truncate(sizeBytes)
  }

  sync(): Promise<void> {
    return this.#file.sync()
  }

  async sizeBytes(): Promise<number> {
    return (await this.#file.stat()).size
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
