import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Level } from 'level'
import { hasCode, MirrorError } from '../errors.js'
import type { Log } from '../parts/log.js'
import { letGoOfBallast } from './ballast.js'
import type { FileSystem } from './file-system.js'

/** How often an owner looks whether its lock is still the one that others find. */
const LOOK_EVERY_MS = 1_000
/** Who finds a directory in use without a lock waits so long for an owner who has not noticed yet. */
const PATIENCE_MS = 3 * LOOK_EVERY_MS

export interface DirectoryLockOptions {
  readonly fileSystem: FileSystem
  readonly log: Log
  /** Somebody else has the directory now, or it is another one: nothing may be written into it any more. Called once at most. */
  readonly onLost: (reason: MirrorError) => void
  /** Whether there is a data directory at `path`, with what is kept in it; rejects when that cannot be told. */
  readonly isInUse: () => Promise<boolean>
  /** For tests. */
  readonly lookEveryMs?: number
  readonly patienceMs?: number
}

/**
 * The lock of a data directory: an empty `level` in `lock/`, opened for nothing but its lock. That is the one way to a lock in Node
 * that ends with the process however it ends, and that does not mistake a pid from another container for an owner. It is not the
 * index's own lock, because operators may delete the index at any time, also while we run.
 *
 * If they delete `lock/` itself, the owner locks it anew, before anybody else does who keeps to `PATIENCE_MS`. An owner that was
 * stopped for longer than that (SIGSTOP, a frozen machine) finds somebody else there when it goes on, and is told by `onLost`.
 */
export class DirectoryLock {
  readonly #path: string
  readonly #options: DirectoryLockOptions
  #level: Level
  /** Of the directory, and of the file in it that is locked; that one `undefined` while nothing is. */
  readonly #directory: string | undefined
  #file: string | undefined
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> = Promise.resolve()
  #isClosed = false

  /** Rejects with what `level` says: LEVEL_LOCKED when another process has it. */
  static async take(path: string, options: DirectoryLockOptions): Promise<DirectoryLock> {
    const { fileSystem, isInUse, log, patienceMs = PATIENCE_MS } = options
    if (patienceMs > 0 && !(await identityOf(fileSystem, fileOf(path))) && (await isInUse())) {
      log.warn({ path }, `${join(path, 'lock')} is gone: waiting for whoever may use the directory to lock it anew`)
      await wait(patienceMs)
    }
    const level = await openMended(path, options)
    try {
      const [directory, file] = [await identityOf(fileSystem, path), await identityOf(fileSystem, fileOf(path))]
      return new DirectoryLock(path, level, { directory, file }, options)
    } catch (cause) {
      await level.close()
      throw cause
    }
  }

  private constructor(
    path: string,
    level: Level,
    { directory, file }: { directory: string | undefined; file: string | undefined },
    options: DirectoryLockOptions,
  ) {
    this.#path = path
    this.#level = level
    this.#directory = directory
    this.#file = file
    this.#options = options
    this.#lookSoon()
  }

  /** Lets other processes have the directory. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#looking
    await this.#level.close()
  }

  #lookSoon(): void {
    if (this.#isClosed) return
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().then(() => this.#lookSoon())
    }, this.#options.lookEveryMs ?? LOOK_EVERY_MS)
    this.#timer.unref()
  }

  async #look(): Promise<void> {
    const { fileSystem, isInUse, log } = this.#options
    const path = this.#path
    try {
      const found = await identityOf(fileSystem, fileOf(path))
      if (found !== undefined && found === this.#file) return
      // One that is gone as a whole, or not mounted: nothing is to be locked there, and it may come back.
      if (!(await isInUse())) return
      if ((await identityOf(fileSystem, path)) !== this.#directory) {
        this.#lose(`another directory stands in the place of data directory ${path}`)
        return
      }
      await this.#lockAnew()
    } catch (error) {
      log.warn({ err: error }, `${join(path, 'lock')} was deleted, and could not be locked anew`)
    }
  }

  async #lockAnew(): Promise<void> {
    const { fileSystem, log } = this.#options
    // It holds the lock of a file that nobody finds any more.
    await this.#level.close()
    this.#file = undefined
    try {
      this.#level = await openMended(this.#path, this.#options)
    } catch (cause) {
      if (!isLevelLocked(cause)) throw cause
      this.#lose(`another process has taken data directory ${this.#path}, whose lock was deleted`)
      return
    }
    this.#file = await identityOf(fileSystem, fileOf(this.#path))
    log.warn(
      {},
      `${join(this.#path, 'lock')} was deleted while the directory is in use, and is locked anew: leave it there`,
    )
  }

  #lose(message: string): void {
    this.#isClosed = true
    this.#options.onLost(new MirrorError('STORE_LOCKED', message))
  }
}

/** level wraps what went wrong: `LEVEL_DATABASE_NOT_OPEN` outside, the reason as its cause. */
export function isLevelLocked(error: unknown): boolean {
  return hasCode(error, 'LEVEL_LOCKED') || (error instanceof Error && hasCode(error.cause, 'LEVEL_LOCKED'))
}

/** What level locks. */
function fileOf(path: string): string {
  return join(path, 'lock', 'LOCK')
}

async function identityOf(fileSystem: FileSystem, path: string): Promise<string | undefined> {
  return (await fileSystem.describe(path))?.identity
}

/** Damage is no obstacle, nor is a full disk as long as there is ballast. */
async function openMended(path: string, options: Pick<DirectoryLockOptions, 'fileSystem' | 'log'>): Promise<Level> {
  try {
    return await open(path)
  } catch (cause) {
    if (!isLevelLocked(cause) && (await letGoOfBallast(path, options))) return await open(path)
    if (!(cause instanceof Error && isDamaged(cause))) throw cause
    options.log.warn({ err: cause }, `${join(path, 'lock')} is damaged and made anew: nothing is kept in it`)
    // level takes the lock before it reads anything else: nobody has it.
    const names = await options.fileSystem.list(join(path, 'lock'))
    for (const name of names) await options.fileSystem.remove(join(path, 'lock', name))
    return await open(path)
  }
}

/** Of files of level that are not as they were written, or are gone: not of a disk that refuses. */
function isDamaged({ cause }: { cause?: unknown }): boolean {
  return hasCode(cause, 'LEVEL_CORRUPTION') || (hasCode(cause, 'LEVEL_IO_ERROR') && /No such file/.test(String(cause)))
}

async function open(path: string): Promise<Level> {
  const lock = new Level(join(path, 'lock'))
  await lock.open()
  return lock
}
