import { isMirrorError } from '../errors.js'
import type { BundledFile, Piece } from '../images/bundle/bundle-index.js'
import { DIGEST_ALGORITHMS } from '../images/digest.js'
import type { Room } from '../mirror/keeping/room.js'
import type { ByteSource, Extent, PartialBlob } from '../store/blob-store.js'
import type { OpenVolume } from './volume-reader.js'
import { rangesMissing } from './what-is-lacking.js'

export interface PieceToTake {
  readonly volume: Pick<OpenVolume, 'blocks'>
  /** Of the piece, on the volume. */
  readonly path: string
  readonly piece: Pick<Piece, 'startBytes' | 'endBytes'>
  readonly file: BundledFile
  readonly source: ByteSource
  readonly room: Pick<Room, 'receive'>
  readonly signal: AbortSignal
  /** Told of bytes that were read, new or not. */
  readonly onRead: (bytes: number) => void
}

export interface TakenPiece {
  /** Bytes that were not here before. */
  readonly takenBytes: number
  readonly healedBlocks: number
  /** Of what was lacking, what the volume has lost. */
  readonly lostBytes: number
  /** Of a file that is whole with it, and kept: which bytes came from whom. */
  readonly kept: readonly Extent[] | undefined
  /** All of the file was here, and it was not what the bundle says: in words, what was wrong. All of it is dropped. */
  readonly refusal: string | undefined
}

const NOTHING: TakenPiece = { takenBytes: 0, healedBlocks: 0, lostBytes: 0, kept: undefined, refusal: undefined }

/**
 * Writes the blocks of a piece, which are verified, to their places in its file, as far as they are not there yet; a file that is whole
 * is kept. What is not is left for the next piece, of this bundle or another.
 * @throws MirrorError STORE_FULL, STORE_BROKEN, MEDIUM_UNREADABLE; the signal's reason.
 */
export async function takePiece(wanted: PieceToTake): Promise<TakenPiece> {
  const { file, piece, room } = wanted
  const { sizeBytes } = file
  const digests = DIGEST_ALGORITHMS.map((algorithm) => ({ algorithm, hex: file[algorithm] }))
  const partial = await room.receive({ sizeBytes, digests })
  try {
    const isLacking = rangesMissing(partial.extents, piece).length > 0
    const copied = isLacking ? await copyBlocks(wanted, partial) : NOTHING
    if (partial.receivedBytes < sizeBytes) return { ...NOTHING, ...copied }
    await partial.keep()
    return { ...NOTHING, ...copied, kept: partial.extents }
  } catch (error) {
    if (!isMirrorError(error, 'UPSTREAM_MISBEHAVED')) throw error
    return { ...NOTHING, refusal: error.message }
  } finally {
    // What was refused is dropped by that.
    await partial.suspend()
  }
}

async function copyBlocks(wanted: PieceToTake, partial: PartialBlob): Promise<Omit<TakenPiece, 'kept' | 'refusal'>> {
  const { onRead, path, piece, signal, source, volume } = wanted
  let [takenBytes, healedBlocks, lostBytes] = [0, 0, 0]
  for await (const block of volume.blocks(path)) {
    signal.throwIfAborted()
    const startBytes = piece.startBytes + block.positionBytes
    if (block.isLost) {
      const endBytes = startBytes + block.sizeBytes
      for (const lost of rangesMissing(partial.extents, { startBytes, endBytes })) {
        lostBytes += lost.endBytes - lost.startBytes
      }
      onRead(block.sizeBytes)
      continue
    }
    const { bytes } = block
    if (block.isHealed) healedBlocks++
    for (const missing of rangesMissing(partial.extents, { startBytes, endBytes: startBytes + bytes.length })) {
      const part = bytes.subarray(missing.startBytes - startBytes, missing.endBytes - startBytes)
      await partial.write(missing.startBytes, part, source)
      takenBytes += part.length
    }
    onRead(bytes.length)
  }
  return { takenBytes, healedBlocks, lostBytes }
}
