import { Readable } from 'node:stream'
import { abortable } from '../parts/abortable.js'
import { currentHops } from '../parts/hops.js'
import type { OpenBlob } from '../store/blob-store.js'
import { FileStream, pieceSpent } from './file-stream.js'
import type { Flight } from './flight.js'
import type { OpenFile } from './mirror.js'

/** A kept blob, for a client. Takes over `blob`. */
export function openBlob(blob: OpenBlob): OpenFile {
  const streams = new Streams()
  const source = {
    released: async (_positionBytes: number, endBytes: number) => endBytes,
    read: (buffer: Uint8Array, positionBytes: number) => blob.read(buffer, positionBytes),
  }
  return {
    md5: { algorithm: 'md5', hex: blob.ref.md5 },
    path: blob.path,
    stream: (startBytes, endBytes) => streams.add(new FileStream(source, startBytes, endBytes)),
    pieceSpent,
    close: () => streams.close(() => blob.close()),
  }
}

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
      const stream = streams.add(new FileStream(reader, startBytes, endBytes))
      stream.once('close', () => reader.left())
      return stream
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
    stream: (startBytes, endBytes) => streams.add(Readable.from([bytes.subarray(startBytes, endBytes)])),
    close: () => streams.close(async () => {}),
  }
}

/** The streams of one open file: closing the file ends them all, and then lets go of the file, once. */
class Streams {
  readonly #open = new Set<Readable>()
  #closed: Promise<void> | undefined

  add(stream: Readable): Readable {
    this.#open.add(stream)
    stream.once('close', () => this.#open.delete(stream))
    return stream
  }

  close(letGo: () => Promise<void>): Promise<void> {
    for (const stream of this.#open) stream.destroy()
    this.#closed ??= letGo()
    return this.#closed
  }
}
