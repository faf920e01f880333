import { expect, it } from 'vitest'
import { FileStream, pieceSpent } from '../../src/mirror/file-stream.js'

const PIECE_BYTES = 128 * 1024

/** A file whose every byte is `value`. */
function fileOf(value: number) {
  return {
    released: async (_positionBytes: number, endBytes: number) => endBytes,
    read: async (buffer: Uint8Array) => buffer.fill(value).length,
  }
}

async function firstPiece(stream: FileStream): Promise<Buffer> {
  for await (const piece of stream) return piece as Buffer
  throw new Error('a stream without a piece')
}

it('leaves a piece alone until it is spent, whatever else is read meanwhile', async () => {
  const kept = await firstPiece(new FileStream(fileOf(1), 0, PIECE_BYTES))
  for (let time = 0; time < 100; time++) {
    const other = await firstPiece(new FileStream(fileOf(2), 0, PIECE_BYTES))
    expect(other.buffer).not.toBe(kept.buffer)
    pieceSpent(other)
  }
  expect(kept.equals(Buffer.alloc(PIECE_BYTES, 1))).toBe(true)
})

it('reads into the memory of a piece that is spent', async () => {
  const spent = await firstPiece(new FileStream(fileOf(1), 0, PIECE_BYTES))
  pieceSpent(spent)
  const next = await firstPiece(new FileStream(fileOf(2), 0, PIECE_BYTES))
  expect(next.buffer).toBe(spent.buffer)
})
