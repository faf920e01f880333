import { MirrorError } from '../../src/errors.js'
import type { Medium, OpenMediumFile, WritingMediumFile } from '../../src/store/medium.js'

/** A real medium that breaks as one is told to: pulled out, with bad sectors, or forgetful. */
export class FaultyMedium implements Medium {
  readonly #medium: Medium
  /** How many changes were asked for, and how many are let through. */
  changes = 0
  changesLeft = Number.POSITIVE_INFINITY
  readonly written = new Set<string>()
  /** Of these nothing can be written. */
  refuse: ((path: string) => boolean) | undefined
  /** Of these other bytes come back. */
  isLying: ((path: string) => boolean) | undefined
  /** Whether any of these bytes is in a bad sector. */
  isBad: ((path: string, startBytes: number, endBytes: number) => boolean) | undefined

  constructor(medium: Medium) {
    this.#medium = medium
  }

  get path(): string {
    return this.#medium.path
  }

  list(directory: string, most: number) {
    return this.#medium.list(directory, most)
  }

  async open(path: string, options?: { isPastCache?: boolean }): Promise<OpenMediumFile | undefined> {
    const file = await this.#medium.open(path, options)
    return file && this.#faultyReading(path, file)
  }

  async readWhole(path: string, limitBytes: number): Promise<Buffer | undefined> {
    const bytes = await this.#medium.readWhole(path, limitBytes)
    if (bytes && this.isBad?.(path, 0, bytes.length))
      throw new MirrorError('MEDIUM_UNREADABLE', `bad sector in ${path}`)
    return bytes
  }

  async write(path: string): Promise<WritingMediumFile> {
    const file = await this.#medium.write(path)
    return {
      ...this.#faultyReading(path, file),
      get sizeBytes() {
        return file.sizeBytes
      },
      write: async (bytes, positionBytes) => {
        this.#change(path)
        await file.write(bytes, positionBytes)
      },
      truncate: async (sizeBytes) => {
        this.#change(path)
        await file.truncate(sizeBytes)
      },
      sync: () => file.sync(),
    }
  }

  async writeWhole(path: string, bytes: Uint8Array): Promise<void> {
    this.#change(`${path}.partial`)
    await this.#medium.writeWhole(path, bytes)
  }

  async remove(path: string): Promise<void> {
    await this.#medium.remove(path)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#change(from)
    await this.#medium.rename(from, to)
  }

  freeBytes() {
    return this.#medium.freeBytes()
  }

  #faultyReading(path: string, file: OpenMediumFile): OpenMediumFile {
    return {
      sizeBytes: file.sizeBytes,
      read: async (buffer, positionBytes) => {
        const endBytes = Math.min(positionBytes + buffer.length, file.sizeBytes)
        if (this.isBad?.(path, positionBytes, endBytes)) {
          throw new MirrorError('MEDIUM_UNREADABLE', `bad sector in ${path} after ${positionBytes}`)
        }
        const readBytes = await file.read(buffer, positionBytes)
        if (this.isLying?.(path)) buffer[0]! ^= 1
        return readBytes
      },
      close: () => file.close(),
    }
  }

  #change(path: string): void {
    this.changes++
    if (this.changesLeft-- <= 0 || this.refuse?.(path)) throw new MirrorError('MEDIUM_UNREADABLE', `${path} is gone`)
    this.written.add(path)
  }
}
