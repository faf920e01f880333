import { MirrorError } from '../errors.js'
import { UnpackError, zstdToGzip } from '../parts/zstd-to-gzip.js'
import type { BlobStore, Fingerprint, OpenBlob, PartialBlob } from '../store/blob-store.js'
import type { Room } from './keeping/room.js'

export interface LayerToRecompress {
  /** Of the original, which is kept; lower-case hex. */
  readonly sha256: string
  /** What it must unpack to. */
  readonly unpackedSha256: string
}

export interface RecompressOptions {
  readonly blobs: Pick<BlobStore, 'open'>
  readonly room: Pick<Room, 'receive' | 'makeRoom'>
  readonly maxUnpackedBytes: number
  readonly signal: AbortSignal
}

const READ_BYTES = 128 * 1024
/** For so much room is made at a time: how large it becomes is known at its end. */
const ROOM_STEP_BYTES = 16 * 1024 * 1024
/** What unpacks to more than this, and to so many times its own size, was made to harm. A layer of empty files does not. */
const HARMLESS_BYTES = 64 * 1024 * 1024
const HARMLESS_RATIO = 1000

/**
 * Packs a kept layer anew, from zstd to gzip, as a blob of its own; whole and right, or not at all. What a crash leaves of it
 * is swept at the next start.
 *
 * @throws MirrorError MANIFEST_INVALID for a layer of which nothing can be made, now or later; STORE_FULL, also when the original had to leave;
 *   STORE_BROKEN; the signal's reason.
 */
export async function recompressLayer(
  { sha256, unpackedSha256 }: LayerToRecompress,
  { blobs, maxUnpackedBytes, room, signal }: RecompressOptions,
): Promise<Fingerprint> {
  const original = await blobs.open(sha256)
  if (!original) throw new MirrorError('STORE_FULL', `layer ${sha256} had to leave before it was packed anew`)
  try {
    const harmlessBytes = Math.max(HARMLESS_BYTES, original.ref.sizeBytes * HARMLESS_RATIO)
    const limitBytes = Math.min(maxUnpackedBytes, harmlessBytes)
    const partial = await room.receive({ sizeBytes: limitBytes, digests: [], isOnce: true, isOpenEnded: true })
    try {
      const limits = { maxUnpackedBytes: limitBytes, signal }
      const unpacked = await zstdToGzip(piecesOf(original), writerTo(partial, room), limits)
      if (unpacked.unpackedSha256 !== unpackedSha256) {
        throw new UnpackError(
          `it unpacks to ${unpacked.unpackedSha256}, and not to ${unpackedSha256} as its image says`,
        )
      }
      partial.end()
      await partial.verify()
      return await partial.keep()
    } finally {
      await partial.close()
    }
  } catch (error) {
    if (!(error instanceof UnpackError)) throw error
    throw new MirrorError('MANIFEST_INVALID', `layer ${sha256} cannot be packed anew: ${error.message}`, {
      cause: error,
    })
  } finally {
    await original.close()
  }
}

async function* piecesOf(blob: OpenBlob): AsyncGenerator<Uint8Array> {
  for (let position = 0; position < blob.ref.sizeBytes; ) {
    const buffer = new Uint8Array(READ_BYTES)
    const length = await blob.read(buffer, position)
    position += length
    yield buffer.subarray(0, length)
  }
}

function writerTo(partial: PartialBlob, room: RecompressOptions['room']): (bytes: Buffer) => Promise<void> {
  let roomyBytes = 0
  return async (bytes) => {
    const endBytes = partial.receivedBytes + bytes.length
    if (endBytes > roomyBytes) {
      roomyBytes = endBytes + ROOM_STEP_BYTES
      if (!(await room.makeRoom(ROOM_STEP_BYTES)) && !(await room.makeRoom(bytes.length))) {
        throw new MirrorError('STORE_FULL', 'no room for a layer that is packed anew')
      }
    }
    await partial.append(bytes)
  }
}
