import { LRUCache } from 'lru-cache'
import { SpareBuffers } from '../../parts/spare-buffers.js'
import { PIECE_BYTES } from '../file-stream.js'

/** Pieces that are kept when nobody reads them, because somebody else may come by: 16 MiB. */
const MOST_KEPT = 128
/** Memory of forgotten ones, for the next: 4 MiB. */
const MOST_SPARE = 32

interface Piece {
  readonly bytes: Buffer
  readers: number
  isForgotten: boolean
}

/**
 * The pieces of blobs that were read last, for all who read the same: who comes next finds them, and spares the disk, the
 * page cache and a copy. What they take: MOST_KEPT pieces, MOST_SPARE that are empty, and those that were forgotten while
 * somebody was sending them, one or two for each who does.
 */
export class SharedPieces {
  readonly #kept = new LRUCache<string, Piece>({ max: MOST_KEPT, dispose: (piece) => this.#forget(piece) })
  readonly #lent = new WeakMap<ArrayBufferLike, Piece>()
  readonly #spare = new SpareBuffers(PIECE_BYTES, MOST_SPARE)

  /** The piece of that name, if it is here; to be given back by `spent`. */
  lend(name: string): Uint8Array | undefined {
    const piece = this.#kept.get(name)
    if (!piece) return undefined
    piece.readers++
    this.#lent.set(piece.bytes.buffer, piece)
    return piece.bytes
  }

  /** Memory to fill, for `keep` or `drop`. @param sizeBytes at most PIECE_BYTES. */
  take(sizeBytes: number): Buffer {
    return this.#spare.take(sizeBytes).subarray(0, sizeBytes)
  }

  /** What was filled is a piece, which nobody changes any more. */
  keep(name: string, bytes: Buffer): void {
    this.#kept.set(name, { bytes, readers: 0, isForgotten: false })
  }

  /** What was taken is of no use. */
  drop(bytes: Buffer): void {
    this.#spare.giveBack(bytes)
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
    this.#spare.giveBack(piece.bytes)
  }
}
