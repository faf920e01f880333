import { setImmediate as nextTurn } from 'node:timers/promises'
import { MirrorError } from '../errors.js'
import type { Piece } from '../images/bundle/bundle-index.js'
import { MAX_VOLUMES } from '../images/bundle/bundle-limits.js'
import { PIECE_ALIGNMENT_BYTES, pieceName } from '../images/bundle/bundle-names.js'
import type { ByteRange } from './inventory.js'

/** A file that is to go into a bundle, and which bytes of it. */
export interface FileToPack {
  readonly sha256: string
  readonly sizeBytes: number
  /** Ascending, without overlap; bounds are multiples of 1 MiB, or the file's end. */
  readonly ranges: readonly ByteRange[]
}

export interface PlannedFile {
  readonly path: string
  readonly sizeBytes: number
}

export interface PackQuestion {
  readonly files: readonly FileToPack[]
  /** What every volume has, whatever else is in it. */
  readonly common: readonly PlannedFile[]
  /** How large a volume may be; `undefined`: one has everything. */
  readonly volumeBytes: number | undefined
  /** What a volume with these files takes, with all that belongs to it. Grows with them. */
  readonly measure: (files: readonly PlannedFile[]) => number
}

export interface Packing {
  /** In the order of files, and of bytes in them. */
  readonly pieces: readonly Piece[]
  readonly volumes: number
}

/** FAT takes no larger file than 4 GiB less a byte, and most sticks come with it. */
const LARGEST_PIECE_BYTES = 4 * 1024 ** 3 - PIECE_ALIGNMENT_BYTES
/** Pieces placed between two turns of the event loop. */
const PIECES_A_TURN = 200

/**
 * Lays pieces on volumes: each on the first one that has room for it, in their order, so that chains stay together. Only what
 * would fit on no volume is split. The same files are always laid in the same way.
 *
 * @throws MirrorError QUERY_INVALID for volumes that are too small, saying how large they must be.
 */
export async function packVolumes({ common, files, measure, volumeBytes }: PackQuestion): Promise<Packing> {
  if (volumeBytes === undefined) {
    const pieces = files.flatMap((file) => splitAt(file, LARGEST_PIECE_BYTES))
    return { pieces: pieces.map(({ piece }) => ({ ...piece, volume: 1 })), volumes: 1 }
  }
  const commonBytes = measure(common)
  const largestBytes = largestPieceBytes(volumeBytes, (sizeBytes) =>
    measure([...common, { path: WIDEST_PIECE, sizeBytes }]),
  )
  if (largestBytes === 0) {
    const least = Math.ceil(measure([...common, { path: WIDEST_PIECE, sizeBytes: PIECE_ALIGNMENT_BYTES }]) / MIB)
    throw new MirrorError(
      'QUERY_INVALID',
      `volumes of ${volumeBytes} bytes are too small: what each of them must have takes most of that; right is ${least}MiB or more`,
    )
  }
  const volumes: { files: PlannedFile[]; sizeBytes: number }[] = []
  const place = (file: PlannedFile): number => {
    for (const [index, volume] of volumes.entries()) {
      if (volume.sizeBytes + file.sizeBytes > volumeBytes) continue
      const sizeBytes = measure([...volume.files, file])
      if (sizeBytes > volumeBytes) continue
      volume.files.push(file)
      volume.sizeBytes = sizeBytes
      return index + 1
    }
    const contents = [...common, file]
    return volumes.push({ files: contents, sizeBytes: measure(contents) })
  }
  const pieces: Piece[] = []
  for (const { path, piece } of files.flatMap((file) => splitAt(file, largestBytes))) {
    if (pieces.length % PIECES_A_TURN === PIECES_A_TURN - 1) await nextTurn()
    pieces.push({ ...piece, volume: place({ path, sizeBytes: piece.endBytes - piece.startBytes }) })
    if (volumes.length > MAX_VOLUMES) {
      throw new MirrorError(
        'QUERY_INVALID',
        `this would be more than ${MAX_VOLUMES} volumes; right is a size at which fewer are enough, at least ${Math.ceil((2 * commonBytes) / MIB)}MiB`,
      )
    }
  }
  return { pieces, volumes: Math.max(1, volumes.length) }
}

const MIB = 1024 * 1024
/** No name of a piece is longer. */
const WIDEST_PIECE = `files/${'0'.repeat(64)}.${Number.MAX_SAFE_INTEGER}-${Number.MAX_SAFE_INTEGER}`

/** In whole MiB; 0 where not even one fits. */
function largestPieceBytes(volumeBytes: number, measure: (sizeBytes: number) => number): number {
  let [fitting, tooLarge] = [0, Math.floor(Math.min(volumeBytes, LARGEST_PIECE_BYTES) / MIB) + 1]
  while (tooLarge - fitting > 1) {
    const middle = Math.floor((fitting + tooLarge) / 2)
    if (measure(middle * MIB) <= volumeBytes) fitting = middle
    else tooLarge = middle
  }
  return fitting * MIB
}

/** The ranges of a file, those that are longer than a piece may be in several. */
function splitAt(
  { ranges, sha256, sizeBytes }: FileToPack,
  largestBytes: number,
): { readonly path: string; readonly piece: Omit<Piece, 'volume'> }[] {
  return ranges.flatMap((range) => {
    const pieces = []
    for (let startBytes = range.startBytes; startBytes < range.endBytes; startBytes += largestBytes) {
      const endBytes = Math.min(range.endBytes, startBytes + largestBytes)
      const path = pieceName(sha256, startBytes, endBytes, sizeBytes)
      pieces.push({ path, piece: { sha256, startBytes, endBytes } })
    }
    return pieces
  })
}
