import { LRUCache } from 'lru-cache'
import { SpareBuffers } from '../../parts/spare-buffers.js'
import { LARGE_PIECE_BYTES, PIECE_BYTES } from '../file-stream.js'

/** Pieces that are kept when nobody reads them, because somebody else may come by. */
const KEPT_BYTES = 16 * 1024 * 1024
/** Memory of forgotten ones, for the next, of either size: what is allocated anew stays until the garbage collector comes by. */
const SPARE_BYTES = 16 * 1024 * 1024

interface Piece {
  readonly bytes: Buffer
  readers: number
  isForgotten: boolean
}

/**
 * The pieces of blobs that were read last, for all who read the same: who comes next finds them, and spares the disk, the
 * page cache and a copy. What they take: KEPT_BYTES, twice SPARE_BYTES that are empty, and those that were forgotten while
 * somebody was sending them, one or two for each who does.
 */
export class SharedPieces {
  readonly #kept = new LRUCache<string, Piece>({
    maxSize: KEPT_BYTES,
    sizeCalculation: ({ bytes }) => bytes.buffer.byteLength,
    dispose: (piece) => this.#forget(piece),
  })
  readonly #lent = new WeakMap<ArrayBufferLike, Piece>()
  readonly #small = new SpareBuffers(PIECE_BYTES, SPARE_BYTES / PIECE_BYTES)
  readonly #large = new SpareBuffers(LARGE_PIECE_BYTES, SPARE_BYTES / LARGE_PIECE_BYTES)

  /** The piece of that name, if it is here; to be given back by `spent`. */
  lend(name: string): Uint8Array | undefined {
    const piece = this.#kept.get(name)
    if (!piece) return undefined
    piece.readers++
    this.#lent.set(piece.bytes.buffer, piece)
    return piece.bytes
  }

  /** Memory to fill, for `keep` or `drop`. @param sizeBytes at most LARGE_PIECE_BYTES. */
  take(sizeBytes: number): Buffer {
    const spare = sizeBytes > PIECE_BYTES ? this.#large : this.#small
    return spare.take(sizeBytes).subarray(0, sizeBytes)
  }

  /** What was filled is a piece, which nobody changes any more. */
  keep(name: string, bytes: Buffer): void {
    this.#kept.set(name, { bytes, readers: 0, isForgotten: false })
  }

  /** What was taken is of no use. */
  drop(bytes: Buffer): void {
    // Whose it is not lets it be.
    this.#small.giveBack(bytes)
    this.#large.giveBack(bytes)
  }

  /** One of those who borrowed it is through with all or part of a piece. Whoever never says so leaves it to the garbage collector. */
  spent(bytes: Uint8Array): void {
    const piece = this.#lent.get(bytes.buffer)
    if (!piece || piece.readers === 0) return
    piece.readers--
    this.#reuse(piece)
  }

  /** Nobody is to find it any more. */
  forget(name: string): void {
    this.#kept.delete(name)
  }

  #forget(piece: Piece): void {
    piece.isForgotten = true
    this.#reuse(piece)
  }

  #reuse(piece: Piece): void {
    if (!piece.isForgotten || piece.readers > 0) return
    this.#lent.delete(piece.bytes.buffer)
    this.drop(piece.bytes)
  }
}
