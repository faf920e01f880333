import { Readable } from 'node:stream'
import { abortable } from '../parts/abortable.js'
import { currentHops } from '../parts/hops.js'
import { SpareBuffers } from '../parts/spare-buffers.js'
import { FileStream, PIECE_BYTES, type PieceSource } from './file-stream.js'
import type { Flight, FlightReader } from './flight.js'
import type { BlobInReading } from './keeping/blobs-in-reading.js'
import type { ByteStream, OpenFile } from './mirror.js'

/** A kept blob, for a client. Takes over `blob`. */
export function openBlob(blob: BlobInReading): OpenFile {
  const streams = new Streams()
  return {
    md5: { algorithm: 'md5', hex: blob.ref.md5 },
    path: blob.path,
    stream: (startBytes, endBytes) => streams.add((onClose) => new FileStream(blob, startBytes, endBytes, onClose)),
    pieceSpent: (piece) => blob.spent(piece),
    close: () => streams.close(() => blob.close()),
  }
}

/** Kept for the next pieces of all files in flight together: 8 MiB. */
const SPARE_PIECES = 64

const spare = new SpareBuffers(PIECE_BYTES, SPARE_PIECES)
const pieceSpent = (piece: Uint8Array) => spare.giveBack(piece)

/**
 * A file in flight, for a client, once somebody has begun to deliver it. `signal` aborts the waiting only.
 * @param holdbackBytes so much of the end of each stream waits for the verification of the whole; at least 1.
 * @throws MirrorError LOOP_DETECTED for one who comes by way of whom the flight asks; what the flight fails with before that.
 */
export async function openFlight(flight: Flight, holdbackBytes: number, signal: AbortSignal): Promise<OpenFile> {
  flight.refuseCrossing(currentHops())
  flight.retain()
  try {
    await abortable(flight.begun, signal)
  } catch (error) {
    await flight.release()
    throw error
  }
  const streams = new Streams()
  return {
    md5: flight.contentMd5,
    stream: (startBytes, endBytes) => {
      const reader = flight.reader(startBytes, endBytes, Math.max(1, holdbackBytes))
      return streams.add((onClose) => {
        const close = () => {
          reader.left()
          onClose()
        }
        return new FileStream({ piece: pieceOf(reader), spent: pieceSpent }, startBytes, endBytes, close)
      })
    },
    pieceSpent,
    close: () => streams.close(() => flight.release()),
  }
}

/** Something small that is in memory, for a client. */
export function openBytes(bytes: Buffer): OpenFile {
  const streams = new Streams()
  return {
    md5: undefined,
    stream: (startBytes, endBytes) => streams.add(() => Readable.from([bytes.subarray(startBytes, endBytes)])),
    close: () => streams.close(async () => {}),
  }
}

function pieceOf(reader: FlightReader): PieceSource['piece'] {
  return async (positionBytes) => {
    const pieceBytes = Math.min(PIECE_BYTES, (await reader.released()) - positionBytes)
    const buffer = spare.take(pieceBytes).subarray(0, pieceBytes)
    return buffer.subarray(0, await reader.read(buffer, positionBytes))
  }
}

/** The streams of one open file: closing the file ends them all, and then lets go of the file, once. */
class Streams {
  readonly #open = new Set<ByteStream>()
  #closed: Promise<void> | undefined

  add<Stream extends ByteStream>(open: (onClose: () => void) => Stream): Stream {
    const stream = open(() => this.#open.delete(stream))
    this.#open.add(stream)
    return stream
  }

  close(letGo: () => Promise<void>): Promise<void> {
    for (const stream of this.#open) stream.destroy()
    this.#closed ??= letGo()
    return this.#closed
  }
}
