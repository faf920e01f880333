import { MirrorError } from '../../errors.js'
import { OneAtATime } from '../../parts/one-at-a-time.js'
import { SingleFlight } from '../../parts/single-flight.js'
import { CHUNK_BYTES, type OpenBlob } from '../../store/blob-store.js'
import { LARGE_PIECE_BYTES, PIECE_BYTES } from '../file-stream.js'
import { type ChunkChecks, readCheckedChunk } from './checked-chunk.js'
import type { SharedPieces } from './shared-pieces.js'

/** What is read in pieces of one size is shared among those who read in that size. */
const SIZES = [PIECE_BYTES, LARGE_PIECE_BYTES]

let opened = 0

/** A buffer for a chunk that is being checked, and the queue for it: nobody in it waits for a client. */
export class CheckLane {
  readonly #queue = new OneAtATime()
  #buffer: Buffer | undefined

  run(work: (buffer: Buffer) => Promise<void>): Promise<void> {
    return this.#queue.run(async () => {
      this.#buffer ??= Buffer.allocUnsafeSlow(CHUNK_BYTES)
      await work(this.#buffer)
    })
  }
}

/**
 * A blob that was opened once, for all clients who read it as long as any of them does. A piece that one of them has caused to be
 * read stays for the others, if it is wanted before many more are read (SharedPieces).
 *
 * A chunk that ReadChecks wants checked is read whole, and its pieces are taken from what was checked. Of those that are not kept
 * until somebody wants them, the check is done again where every reading is checked: with hundreds of clients who are all at
 * places of their own, up to 8 times, as there are pieces in a chunk. The alternative were a chunk in memory for each of them.
 */
export class SharedBlob {
  readonly #blob: OpenBlob
  readonly #pieces: SharedPieces
  readonly #lanes: readonly CheckLane[]
  readonly #checks: ChunkChecks
  readonly #reading = new SingleFlight<string, void>()
  readonly #checking = new SingleFlight<string, void>()
  /** Pieces of what was open before, under the same sha256, may have been those of a damaged file. */
  readonly #name = String(opened++)
  #clients = 0

  /** Takes over `blob`. */
  constructor(blob: OpenBlob, pieces: SharedPieces, lanes: readonly CheckLane[], checks: ChunkChecks) {
    this.#blob = blob
    this.#pieces = pieces
    this.#lanes = lanes
    this.#checks = checks
  }

  get isDamaged(): boolean {
    return this.#blob.isDamaged
  }

  join(): void {
    this.#clients++
  }

  /** Answers whether that was the last one: nobody is to join it any more, and it is to be closed. */
  leave(): boolean {
    this.#clients--
    return this.#clients === 0
  }

  async close(): Promise<void> {
    await this.#blob.close()
  }

  /** As PieceSource.piece. @throws MirrorError STORE_BROKEN as OpenBlob.read, and when a chunk is not what was kept. */
  async piece(positionBytes: number, endBytes: number, mayBeLarge = false): Promise<Uint8Array> {
    const pieceBytes = mayBeLarge ? LARGE_PIECE_BYTES : PIECE_BYTES
    const startBytes = positionBytes - (positionBytes % pieceBytes)
    for (;;) {
      if (this.isDamaged)
        throw new MirrorError('STORE_BROKEN', `blob ${this.#sha256} was found damaged while it was read`)
      const piece = this.#pieces.lend(this.#nameOf(startBytes, pieceBytes))
      if (piece) return piece.subarray(positionBytes - startBytes, endBytes - startBytes)
      await this.#read(startBytes, pieceBytes)
    }
  }

  get #sha256(): string {
    return this.#blob.ref.sha256
  }

  #nameOf(startBytes: number, pieceBytes: number): string {
    return `${this.#name}/${pieceBytes}/${startBytes}`
  }

  #read(startBytes: number, pieceBytes: number): Promise<void> {
    const chunk = Math.floor(startBytes / CHUNK_BYTES)
    return this.#checks.checks.wants(this.#sha256, chunk, startBytes % CHUNK_BYTES === 0)
      ? this.#checking.do(`${chunk}/${pieceBytes}`, () => this.#readChecked(chunk, pieceBytes))
      : this.#reading.do(this.#nameOf(startBytes, pieceBytes), () => this.#readPiece(startBytes, pieceBytes))
  }

  async #readPiece(startBytes: number, pieceBytes: number): Promise<void> {
    const bytes = this.#pieces.take(Math.min(pieceBytes, this.#blob.ref.sizeBytes - startBytes))
    try {
      await this.#blob.read(bytes, startBytes)
    } catch (error) {
      this.#pieces.drop(bytes)
      throw error
    }
    this.#pieces.keep(this.#nameOf(startBytes, pieceBytes), bytes)
  }

  #readChecked(chunk: number, pieceBytes: number): Promise<void> {
    const lane = this.#lanes[chunk % this.#lanes.length]!
    const chunkStartBytes = chunk * CHUNK_BYTES
    return lane.run(async (buffer) => {
      try {
        const checked = await readCheckedChunk(this.#blob, chunk, buffer, this.#checks)
        for (let startBytes = 0; startBytes < checked.length; startBytes += pieceBytes) {
          const bytes = this.#pieces.take(Math.min(pieceBytes, checked.length - startBytes))
          checked.copy(bytes, 0, startBytes)
          this.#pieces.keep(this.#nameOf(chunkStartBytes + startBytes, pieceBytes), bytes)
        }
      } catch (error) {
        // What was read of it before, unchecked, is not to be had any more either.
        for (const size of SIZES) {
          for (let startBytes = 0; startBytes < CHUNK_BYTES; startBytes += size) {
            this.#pieces.forget(this.#nameOf(chunkStartBytes + startBytes, size))
          }
        }
        throw error
      }
    })
  }
}
