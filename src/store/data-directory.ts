import { join, resolve } from 'node:path'
import { hasCode, MirrorError } from '../errors.js'
import type { Log } from '../parts/log.js'
import { SingleFlight } from '../parts/single-flight.js'
import { isNextToFull, keepBallast } from './ballast.js'
import { DirectoryLock, isLevelLocked } from './directory-lock.js'
import type { FileSystem } from './file-system.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeFully, writeWhole } from './whole-files.js'

/**
 * Takes a data directory from one format version to the next. It may find its own work half done, by a crash: it must
 * be able to run again.
 */
export type Migration = (directory: string, fileSystem: FileSystem) => Promise<void>

/** The first one leads from version 1 to version 2, and so on. None so far: the current format is version 1. */
export const MIGRATIONS: readonly Migration[] = []

const FORMAT_LINE = /^imgapi-mirror data, format ([1-9]\d{0,8})\n$/
/** What may lie in a directory that is empty to us: our own beginnings, and what ext4 puts into every new file system. */
const NOBODYS = new Set(['lock', 'partial', 'lost+found'])

export interface DataDirectoryOptions {
  readonly fileSystem: FileSystem
  readonly log: Log
  /** It is not ours any more, and nothing may be written into it, not even by closing. Called once at most. */
  readonly onLost?: ((reason: MirrorError) => void) | undefined
  readonly migrations?: readonly Migration[]
  /** For tests: hold no room for a start on a full disk, and take a directory without a lock at once. */
  readonly isForManyStarts?: boolean
}

/** The directory with everything we keep, in the format this release writes, owned by this process. */
export class DataDirectory {
  readonly path: string
  /** For files being written; at start it holds directories only. On the same file system as everything else. */
  readonly partial: string
  readonly #lock: DirectoryLock
  readonly #fileSystem: FileSystem
  readonly #log: Log
  readonly #isForManyStarts: boolean
  readonly #looking = new SingleFlight<'', readonly string[]>()

  /**
   * Makes the directory where there is none, and brings an older one up to date.
   * @throws MirrorError STORE_LOCKED when another process has it; STORE_UNUSABLE when it is of a newer release, not ours,
   *   or may not be written; STORE_FULL, STORE_BROKEN.
   */
  static async open(directory: string, options: DataDirectoryOptions): Promise<DataDirectory> {
    const { fileSystem, log, migrations = MIGRATIONS, isForManyStarts = false, onLost = () => {} } = options
    const path = resolve(directory)
    try {
      // Only where it is missing: the directory it stands in may be one that we are not allowed to read, or sync.
      if (!(await fileSystem.describe(path))?.isDirectory) await ensureDirectory(fileSystem, path)
      // Looked at before anything is written into a directory that may be someone else's, and again once it is ours.
      await readFormat(fileSystem, path)
      const lock = await DirectoryLock.take(path, {
        fileSystem,
        log,
        onLost,
        isInUse: async () => (await readFormat(fileSystem, path)) !== undefined,
        ...(isForManyStarts && { patienceMs: 0 }),
      })
      try {
        const partial = join(path, 'partial')
        await ensureDirectory(fileSystem, partial)
        await sweepFiles(fileSystem, partial)
        await bringUpToDate(path, partial, { fileSystem, log, migrations })
        if (!isForManyStarts) await keepBallast(path, { partial, fileSystem, log })
        return new DataDirectory(path, partial, lock, { fileSystem, log, isForManyStarts })
      } catch (cause) {
        await lock.close()
        throw cause
      }
    } catch (cause) {
      throw await openFailure(path, cause, fileSystem)
    }
  }

  private constructor(
    path: string,
    partial: string,
    lock: DirectoryLock,
    options: { fileSystem: FileSystem; log: Log; isForManyStarts: boolean },
  ) {
    this.path = path
    this.partial = partial
    this.#lock = lock
    this.#fileSystem = options.fileSystem
    this.#log = options.log
    this.#isForManyStarts = options.isForManyStarts
  }

  /**
   * Why it cannot be used as it is now: gone, replaced, unmounted, read-only. Asked by whoever watches us, so that a small file is
   * written at most once at a time. A disk that is full is no reason.
   */
  complaints(): Promise<readonly string[]> {
    return this.#looking.do('', () => this.#look())
  }

