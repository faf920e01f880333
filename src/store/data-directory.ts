import { join, resolve } from 'node:path'
import { Level } from 'level'
import { hasCode, MirrorError } from '../errors.js'
import type { Log } from '../parts/log.js'
import type { FileSystem } from './file-system.js'
import { storeFailure } from './store-failure.js'
import { ensureDirectory, readWhole, writeWhole } from './whole-files.js'

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

/** The directory with everything we keep, in the format this release writes, owned by this process. */
export class DataDirectory {
  readonly path: string
  /** For files being written; at start it holds directories only. On the same file system as everything else. */
  readonly partial: string
  readonly #lock: Level

  /**
   * Makes the directory where there is none, and brings an older one up to date.
   * @throws MirrorError STORE_LOCKED when another process has it; STORE_UNUSABLE when it is of a newer release or not
   *   ours; STORE_FULL, STORE_BROKEN.
   */
  static async open(
    directory: string,
    options: { fileSystem: FileSystem; log: Log; migrations?: readonly Migration[] },
  ): Promise<DataDirectory> {
    const { fileSystem, log, migrations = MIGRATIONS } = options
    const path = resolve(directory)
    try {
      // Only where it is missing: the directory it stands in may be one that we are not allowed to read, or sync.
      if (!(await fileSystem.describe(path))?.isDirectory) await ensureDirectory(fileSystem, path)
      // Looked at before anything is written into a directory that may be someone else's, and again once it is ours.
      await readFormat(fileSystem, path)
      const lock = await takeLock(path)
      try {
        const partial = join(path, 'partial')
        await ensureDirectory(fileSystem, partial)
        await sweepFiles(fileSystem, partial)
        await bringUpToDate(path, partial, { fileSystem, log, migrations })
        return new DataDirectory(path, partial, lock)
      } catch (cause) {
        await lock.close()
        throw cause
      }
    } catch (cause) {
      throw storeFailure(`cannot open data directory ${path}`, cause)
    }
  }

  private constructor(path: string, partial: string, lock: Level) {
    this.path = path
    this.partial = partial
    this.#lock = lock
  }

  /** Lets other processes have it. */
  async close(): Promise<void> {
    await this.#lock.close()
  }
}

/**
 * An empty `level` in `lock/`, opened for nothing but its lock: the one way to a lock in Node that ends with the process
 * however it ends, and that does not mistake a pid from another container for an owner. It is not the index's own lock, because
 * operators may delete the index at any time, also while we run, and a second process would then lock a fresh one.
 */
async function takeLock(path: string): Promise<Level> {
  const lock = new Level(join(path, 'lock'))
  try {
    await lock.open()
    return lock
  } catch (cause) {
    if (isLevelLocked(cause)) {
      throw new MirrorError('STORE_LOCKED', `another process is using data directory ${path}`, { cause })
    }
    throw cause
  }
}

/** level wraps what went wrong: `LEVEL_DATABASE_NOT_OPEN` outside, the reason as its cause. */
function isLevelLocked(error: unknown): boolean {
  return hasCode(error, 'LEVEL_LOCKED') || (error instanceof Error && hasCode(error.cause, 'LEVEL_LOCKED'))
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
  if (found > ours) {
    throw new MirrorError(
      'STORE_UNUSABLE',
      `data directory ${path} has format ${found}, written by a newer release; this one knows formats up to ${ours}`,
    )
  }
  for (let version = found; version < ours; version++) {
    log.info({ directory: path, from: version, to: version + 1 }, 'bringing the data directory to a newer format')
    await migrations[version - 1]!(path, fileSystem)
    // Written after each step, so that a crash repeats one step and not all of them.
    await writeFormat(version + 1)
  }
}
