import { MirrorError } from '../errors.js'
import type { OpenedFile } from './file-system.js'
import { storeFailure } from './store-failure.js'
import { readFully } from './whole-files.js'

/** Fills `wanted`, which must be there. @throws MirrorError STORE_BROKEN when it is not. */
export async function readPromised(
  file: OpenedFile,
  wanted: Uint8Array,
  positionBytes: number,
  name: string,
): Promise<number> {
  let readBytes: number
  try {
    readBytes = await readFully(file, wanted, positionBytes)
  } catch (cause) {
    throw storeFailure(`cannot read ${name}`, cause)
  }
  if (readBytes === wanted.length) return readBytes
  throw new MirrorError('STORE_BROKEN', `${name} ends on the disk after ${positionBytes + readBytes} bytes, too early`)
}