  async #look(): Promise<readonly string[]> {
    const { path } = this
    try {
      if ((await readFormat(this.#fileSystem, path)) === undefined) return [`data directory ${path} is empty or gone`]
    } catch (error) {
      return [`data directory ${path} cannot be used: ${messageOf(error)}`]
    }
    const refusal = await refusalToWrite(this.partial, this.#fileSystem)
    if (refusal === undefined || hasCode(refusal, 'ENOSPC', 'EDQUOT')) return []
    return [`data directory ${path} cannot be written: ${messageOf(refusal)}`]
  }

  /** Lets other processes have it. */
  async close(): Promise<void> {
    // It may have been let go of at start, and there may be room again.
    if (!this.#isForManyStarts) {
      await keepBallast(this.path, { partial: this.partial, fileSystem: this.#fileSystem, log: this.#log })
    }
    await this.#lock.close()
  }
}

/** The failure to tell of when the directory could not be opened, with what an operator can do something about. */
async function openFailure(path: string, cause: unknown, fileSystem: FileSystem): Promise<MirrorError> {
  if (cause instanceof MirrorError) return cause
  if (isLevelLocked(cause)) {
    return new MirrorError('STORE_LOCKED', `another process is using data directory ${path}`, { cause })
  }
  const doing = `cannot open data directory ${path}`
  const isOfLevel = hasCode(cause, 'LEVEL_DATABASE_NOT_OPEN')
  const lock = join(path, 'lock')
  const refusal = isOfLevel
    ? ((await fileSystem.makeDirectory(lock).catch((error: unknown) => error)) ??
      (await refusalToWrite(lock, fileSystem)))
    : cause
  if (hasCode(refusal, 'EROFS')) {
    return new MirrorError('STORE_UNUSABLE', `${doing}: its file system is mounted read-only`, { cause })
  }
  if (hasCode(refusal, 'EACCES', 'EPERM')) {
    const message = `${doing}: this process has no permission to write there: ${String(refusal)}`
    return new MirrorError('STORE_UNUSABLE', message, { cause })
  }
  if (hasCode(refusal, 'ENOSPC', 'EDQUOT') || (isOfLevel && (await isNextToFull(fileSystem, path)))) {
    const freeBytes = await fileSystem.freeBytes(path).catch(() => 'unknown how many')
    return new MirrorError('STORE_FULL', `${doing}: the disk is full (${freeBytes} bytes free); make room`, { cause })
  }
  // level says outside only that it failed.
  return storeFailure(doing, isOfLevel && cause instanceof Error ? (cause.cause ?? cause) : cause)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** level gives no code for what the system said to it; the same thing tried by ourselves has one. */
async function refusalToWrite(directory: string, fileSystem: FileSystem): Promise<unknown> {
  // Among level's files, or those being written, because a name that a crash leaves there bothers nobody.
  const path = join(directory, 'probe')
  try {
    await fileSystem.remove(path)
    const file = await fileSystem.open(path, 'create')
    try {
      await writeFully(file, Buffer.alloc(4096), 0)
      await file.sync()
    } finally {
      await file.close()
    }
    return undefined
  } catch (error) {
    return error
  } finally {
    await fileSystem.remove(path).catch(() => {})
  }
}

/**
 * Looks whether a directory is one of ours, and of a format that this release knows.
 * @throws MirrorError STORE_UNUSABLE when it is not, STORE_BROKEN when it cannot be read.
 */
export async function checkDataDirectory(path: string, fileSystem: FileSystem): Promise<void> {
  const ours = MIGRATIONS.length + 1
  let found: number | undefined
  try {
    found = await readFormat(fileSystem, path)
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT', 'ENOTDIR')) throw storeFailure(`cannot read data directory ${path}`, cause)
  }
  if (found === undefined) throw new MirrorError('STORE_UNUSABLE', `there is no data directory ${path}`)
  if (found > ours) throw isNewer(path, found, ours)
}

/** The format version that was written, or `undefined` for a directory that is still empty. */
async function readFormat(fileSystem: FileSystem, path: string): Promise<number | undefined> {
  const text = (await readWhole(fileSystem, join(path, 'FORMAT'), 1024))?.toString('utf8')
  if (text !== undefined) {
    const version = FORMAT_LINE.exec(text)?.[1]
    if (version !== undefined) return Number(version)
    const beginning = JSON.stringify(text.slice(0, 60))
    throw new MirrorError(
      'STORE_UNUSABLE',
      `${join(path, 'FORMAT')} does not name a format version: it says ${beginning}`,
    )
  }
  const strangers = (await fileSystem.list(path)).filter((name) => !NOBODYS.has(name)).sort()
  if (strangers.length === 0) return undefined
  const some = strangers.slice(0, 5).join(', ')
  const others = strangers.length > 5 ? ` and ${strangers.length - 5} more` : ''
  throw new MirrorError(
    'STORE_UNUSABLE',
    `${path} is not a data directory of ours: it has no file FORMAT, but holds ${some}${others}`,
  )
}

/**
 * Nobody else can be writing here now: files in `partial/` are what a crash left. A directory is of a download that may go
 * on; see PartialFiles.
 */
async function sweepFiles(fileSystem: FileSystem, partial: string): Promise<void> {
  for (const name of await fileSystem.list(partial)) {
    const path = join(partial, name)
    if (!(await fileSystem.describe(path))?.isDirectory) await fileSystem.remove(path)
  }
}

async function bringUpToDate(
  path: string,
  partial: string,
  { fileSystem, log, migrations }: { fileSystem: FileSystem; log: Log; migrations: readonly Migration[] },
): Promise<void> {
  const ours = migrations.length + 1
  const writeFormat = (version: number) =>
    writeWhole(fileSystem, join(path, 'FORMAT'), Buffer.from(`imgapi-mirror data, format ${version}\n`), partial)

  const found = await readFormat(fileSystem, path)
  if (found === undefined) return writeFormat(ours)
  if (found > ours) throw isNewer(path, found, ours)
  for (let version = found; version < ours; version++) {
    log.info({ directory: path, from: version, to: version + 1 }, 'bringing the data directory to a newer format')
    await migrations[version - 1]!(path, fileSystem)
    // Written after each step, so that a crash repeats one step and not all of them.
    await writeFormat(version + 1)
  }
}

function isNewer(path: string, found: number, ours: number): MirrorError {
  return new MirrorError(
    'STORE_UNUSABLE',
    `data directory ${path} has format ${found}, written by a newer release; this one knows formats up to ${ours}`,
  )
}
