import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Log } from '../parts/log.js'
import type { FileSystem } from './file-system.js'
import { writeWhole } from './whole-files.js'

const MIB = 1024 * 1024
/** `level`, and all that a start writes, open with a fraction of it; more would only slow every first start. */
const BALLAST_BYTES = MIB
/** With less than this free, the room is better left to what we are here for. */
const ENOUGH_FREE_BYTES = 16 * MIB
/** With less than this free, it is for want of room that `level` does not open. */
const NEXT_TO_NOTHING_BYTES = MIB

/** Whether the disk is as good as full. One that does not even answer that is not. */
export async function isNextToFull(fileSystem: FileSystem, root: string): Promise<boolean> {
  const freeBytes = await fileSystem.freeBytes(root).catch(() => undefined)
  return freeBytes !== undefined && freeBytes < NEXT_TO_NOTHING_BYTES
}

/**
 * Sees to it that `ballast` is there: room we hold, to be let go of on the day that others have filled the disk and we are to
 * start. A convenience: where it cannot be made we go without.
 */
export async function keepBallast(root: string, options: KeepOptions): Promise<void> {
  const { partial, fileSystem, log } = options
  const path = join(root, 'ballast')
  try {
    const found = await fileSystem.describe(path)
    if (found && found.sizeOnDiskBytes >= BALLAST_BYTES) return
    if ((await fileSystem.freeBytes(root)) < ENOUGH_FREE_BYTES) return
    // Random: a file system that compresses, as ZFS does, would hold no room for zeros.
    await writeWhole(fileSystem, path, randomBytes(BALLAST_BYTES), partial)
  } catch (error) {
    log.warn({ path, err: error }, 'no room could be held for a start on a full disk')
  }
}

interface KeepOptions {
  readonly partial: string
  readonly fileSystem: FileSystem
  readonly log: Log
}

/** Answers whether there is more room now: the disk was next to full, and there was ballast to let go of. */
export async function letGoOfBallast(root: string, options: { fileSystem: FileSystem; log: Log }): Promise<boolean> {
  const { fileSystem, log } = options
  const path = join(root, 'ballast')
  if (!(await isNextToFull(fileSystem, root))) return false
  try {
    const found = await fileSystem.describe(path)
    if (!found) return false
    await fileSystem.remove(path)
    await fileSystem.syncDirectory(root)
    log.warn(
      { path, sizeBytes: found.sizeBytes },
      'the disk is full: the room held for this was let go of; make room, and it is held again with the next stop or start',
    )
    return true
  } catch (error) {
    log.warn({ path, err: error }, 'the disk is full, and the room held for this could not be let go of')
    return false
  }
}
