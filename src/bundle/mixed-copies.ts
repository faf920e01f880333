import { isMirrorError, MirrorError } from '../errors.js'
import type { Medium } from '../store/medium.js'

/** Media lose at least so much at once. */
const SECTOR_BYTES = 4096
/** So much is tried at most, of all the ways to put two damaged copies together. */
const MIXED_BYTES = 512 * 1024 * 1024

interface Copy {
  readonly bytes: Buffer
  readonly unreadable: ReadonlySet<number>
}

/**
 * What a small file may have been, of which there are two copies: each of them, and if neither is right, the two put together from
 * sectors of either. The caller takes the first that proves to be right.
 * @param paths on the medium, the better one first
 * @throws MirrorError BUNDLE_INVALID when a copy is larger than `limitBytes`, and none is not.
 */
export async function* mixedCopies(
  medium: Medium,
  paths: readonly [string, string],
  limitBytes: number,
): AsyncGenerator<Buffer> {
  const copies: Copy[] = []
  let refusal: unknown
  for (const path of paths) {
    try {
      const copy = await readCopy(medium, path, limitBytes)
      if (copy) copies.push(copy)
      if (copy?.unreadable.size === 0) yield copy.bytes
    } catch (error) {
      if (!isMirrorError(error, 'BUNDLE_INVALID', 'MEDIUM_UNREADABLE')) throw error
      refusal ??= error
    }
  }
  const [one, other] = copies
  if (!one && refusal) throw refusal
  if (one && other) yield* mixes(one, other)
}

async function readCopy(medium: Medium, path: string, limitBytes: number): Promise<Copy | undefined> {
  const file = await medium.open(path)
  if (!file) return undefined
  try {
    if (file.sizeBytes > limitBytes) {
      const message = `${medium.path}/${path} has ${file.sizeBytes} bytes: it may have at most ${limitBytes}`
      throw new MirrorError('BUNDLE_INVALID', message)
    }
    const bytes = Buffer.alloc(file.sizeBytes)
    const unreadable = new Set<number>()
    const isRead = (await file.read(bytes, 0).catch(ifUnreadable)) === bytes.length
    for (let at = 0; !isRead && at < bytes.length; at += SECTOR_BYTES) {
      const sector = bytes.subarray(at, at + SECTOR_BYTES)
      if ((await file.read(sector, at).catch(ifUnreadable)) !== sector.length) unreadable.add(at)
    }
    return { bytes, unreadable }
  } finally {
    await file.close()
  }
}

function ifUnreadable(error: unknown): undefined {
  if (!isMirrorError(error, 'MEDIUM_UNREADABLE')) throw error
}

function* mixes(one: Copy, other: Copy): Generator<Buffer> {
  const sizeBytes = Math.max(one.bytes.length, other.bytes.length)
  const mixed = Buffer.alloc(sizeBytes)
  const contested: number[] = []
  for (let at = 0; at < sizeBytes; at += SECTOR_BYTES) {
    const endBytes = Math.min(at + SECTOR_BYTES, sizeBytes)
    const [left, right] = [one, other].map((copy) =>
      copy.unreadable.has(at) || copy.bytes.length < endBytes ? undefined : copy.bytes.subarray(at, endBytes),
    )
    const found = left ?? right
    if (!found) return
    mixed.set(found, at)
    if (left && right && !left.equals(right)) contested.push(at)
  }
  if (2 ** contested.length * sizeBytes > MIXED_BYTES) return
  for (let choice = 0; choice < 2 ** contested.length; choice++) {
    for (const [bit, at] of contested.entries()) {
      const { bytes } = (choice >> bit) & 1 ? other : one
      mixed.set(bytes.subarray(at, Math.min(at + SECTOR_BYTES, sizeBytes)), at)
    }
    yield Buffer.from(mixed)
  }
}
