import { Readable } from 'node:stream'
import { SpareBuffers } from '../parts/spare-buffers.js'

/** Where a stream takes its bytes from. */
export interface ByteSource {
  /**
   * Waits until bytes behind `positionBytes` may be read, and answers up to where, at most `endBytes`.
   * Rejects when that will never be.
   */
  released(positionBytes: number, endBytes: number): Promise<number>
  read(buffer: Uint8Array, positionBytes: number): Promise<number>
}

/** Read and handed on in pieces of this size: what one slow client costs in memory, a few times over. */
const PIECE_BYTES = 128 * 1024

/** Kept for the next pieces, of all streams together: 8 MiB. */
const SPARE_PIECES = 64

const spare = new SpareBuffers(PIECE_BYTES, SPARE_PIECES)

/** A piece that a FileStream gave has been sent, and is looked at by nobody any more: its memory serves the next. */
export function pieceSpent(piece: Uint8Array): void {
  spare.giveBack(piece)
}

/** A range of a file that may still be growing, read at the pace of whoever reads it. */
export class FileStream extends Readable {
  readonly #source: ByteSource
  readonly #endBytes: number
  #positionBytes: number

  constructor(source: ByteSource, startBytes: number, endBytes: number) {
    super({ highWaterMark: PIECE_BYTES })
    this.#source = source
    this.#positionBytes = startBytes
    this.#endBytes = endBytes
  }

  override _read(): void {
    this.#readPiece().catch((error) => this.destroy(error))
  }

  async #readPiece(): Promise<void> {
    if (this.#positionBytes >= this.#endBytes) {
      this.push(null)
      return
    }
    const released = await this.#source.released(this.#positionBytes, this.#endBytes)
    if (this.destroyed) return
    const pieceBytes = Math.min(PIECE_BYTES, released - this.#positionBytes)
    const buffer = spare.take(pieceBytes).subarray(0, pieceBytes)
    const length = await this.#source.read(buffer, this.#positionBytes)
    this.#positionBytes += length
    this.push(buffer.subarray(0, length))
  }
}
