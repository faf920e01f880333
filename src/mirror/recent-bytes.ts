/** What of a file was written last, kept for those who read right behind the writer: this much of it. */
const RECENT_BYTES = 2 * 1024 * 1024

interface Piece {
  readonly startBytes: number
  readonly bytes: Uint8Array
}

/**
 * The newest bytes of a file in flight, still in memory. Clients who wait for them have them without a way through the disk each;
 * whoever is further behind reads the file.
 */
export class RecentBytes {
  /** In order of their coming. */
  readonly #pieces: Piece[] = []
  #sizeBytes = 0

  /** Nobody may change `bytes` from now on. */
  add(startBytes: number, bytes: Uint8Array): void {
    this.#pieces.push({ startBytes, bytes })
    this.#sizeBytes += bytes.length
    while (this.#sizeBytes > RECENT_BYTES) this.#sizeBytes -= this.#pieces.shift()!.bytes.length
  }

  /** Copies what is here from `positionBytes` on into `buffer`; answers how many bytes that is: 0 when it has to be read. */
  read(buffer: Uint8Array, positionBytes: number): number {
    let filledBytes = 0
    while (filledBytes < buffer.length) {
      const position = positionBytes + filledBytes
      const piece = this.#pieces.find(
        ({ startBytes, bytes }) => startBytes <= position && position < startBytes + bytes.length,
      )
      if (!piece) break
      const skipBytes = position - piece.startBytes
      const part = piece.bytes.subarray(skipBytes, skipBytes + buffer.length - filledBytes)
      buffer.set(part, filledBytes)
      filledBytes += part.length
    }
    return filledBytes
  }

  /** Something of the file has changed. */
  forget(): void {
    this.#pieces.length = 0
    this.#sizeBytes = 0
  }
}
