import { constants, type Dirent, existsSync } from 'node:fs'
import fs, { type FileHandle } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { getSystemErrorMap } from 'node:util'
import { hasCode, isMirrorError, MirrorError } from '../errors.js'
import { memoryPages } from '../parts/memory-pages.js'
import type { Media, Medium, OpenMediumFile, WritingMediumFile } from './medium.js'

const { O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants
/** Reads from the medium itself; where there is no such thing, we read as always. */
const O_DIRECT = constants.O_DIRECT ?? 0
/** Of a pipe that took the place of a file, opening must not wait for the other end. */
const READING = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
const WRITING = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK
const ENTERING = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
/**
 * Below a descriptor's name in here, a name is looked up in the directory that is open, wherever it has been moved meanwhile: what openat(2)
 * does, which Node has not. Linux and illumos have it (proc(5), proc(4)); elsewhere each part is checked, but a race could be won against us.
 */
const DESCRIPTORS = '/proc/self/fd'
const HAS_DESCRIPTORS = existsSync(DESCRIPTORS)
const ONE_PAGE = memoryPages(4096)
const PARTIAL = '.partial'
/** Names that FAT, exFAT and ISO 9660 with long Joliet names take as they are, and that no shell reads as something else. */
const WRITABLE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,102}(?<!\.)$/

/** Directories of this machine, wherever they are mounted. */
export const diskMedia: Media = {
  async open(path, { isToBeWritten = false } = {}) {
    if (!isAbsolute(path)) throw refusal(path, 'it is no absolute path')
    try {
      if (isToBeWritten) await fs.mkdir(path).catch(unless('EEXIST'))
      const directory = await fs.open(path, O_RDONLY | O_DIRECTORY)
      try {
        if (isToBeWritten) await fs.access(path, constants.W_OK)
        return new DiskMedium(path, (await directory.stat()).dev)
      } finally {
        await directory.close()
      }
    } catch (cause) {
      throw refusal(path, `it is no directory that we may ${isToBeWritten ? 'write to' : 'read'}`, cause)
    }
  },
}

/** A directory that is open: `path` is for the system, and leads to nowhere but into it. */
interface OpenDirectory {
  readonly handle: FileHandle
  readonly path: string
}

class DiskMedium implements Medium {
  readonly #device: number

  constructor(
    readonly path: string,
    device: number,
  ) {
    this.#device = device
  }

