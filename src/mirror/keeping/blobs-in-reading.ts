import type { BlobRef, OpenBlob } from '../../store/blob-store.js'
import type { PieceSource } from '../file-stream.js'
import type { ChunkChecks } from './checked-chunk.js'
import { CheckLane, SharedBlob } from './shared-blob.js'
import { SharedPieces } from './shared-pieces.js'

/** So many chunks are read to be checked at once, of all blobs: as many as Node reads at once. Each takes 1 MiB. */
const CHECKS_AT_ONCE = 4

/** A blob as one client reads it. */
export interface BlobInReading extends PieceSource {
  readonly ref: BlobRef
  readonly path?: string | undefined
  close(): Promise<void>
}

/** Blobs that clients read: what one of them has read, the others of the same blob need not. */
export class BlobsInReading {
  readonly #checks: ChunkChecks
  /** By sha256, as long as somebody reads it. */
  readonly #shared = new Map<string, SharedBlob>()
  readonly #pieces = new SharedPieces()
  readonly #lanes = Array.from({ length: CHECKS_AT_ONCE }, () => new CheckLane())

  constructor(checks: ChunkChecks) {
    this.#checks = checks
  }

  /** One client more. Takes over `blob`. */
  join(blob: OpenBlob): BlobInReading {
    const { path, ref } = blob
    const found = this.#shared.get(ref.sha256)
    // Those who read a damaged one are cut off; who comes now has opened what is there in its place.
    const isJoined = found?.isDamaged === false
    const shared = isJoined ? found : new SharedBlob(blob, this.#pieces, this.#lanes, this.#checks)
    this.#shared.set(ref.sha256, shared)
    shared.join()
    return {
      ref,
      path,
      piece: (positionBytes, endBytes, mayBeLarge) => shared.piece(positionBytes, endBytes, mayBeLarge),
      spent: (piece) => this.#pieces.spent(piece),
      close: async () => {
        const isLast = shared.leave()
        if (isLast && this.#shared.get(ref.sha256) === shared) this.#shared.delete(ref.sha256)
        if (isJoined) await blob.close()
        if (isLast) await shared.close()
      },
    }
  }
}
