import { type FileSystem, nodeFileSystem, type OpenedFile } from '../../src/store/file-system.js'

export type Step = keyof FileSystem | `file.${keyof OpenedFile}`

/**
 * The real file system, with a say before every step: `before` is told what is to be done with which path, and may throw what a disk
 * would. `takesAtMostBytes` is a disk that writes and reads little at a time.
 */
export class FaultyFileSystem implements FileSystem {
  before: (step: Step, path: string) => void = () => {}
  takesAtMostBytes = Number.POSITIVE_INFINITY

  async open(path: string, how: 'read' | 'write' | 'create'): Promise<OpenedFile> {
    this.before('open', path)
    const file = await nodeFileSystem.open(path, how)
    return {
      read: (buffer, position) => {
        this.before('file.read', path)
        return file.read(buffer.subarray(0, Math.min(buffer.length, this.takesAtMostBytes)), position)
      },
      write: async (bytes, position) => {
        this.before('file.write', path)
        return await file.write(bytes.subarray(0, Math.min(bytes.length, this.takesAtMostBytes)), position)
      },
      truncate: async (sizeBytes) => {
        this.before('file.truncate', path)
        await file.truncate(sizeBytes)
      },
      sync: async () => {
        this.before('file.sync', path)
        await file.sync()
      },
      sizeBytes: async () => {
        this.before('file.sizeBytes', path)
        return await file.sizeBytes()
      },
      close: () => file.close(),
    }
  }

  async rename(from: string, to: string): Promise<void> {
    this.before('rename', to)
    await nodeFileSystem.rename(from, to)
  }

  async remove(path: string): Promise<void> {
    this.before('remove', path)
    await nodeFileSystem.remove(path)
  }

  async makeDirectory(path: string): Promise<void> {
    this.before('makeDirectory', path)
    await nodeFileSystem.makeDirectory(path)
  }

  async removeDirectory(path: string): Promise<void> {
    this.before('removeDirectory', path)
    await nodeFileSystem.removeDirectory(path)
  }

  async list(path: string): Promise<string[]> {
    this.before('list', path)
    return await nodeFileSystem.list(path)
  }

  async describe(path: string) {
    this.before('describe', path)
    return await nodeFileSystem.describe(path)
  }

  async syncDirectory(path: string): Promise<void> {
    this.before('syncDirectory', path)
    await nodeFileSystem.syncDirectory(path)
  }

  async freeBytes(path: string): Promise<number> {
    this.before('freeBytes', path)
    return this.freeBytesSaid ?? (await nodeFileSystem.freeBytes(path))
  }

  /** What the disk says is free, if not the truth. */
  freeBytesSaid: number | undefined
}

/** What Node throws when the system refuses. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: handed in by the test`), { code })
}