  list(directory: string, most: number): Promise<readonly { name: string; isDirectory: boolean }[]> {
    return this.#told('list', directory, async () => {
      const opened = await this.#enter(partsOf(directory))
      try {
        const entries: Dirent[] = []
        if (most > 0) {
          for await (const entry of await fs.opendir(opened.path)) {
            entries.push(entry)
            if (entries.length === most) break
          }
        }
        return entries.map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() }))
      } finally {
        await opened.handle.close()
      }
    })
  }

  async open(path: string, { isPastCache = false } = {}): Promise<OpenMediumFile | undefined> {
    try {
      return await this.#told('open', path, async () => {
        const { handle, facts } = await this.#openFile(path, READING | (isPastCache ? O_DIRECT : 0))
        if (isPastCache) await probe(handle)
        return new DiskMediumFile(join(this.path, path), handle, facts.size)
      })
    } catch (error) {
      if (isMirrorError(error) && hasCode(error.cause, 'ENOENT')) return undefined
      // Not every file system can read past the cache.
      if (isPastCache && isMirrorError(error) && hasCode(error.cause, 'EINVAL')) return this.open(path)
      throw error
    }
  }

  async readWhole(path: string, limitBytes: number): Promise<Buffer | undefined> {
    const file = await this.open(path)
    if (!file) return undefined
    try {
      if (file.sizeBytes > limitBytes) {
        const message = `${join(this.path, path)} has ${file.sizeBytes} bytes: it may have at most ${limitBytes}`
        throw new MirrorError('BUNDLE_INVALID', message)
      }
      const content = Buffer.alloc(file.sizeBytes)
      return content.subarray(0, await file.read(content, 0))
    } finally {
      await file.close()
    }
  }

  write(path: string): Promise<WritingMediumFile> {
    return this.#told('write', path, async () => {
      const parts = partsOf(path)
      const unfit = parts.find((part) => !WRITABLE_NAME.test(part))
      if (unfit !== undefined) throw new Error(`${JSON.stringify(unfit)} is no name that every medium can have`)
      const { handle, facts } = await this.#openFile(path, WRITING, true)
      const syncName = () => this.#syncDirectory(parts.slice(0, -1))
      return new WritingDiskMediumFile(join(this.path, path), handle, facts.size, syncName)
    })
  }

  async writeWhole(path: string, bytes: Uint8Array): Promise<void> {
    const file = await this.write(path + PARTIAL)
    try {
      await file.truncate(0)
      await file.write(bytes, 0)
      await file.sync()
    } finally {
      await file.close()
    }
    await this.rename(path + PARTIAL, path)
  }

  remove(path: string): Promise<void> {
    return this.#told('remove', path, async () => {
      const parts = partsOf(path)
      let directory: OpenDirectory
      try {
        directory = await this.#enter(parts.slice(0, -1))
      } catch (cause) {
        if (hasCode(cause, 'ENOENT')) return
        throw cause
      }
      try {
        await fs.unlink(join(directory.path, parts.at(-1)!)).catch(unless('ENOENT'))
        await syncIfPossible(directory.handle)
      } finally {
        await directory.handle.close()
      }
    })
  }

  rename(from: string, to: string): Promise<void> {
    return this.#told('rename', from, async () => {
      const [fromParts, toParts] = [partsOf(from), partsOf(to)]
      const source = await this.#enter(fromParts.slice(0, -1))
      try {
        const target = await this.#enter(toParts.slice(0, -1))
        try {
          await fs.rename(join(source.path, fromParts.at(-1)!), join(target.path, toParts.at(-1)!))
          await syncIfPossible(target.handle)
        } finally {
          await target.handle.close()
        }
        await syncIfPossible(source.handle)
      } finally {
        await source.handle.close()
      }
    })
  }

  freeBytes(): Promise<number> {
    return this.#told('ask for the room on', '', async () => {
      const { handle, path } = await this.#enter([])
      try {
        const { bavail, bsize } = await fs.statfs(join(path, '.'))
        return bavail * bsize
      } finally {
        await handle.close()
      }
    })
  }

  /**
   * Opens a directory part by part, through no link. A medium that is another than at first, as after a stick was pulled out and only
   * the empty directory is there that it was mounted on, is refused.
   */
  async #enter(parts: readonly string[], isToBeMade = false): Promise<OpenDirectory> {
    let directory = opened(await fs.open(this.path, O_RDONLY | O_DIRECTORY), this.path)
    try {
      if ((await directory.handle.stat()).dev !== this.#device) throw new Error('the medium is no longer there')
      for (const part of parts) {
        const path = join(directory.path, part)
        const enter = async () => opened(await fs.open(path, ENTERING), path)
        const inner = await enter().catch(async (cause: unknown) => {
          if (!isToBeMade || !hasCode(cause, 'ENOENT')) throw cause
          await fs.mkdir(path).catch(unless('EEXIST'))
          await syncIfPossible(directory.handle)
          return enter()
        })
        await directory.handle.close()
        directory = inner
      }
      return directory
    } catch (cause) {
      await directory.handle.close()
      throw cause
    }
  }

  async #openFile(path: string, flags: number, isToBeMade = false) {
    const parts = partsOf(path)
    const directory = await this.#enter(parts.slice(0, -1), isToBeMade)
    try {
      const inner = join(directory.path, parts.at(-1)!)
      // Before it is opened, as opening some devices does something; and again after, when it is certain what was opened.
      const before = await fs.lstat(inner).catch(unless('ENOENT'))
      if (before && !before.isFile()) throw new Error('it is no regular file')
      const handle = await fs.open(inner, flags)
      try {
        const facts = await handle.stat()
        if (!facts.isFile()) throw new Error('it is no regular file')
        return { handle, facts }
      } catch (cause) {
        await handle.close()
        throw cause
      }
    } finally {
      await directory.handle.close()
    }
  }

  async #syncDirectory(parts: readonly string[]): Promise<void> {
    const { handle } = await this.#enter(parts)
    try {
      await syncIfPossible(handle)
    } finally {
      await handle.close()
    }
  }

  async #told<Value>(doing: string, path: string, work: () => Promise<Value>): Promise<Value> {
    try {
      return await work()
    } catch (cause) {
      throw mediumFailure(doing, join(this.path, path), cause)
    }
  }
}

class DiskMediumFile implements OpenMediumFile {
  readonly #name: string
  protected readonly handle: FileHandle
  #sizeBytes: number

