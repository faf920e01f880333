/**
 * Buffers of one size that are used again. Fresh memory is given by the kernel page by page, zeroed, at the first touch of each: for
 * bytes that only pass through, that costs more than reading and sending them.
 */
export class SpareBuffers {
  readonly #sizeBytes: number
  readonly #most: number
  readonly #spare: Buffer[] = []
  /** What is lent, so that nothing is taken back twice, and nothing that is somebody else's. */
  readonly #lent = new WeakMap<ArrayBufferLike, Buffer>()

  /** @param most as many as are kept for later, whatever is given back. */
  constructor(sizeBytes: number, most: number) {
    this.#sizeBytes = sizeBytes
    this.#most = most
  }

  /** At least `sizeBytes`, with anything in it. Whoever does not give it back leaves it to the garbage collector. */
  take(sizeBytes: number): Buffer {
    if (sizeBytes > this.#sizeBytes) return Buffer.allocUnsafeSlow(sizeBytes)
    const buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#sizeBytes)
    this.#lent.set(buffer.buffer, buffer)
    return buffer
  }

  /** Nobody will read `bytes` again, which are all or part of a buffer that was taken. Harmless for any others. */
  giveBack(bytes: Uint8Array): void {
    const buffer = this.#lent.get(bytes.buffer)
    if (!buffer) return
    this.#lent.delete(bytes.buffer)
    if (this.#spare.length < this.#most) this.#spare.push(buffer)
  }
}
