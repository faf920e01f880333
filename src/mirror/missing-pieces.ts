/** Bytes [startBytes, endBytes) of a file. */
export interface ByteRange {
  readonly startBytes: number
  readonly endBytes: number
}

/**
 * What of a file is still to be fetched, handed out piece by piece from the front, so that readers, who want the bytes
 * in order, wait as little as possible. A piece that was given back half done is handed out again without its first half.
 */
export class MissingPieces {
  readonly #sizeBytes: number
  readonly #present: () => readonly ByteRange[]
  readonly #pieceBytes: number
  readonly #takenNow = new Set<ByteRange>()

  /**
   * @param present what is here, in order, at the moment of asking.
   * @param pieceBytes the most that is handed out at once.
   */
  constructor(sizeBytes: number, present: () => readonly ByteRange[], pieceBytes: number) {
    this.#sizeBytes = sizeBytes
    this.#present = present
    this.#pieceBytes = pieceBytes
  }

  /** The first piece that is neither here nor being fetched; `undefined` when there is none. */
  take(): ByteRange | undefined {
    const occupied = [...this.#present(), ...this.#takenNow].sort((a, b) => a.startBytes - b.startBytes)
    let startBytes = 0
    for (const { startBytes: nextBytes, endBytes } of occupied) {
      if (nextBytes > startBytes) return this.#hand(startBytes, nextBytes)
      startBytes = Math.max(startBytes, endBytes)
    }
    return startBytes < this.#sizeBytes ? this.#hand(startBytes, this.#sizeBytes) : undefined
  }

  /** Whoever took it is done with it, well or badly. */
  giveBack(piece: ByteRange): void {
    this.#takenNow.delete(piece)
  }

  #hand(startBytes: number, endBytes: number): ByteRange {
    const piece = { startBytes, endBytes: Math.min(endBytes, startBytes + this.#pieceBytes) }
    this.#takenNow.add(piece)
    return piece
  }
}
