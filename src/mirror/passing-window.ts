import { MirrorError } from '../errors.js'
import { type Deferred, deferred } from '../parts/deferred.js'

/** Whoever follows the file; what is behind the slowest of them is forgotten. */
export interface Follower {
  /** The first byte it has not read; `Infinity` for one that needs nothing more. */
  readonly positionBytes: number
  /** Ends it: it is too slow for all the others. */
  drop(reason: MirrorError): void
}

/** What passes through memory when the disk has no room: this much at most may be ahead of the slowest follower. */
export const WINDOW_BYTES = 8 * 1024 * 1024

/** A follower that reads nothing for so long, while all others wait for it, is dropped. */
const PATIENCE_MS = 30_000

/**
 * The last bytes of a file that passes by: kept from the slowest follower on, and no more than WINDOW_BYTES. The writer
 * waits for the slowest follower; without any follower there is nobody to write for.
 */
export class PassingWindow {
  readonly #followers: ReadonlySet<Follower>
  readonly #pieces: { readonly startBytes: number; readonly bytes: Uint8Array }[] = []
  #endBytes: number
  #moved: Deferred<void> = deferred()

  constructor(startBytes: number, followers: ReadonlySet<Follower>) {
    this.#endBytes = startBytes
    this.#followers = followers
  }

  get endBytes(): number {
    return this.#endBytes
  }

  /** The first byte that is still here. */
  get startBytes(): number {
    return this.#pieces[0]?.startBytes ?? this.#endBytes
  }

  /**
   * Takes the next bytes in; resolves when there is room for more.
   * @throws MirrorError STORE_FULL when nobody follows any more; the signal's reason when it aborts.
   */
  async append(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    this.#pieces.push({ startBytes: this.#endBytes, bytes: Uint8Array.from(bytes) })
    this.#endBytes += bytes.length
    for (;;) {
      signal.throwIfAborted()
      if (this.#followers.size === 0)
        throw new MirrorError('STORE_FULL', 'no room to keep the file, and nobody to pass it to')
      this.#forget()
      if (this.#endBytes - this.startBytes <= WINDOW_BYTES) return
      await this.#nextMove(signal)
    }
  }

  /** A follower has moved, come or gone. */
  followersMoved(): void {
    this.#moved.resolve()
    this.#moved = deferred()
  }

  /** Copies what is here from `positionBytes` on into `buffer`; answers how many bytes that is. */
  read(buffer: Uint8Array, positionBytes: number): number {
    let filled = 0
    for (const piece of this.#pieces) {
      const skip = positionBytes + filled - piece.startBytes
      if (skip < 0 || skip >= piece.bytes.length) continue
      const part = piece.bytes.subarray(skip, skip + buffer.length - filled)
      buffer.set(part, filled)
      filled += part.length
      if (filled === buffer.length) break
    }
    return filled
  }

  #forget(): void {
    const slowest = Math.min(...[...this.#followers].map(({ positionBytes }) => positionBytes))
    for (
      let first = this.#pieces[0];
      first && first.startBytes + first.bytes.length <= slowest;
      first = this.#pieces[0]
    ) {
      this.#pieces.shift()
    }
  }

  async #nextMove(signal: AbortSignal): Promise<void> {
    const slowest = [...this.#followers].reduce((a, b) => (b.positionBytes < a.positionBytes ? b : a))
    const before = slowest.positionBytes
    const timer = setTimeout(() => {
      if (slowest.positionBytes !== before) return
      slowest.drop(
        new MirrorError('STORE_FULL', 'there is no room to keep this file, and this client is too slow to pass it to'),
      )
      this.followersMoved()
    }, PATIENCE_MS)
    const moved = this.#moved
    const wake = () => moved.resolve()
    signal.addEventListener('abort', wake, { once: true })
    try {
      await moved.promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', wake)
    }
  }
}
