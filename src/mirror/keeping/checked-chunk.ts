import { MirrorError } from '../../errors.js'
import { type BlobStore, CHUNK_BYTES, type OpenBlob } from '../../store/blob-store.js'
import type { MirrorCounters } from '../counters.js'
import type { ReadChecks } from './read-checks.js'

export interface ChunkChecks {
  readonly blobs: Pick<BlobStore, 'isChunkGood'>
  readonly checks: ReadChecks
  readonly counters: MirrorCounters
  /** Told of a chunk that is not what was kept, before its reader is. */
  readonly onDamage: (sha256: string, chunkIndex: number) => void
}

/**
 * Reads a whole chunk into `buffer`, of CHUNK_BYTES or the blob's size if that is less, and compares it with its hash.
 * Answers the part of `buffer` that it fills.
 * @throws MirrorError STORE_BROKEN as OpenBlob.read, and when the chunk is not what was kept.
 */
export async function readCheckedChunk(
  blob: OpenBlob,
  index: number,
  buffer: Buffer,
  { blobs, checks, counters, onDamage }: ChunkChecks,
): Promise<Buffer> {
  const { sha256, sizeBytes } = blob.ref
  const startBytes = index * CHUNK_BYTES
  const chunk = buffer.subarray(0, Math.min(CHUNK_BYTES, sizeBytes - startBytes))
  for (let filledBytes = 0; filledBytes < chunk.length; ) {
    const readBytes = await blob.read(chunk.subarray(filledBytes), startBytes + filledBytes)
    if (readBytes === 0) throw new MirrorError('STORE_BROKEN', `blob ${sha256} ends within chunk ${index}`)
    filledBytes += readBytes
  }
  if (await blobs.isChunkGood(sha256, index, chunk)) {
    counters.readChecked('good')
    checks.passed(sha256, index, Math.ceil(sizeBytes / CHUNK_BYTES))
    return chunk
  }
  counters.readChecked('bad')
  checks.failed(sha256, index)
  onDamage(sha256, index)
  throw new MirrorError('STORE_BROKEN', `chunk ${index} of blob ${sha256} is not what was kept`)
}
