import type { ByteStream } from './mirror.js'

/** Where a stream takes its bytes from. */
export interface PieceSource {
  /**
   * The bytes from `positionBytes` on: at least one, at most up to `endBytes`, and no more than PIECE_BYTES, or LARGE_PIECE_BYTES
   * if `mayBeLarge`. Waits until they may be read; rejects when that will never be.
   */
  piece(positionBytes: number, endBytes: number, mayBeLarge?: boolean): Promise<Uint8Array>
  /** Nobody will look at a piece again: other bytes may stand there. */
  spent(piece: Uint8Array): void
}

/** Bytes are read and handed on in pieces of this size: what one slow client of a crowd costs in memory. */
export const PIECE_BYTES = 128 * 1024

/** For those who have more: each piece is a way through a thread and back, which takes as long as reading 128 KiB. */
export const LARGE_PIECE_BYTES = 512 * 1024

/**
 * So many streams have large pieces, and one more, which is read while the one before it is sent: 32 MiB of them together. In a larger
 * crowd there is always somebody to read for.
 */
const MOST_READING_AHEAD = 32

interface Waiting {
  readonly resolve: (result: IteratorResult<Uint8Array, undefined>) => void
  readonly reject: (error: unknown) => void
}

let openStreams = 0

/**
 * A range of a file that may still be growing, read at the pace of whoever reads it: one piece, or two (MOST_READING_AHEAD),
 * at a time. Whoever has taken a piece gives it back to the source. A Readable would do, and cost as much as reading does.
 */
export class FileStream implements ByteStream, AsyncIterator<Uint8Array, undefined> {
  readonly #source: PieceSource
  readonly #endBytes: number
  readonly #onClose: () => void
  readonly #readsAhead: boolean
  #positionBytes: number
  #isReading = false
  #isClosed = false
  #ready: Uint8Array | undefined
  /** Why there will be no more bytes. */
  #failure: { readonly error: unknown } | undefined
  #waiting: Waiting | undefined

  /** @param onClose told once, when it is read to its end, has failed or is destroyed. */
  constructor(source: PieceSource, startBytes: number, endBytes: number, onClose: () => void = () => {}) {
    this.#source = source
    this.#positionBytes = startBytes
    this.#endBytes = endBytes
    this.#onClose = onClose
    this.#readsAhead = openStreams < MOST_READING_AHEAD
    openStreams++
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** To be asked again only when it has answered. */
  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.#serve()
    })
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.destroy()
    return { done: true, value: undefined }
  }

  destroy(): void {
    this.#failure ??= { error: new Error('nothing more of this file is wanted') }
    if (this.#ready) this.#source.spent(this.#ready)
    this.#ready = undefined
    this.#serve()
    this.#close()
  }

  #serve(): void {
    if (this.#waiting && this.#ready) {
      const [{ resolve }, value] = [this.#waiting, this.#ready]
      this.#waiting = this.#ready = undefined
      if (this.#readsAhead) this.#readNext()
      resolve({ done: false, value })
    } else if (this.#waiting && this.#failure) {
      const { reject } = this.#waiting
      this.#waiting = undefined
      reject(this.#failure.error)
      this.#close()
    } else if (this.#waiting && this.#positionBytes >= this.#endBytes) {
      const { resolve } = this.#waiting
      this.#waiting = undefined
      resolve({ done: true, value: undefined })
      this.#close()
    } else if (this.#waiting) {
      this.#readNext()
    }
  }

  #readNext(): void {
    if (this.#isReading || this.#failure || this.#positionBytes >= this.#endBytes) return
    this.#isReading = true
    this.#source.piece(this.#positionBytes, this.#endBytes, this.#readsAhead).then(
      (piece) => this.#hasRead(piece),
      (error) => {
        this.#isReading = false
        this.#failure ??= { error }
        this.#serve()
      },
    )
  }

  #hasRead(piece: Uint8Array): void {
    this.#isReading = false
    if (this.#failure) {
      this.#source.spent(piece)
      return
    }
    this.#positionBytes += piece.length
    this.#ready = piece
    this.#serve()
  }

  #close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    openStreams--
    this.#onClose()
  }
}
