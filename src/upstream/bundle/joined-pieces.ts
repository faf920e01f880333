import { Readable } from 'node:stream'
import type { Piece } from '../../images/bundle/bundle-index.js'
import type { FileBody } from '../upstream.js'

export interface JoinedPieces {
  /** In order, without a gap between `startBytes` and `endBytes`. */
  readonly pieces: readonly Piece[]
  /** Of the file. */
  readonly startBytes: number
  readonly endBytes: number
  /** Of the first piece, opened already. What it says is counted from the piece's start. */
  readonly first: FileBody
  /** Opens the part of another piece that is wanted. @param signal aborts when nobody wants it any more. */
  readonly open: (piece: Piece, signal: AbortSignal) => Promise<FileBody>
  /** For a piece that ends before its end. */
  readonly tooShort: (piece: Piece) => Error
}

/** The part of `piece` that lies in [startBytes, endBytes) of the file, counted from its own start. */
export function partOf(piece: Piece, startBytes: number, endBytes: number): { startBytes: number; endBytes: number } {
  return {
    startBytes: Math.max(startBytes, piece.startBytes) - piece.startBytes,
    endBytes: Math.min(endBytes, piece.endBytes) - piece.startBytes,
  }
}

/** Bytes of a file one piece after the other; each is opened when the one before it has been read. Whatever servers send besides is cut off. */
export function joinPieces(joined: JoinedPieces): Readable {
  const gone = new AbortController()
  const body = Readable.from(bytesOf(joined, gone.signal), { objectMode: false, highWaterMark: 64 * 1024 })
  body.once('close', () => {
    gone.abort()
    // Of a body that nobody has read from, nothing else ends the first.
    joined.first.body.destroy()
  })
  // Whoever reads is told all the same; before that, a failure would end the process.
  body.on('error', () => {})
  return body
}

async function* bytesOf(
  { endBytes, first, open, pieces, startBytes, tooShort }: JoinedPieces,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  for (const [index, piece] of pieces.entries()) {
    const part = partOf(piece, startBytes, endBytes)
    const answer = index === 0 ? first : await open(piece, signal)
    let at = answer.startBytes
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      const wanted = chunk.subarray(Math.max(0, part.startBytes - at), Math.max(0, part.endBytes - at))
      if (wanted.length > 0) yield wanted
      at += chunk.length
      if (at >= part.endBytes) break
    }
    if (at < part.endBytes) throw tooShort(piece)
  }
}