  constructor(name: string, handle: FileHandle, sizeBytes: number) {
    this.#name = name
    this.handle = handle
    this.#sizeBytes = sizeBytes
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  protected set sizeBytes(sizeBytes: number) {
    this.#sizeBytes = sizeBytes
  }

  read(buffer: Uint8Array, positionBytes: number): Promise<number> {
    return this.told('read', async () => {
      let filledBytes = 0
      while (filledBytes < buffer.length) {
        const left = buffer.length - filledBytes
        const { bytesRead } = await this.handle.read(buffer, filledBytes, left, positionBytes + filledBytes)
        if (bytesRead === 0) break
        filledBytes += bytesRead
        // Past the cache only whole sectors can be asked for: one that came short was the last.
        if (positionBytes + filledBytes >= this.#sizeBytes) break
      }
      return filledBytes
    })
  }

  async close(): Promise<void> {
    await this.told('close', () => this.handle.close())
  }

  protected async told<Value>(doing: string, work: () => Promise<Value>): Promise<Value> {
    try {
      return await work()
    } catch (cause) {
      throw mediumFailure(doing, this.#name, cause)
    }
  }
}

class WritingDiskMediumFile extends DiskMediumFile implements WritingMediumFile {
  readonly #syncName: () => Promise<void>

  constructor(name: string, handle: FileHandle, sizeBytes: number, syncName: () => Promise<void>) {
    super(name, handle, sizeBytes)
    this.#syncName = syncName
  }

  async write(bytes: Uint8Array, positionBytes: number): Promise<void> {
    await this.told('write', async () => {
      let writtenBytes = 0
      while (writtenBytes < bytes.length) {
        const left = bytes.length - writtenBytes
        const result = await this.handle.write(bytes, writtenBytes, left, positionBytes + writtenBytes)
        // A disk that takes nothing and does not say why would keep us here for ever.
        if (result.bytesWritten === 0) throw new Error('it took no bytes and gave no reason')
        writtenBytes += result.bytesWritten
      }
    })
    this.sizeBytes = Math.max(this.sizeBytes, positionBytes + bytes.length)
  }

  async truncate(sizeBytes: number): Promise<void> {
    await this.told('cut', () => this.handle.truncate(sizeBytes))
    this.sizeBytes = sizeBytes
  }

  /** Its name too: it may be new. */
  async sync(): Promise<void> {
    await this.told('sync', async () => {
      await this.handle.sync()
      await this.#syncName()
    })
  }
}

function opened(handle: FileHandle, path: string): OpenDirectory {
  return { handle, path: HAS_DESCRIPTORS ? join(DESCRIPTORS, String(handle.fd)) : path }
}

/** The plain parts of a relative path; none of the medium itself. */
function partsOf(path: string): string[] {
  if (path === '') return []
  const parts = path.split('/')
  const odd = parts.find((part) => part === '' || part === '.' || part === '..' || part.includes('\0'))
  if (odd !== undefined) throw new Error('its name leads out of the medium')
  return parts
}

/** Some file systems cannot sync a directory; then its entries are as durable as they make them. */
async function syncIfPossible(directory: FileHandle): Promise<void> {
  await directory.sync().catch(unless('EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'))
}

/** To be caught with: what has one of these codes is no failure. */
function unless(...codes: string[]) {
  return (cause: unknown): undefined => {
    if (!hasCode(cause, ...codes)) throw cause
  }
}

function refusal(path: string, reason: string, cause?: unknown): MirrorError {
  const message = `${path.slice(0, 1024)}: ${reason}`
  return new MirrorError('QUERY_INVALID', message, {
    cause,
    fields: [{ field: 'path', code: 'Invalid', message: reason }],
  })
}

function mediumFailure(doing: string, path: string, cause: unknown): MirrorError {
  if (isMirrorError(cause)) return cause
  const name = path.slice(0, 1024)
  if (hasCode(cause, 'ENOSPC', 'EDQUOT', 'EFBIG')) {
    const reason = hasCode(cause, 'EFBIG') ? 'files may not be as large on this medium' : 'no room left'
    return new MirrorError('MEDIUM_FULL', `cannot ${doing} ${name}: ${reason}`, { cause })
  }
  return new MirrorError('MEDIUM_UNREADABLE', `cannot ${doing} ${name}: ${reasonOf(cause)}`, { cause })
}

/** Some file systems say only when they are read that they cannot be read past the cache. */
async function probe(handle: FileHandle): Promise<void> {
  try {
    await handle.read(ONE_PAGE, 0, ONE_PAGE.length, 0)
  } catch (cause) {
    // Whatever else is wrong will be told of the place where it is.
    if (!hasCode(cause, 'EINVAL')) return
    await handle.close()
    throw cause
  }
}

/** In words, and without the path: the system's text names it by a descriptor. */
function reasonOf(cause: unknown): string {
  if (hasCode(cause, 'ELOOP', 'ENOTDIR')) return 'links are not followed, and a file is no directory'
  if (!(cause instanceof Error)) return String(cause)
  const errno = 'errno' in cause && typeof cause.errno === 'number' ? cause.errno : 0
  const [code, words] = getSystemErrorMap().get(errno) ?? []
  return code === undefined ? cause.message : `${words} (${code})`
}
