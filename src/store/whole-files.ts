import { randomUUID } from 'node:crypto'
import { dirname, join } from 'node:path'
import { hasCode } from '../errors.js'
import type { FileSystem, OpenedFile } from './file-system.js'

/** Fills `buffer` from `positionBytes`; answers fewer bytes than that only at the end of the file. */
export async function readFully(file: OpenedFile, buffer: Uint8Array, positionBytes: number): Promise<number> {
  let filledBytes = 0
  while (filledBytes < buffer.length) {
    const readBytes = await file.read(buffer.subarray(filledBytes), positionBytes + filledBytes)
    if (readBytes === 0) break
    filledBytes += readBytes
  }
  return filledBytes
}

/** Writes all of `bytes` at `positionBytes`, however little the disk takes at a time. */
export async function writeFully(file: OpenedFile, bytes: Uint8Array, positionBytes: number): Promise<void> {
  let writtenBytes = 0
  while (writtenBytes < bytes.length) {
    const takenBytes = await file.write(bytes.subarray(writtenBytes), positionBytes + writtenBytes)
    // A disk that takes nothing and does not say why would keep us here for ever.
    if (takenBytes === 0) throw new Error('the disk took no bytes and gave no reason')
    writtenBytes += takenBytes
  }
}

/** The whole content of a small file, or `undefined` when there is none. Refuses one of more than `limitBytes`. */
export async function readWhole(
  fileSystem: FileSystem,
  path: string,
  limitBytes: number,
): Promise<Buffer<ArrayBuffer> | undefined> {
  let file: OpenedFile
  try {
    file = await fileSystem.open(path, 'read')
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return undefined
    throw cause
  }
  try {
    const sizeBytes = await file.sizeBytes()
    if (sizeBytes > limitBytes) throw new Error(`${path} has ${sizeBytes} bytes, more than the ${limitBytes} we read`)
    const content = Buffer.alloc(sizeBytes)
    return content.subarray(0, await readFully(file, content, 0))
  } finally {
    await file.close()
  }
}

/**
 * Puts a file in place so that after a crash at any moment it is there with its old content or with its new one, and
 * with the new one once this has resolved. `partialDirectory` must be on the same file system; what a crash leaves in
 * it is swept at start. `mode` is as FileSystem.open has it.
 */
export async function writeWhole(
  fileSystem: FileSystem,
  path: string,
  content: Uint8Array | Iterable<Uint8Array>,
  partialDirectory: string,
  mode?: number,
): Promise<void> {
  const partial = join(partialDirectory, randomUUID())
  try {
    const file = await fileSystem.open(partial, 'create', mode)
    try {
      let sizeBytes = 0
      for (const bytes of content instanceof Uint8Array ? [content] : content) {
        await writeFully(file, bytes, sizeBytes)
        sizeBytes += bytes.length
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await fileSystem.rename(partial, path)
  } catch (cause) {
    // What went wrong is the news; what stays in partial/ for want of a working disk is swept at the next start.
    await fileSystem.remove(partial).catch(() => {})
    throw cause
  }
  await fileSystem.syncDirectory(dirname(path))
}

/**
 * Makes a directory where there is none, and those above it; durable when it resolves. The parent is synced also when
 * the directory is there already: whoever made it may have been stopped, or refused, just before doing so.
 */
export async function ensureDirectory(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.makeDirectory(path)
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT')) throw cause
    await ensureDirectory(fileSystem, dirname(path))
    await fileSystem.makeDirectory(path)
  }
  await fileSystem.syncDirectory(dirname(path))
}
