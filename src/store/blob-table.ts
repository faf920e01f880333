import type { Digest, DigestAlgorithm } from '../images/digest.js'
import type { BlobRef, TimedBlob } from './blob-store.js'

/** Where the fields of a row stand: digests as raw bytes, numbers as doubles, which hold whole ones up to 2^53. */
const FIELD = { sha256: [0, 32], sha1: [32, 52], md5: [52, 68] } as const
const SIZE_OFFSET = 68
const KEPT_OFFSET = 76
const USED_OFFSET = 84
export const ROW_BYTES = 92

const FIRST_CAPACITY = 1024
const NONE = -1
/** In the place of its size, of a row that is free. */
const FREE = -1
/** Looking through all rows takes some 30 ms for a million of them: it is done once for so many that are asked for in order. */
const BATCH_LENGTH = 4096

/** What is known of a blob, and when it was last of use to anybody. */
export interface BlobRow {
  readonly ref: BlobRef
  /** Milliseconds since 1970. */
  readonly usedMs: number
}

/** A place in an order of time; rows that have the same time come in the order of their numbers. */
interface Place {
  readonly atMs: number
  readonly row: number
}

/** A blob's row as bytes: what the table holds, and what the index writes. */
export function encodeRow({ ref: { sha256, sha1, md5, sizeBytes, keptMs }, usedMs }: BlobRow): Buffer {
  const row = Buffer.alloc(ROW_BYTES)
  row.write(sha256 + sha1 + md5, 'hex')
  row.writeDoubleLE(sizeBytes, SIZE_OFFSET)
  row.writeDoubleLE(keptMs, KEPT_OFFSET)
  row.writeDoubleLE(usedMs, USED_OFFSET)
  return row
}

export function decodeRow(row: Buffer): BlobRow {
  const ref = {
    sha256: row.toString('hex', ...FIELD.sha256),
    sha1: row.toString('hex', ...FIELD.sha1),
    md5: row.toString('hex', ...FIELD.md5),
    sizeBytes: row.readDoubleLE(SIZE_OFFSET),
    keptMs: row.readDoubleLE(KEPT_OFFSET),
  }
  return { ref, usedMs: row.readDoubleLE(USED_OFFSET) }
}

/**
 * What is kept, by each of its digests, in memory. Rows lie packed in one buffer, about 140 bytes a blob with the chains
 * that find them (measured with a million), where an object with three hex strings in three maps is several times that.
 */
export class BlobTable {
  #rows = Buffer.alloc(FIRST_CAPACITY * ROW_BYTES)
  #chains = makeChains(FIRST_CAPACITY)
  /** By row, when the blob was read again; 0 for one that never was. Not part of the rows, which are written to the index. */
  #checkedMs = new Float64Array(FIRST_CAPACITY)
  /** Rows ever used; some of them may be free again. */
  #usedRows = 0
  readonly #freeRows: number[] = []
  #totalBytes = 0

  get count(): number {
    return this.#usedRows - this.#freeRows.length
  }

  /** How large all blobs are, together. */
  get totalBytes(): number {
    return this.#totalBytes
  }

  /** Takes the place of a row with the same sha256, of which only the time when it was read again stays. */
  set(ref: BlobRef, usedMs: number): void {
    const checkedMs = this.#checkedMs[this.#rowOf(ref.sha256) ?? NONE] ?? 0
    this.delete(ref.sha256)
    const row = this.#freeRows.pop() ?? this.#appendRow()
    encodeRow({ ref, usedMs }).copy(this.#rows, row * ROW_BYTES)
    this.#checkedMs[row] = checkedMs
    this.#totalBytes += ref.sizeBytes
    for (const chain of Object.values(this.#chains)) chain.link(this.#rows, row)
  }

  get(sha256: string): BlobRef | undefined {
    return this.matching({ algorithm: 'sha256', hex: sha256 })[0]
  }

  usedMs(sha256: string): number | undefined {
    const row = this.#rowOf(sha256)
    return row === undefined ? undefined : this.#usedMsAt(row)
  }

  setUsed(sha256: string, usedMs: number): void {
    const row = this.#rowOf(sha256)
    if (row !== undefined) this.#rows.writeDoubleLE(usedMs, row * ROW_BYTES + USED_OFFSET)
  }

  /** When it was last read again, if ever. */
  checkedMs(sha256: string): number | undefined {
    const row = this.#rowOf(sha256)
    return row === undefined ? undefined : this.#checkedMs[row] || undefined
  }

  /** It was read again then. */
  setChecked(sha256: string, checkedMs: number): void {
    const row = this.#rowOf(sha256)
    if (row !== undefined) this.#checkedMs[row] = checkedMs
  }

  /** Every blob with that digest. Of sha1 and md5 there can be two: both can be forged. */
  matching({ algorithm, hex }: Digest): BlobRef[] {
    return this.#chains[algorithm].matches(this.#rows, Buffer.from(hex, 'hex')).map((row) => this.#refAt(row))
  }

  delete(sha256: string): void {
    const row = this.#rowOf(sha256)
    if (row === undefined) return
    for (const chain of Object.values(this.#chains)) chain.unlink(this.#rows, row)
    this.#freeRows.push(row)
    this.#totalBytes -= this.#sizeBytesAt(row)
    this.#rows.writeDoubleLE(FREE, row * ROW_BYTES + SIZE_OFFSET)
  }

  /** In no order. What is set or deleted meanwhile may be among them or not. */
  *all(): Generator<BlobRef> {
    for (let row = 0; row < this.#usedRows; row++) {
      if (this.#isInUse(row)) yield this.#refAt(row)
    }
  }

  /** From the one that was used longest ago; looked up some thousands at a time, so that what changes meanwhile may show or not. */
  inOrderOfUse(): Generator<TimedBlob> {
    return this.#inOrderOf((row) => this.#usedMsAt(row))
  }

  /** From the one that was read longest ago, kept or again; as `inOrderOfUse`. */
  inOrderOfCheck(): Generator<TimedBlob> {
    return this.#inOrderOf((row) => this.#lastCheckMsAt(row))
  }

  /** Those that were read again since they were kept, in no order; as `all`. */
  *checked(): Generator<TimedBlob> {
    for (let row = 0; row < this.#usedRows; row++) {
      const atMs = this.#checkedMs[row]!
      if (atMs > 0 && this.#isInUse(row)) yield this.#timedAt({ row, atMs })
    }
  }

  *#inOrderOf(timeOf: (row: number) => number): Generator<TimedBlob> {
    let last: Place = { atMs: Number.NEGATIVE_INFINITY, row: NONE }
    for (;;) {
      const batch = this.#firstBehind(last, timeOf)
      for (const place of batch) if (this.#isInUse(place.row)) yield this.#timedAt(place)
      if (batch.length < BATCH_LENGTH) return
      last = batch.at(-1)!
    }
  }

  /** The first BATCH_LENGTH rows behind a place, in order. Twice as many are gathered before any are dropped again. */
  #firstBehind(last: Place, timeOf: (row: number) => number): Place[] {
    let first: Place[] = []
    let latestMs = Number.POSITIVE_INFINITY
    for (let row = 0; row < this.#usedRows; row++) {
      const atMs = timeOf(row)
      // Behind all there are at the same time, since rows come in the order of their numbers.
      if (atMs >= latestMs || atMs < last.atMs || (atMs === last.atMs && row <= last.row)) continue
      if (!this.#isInUse(row)) continue
      first.push({ atMs, row })
      if (first.length < 2 * BATCH_LENGTH) continue
      first = first.sort(byPlace).slice(0, BATCH_LENGTH)
      latestMs = first.at(-1)!.atMs
    }
    return first.sort(byPlace).slice(0, BATCH_LENGTH)
  }

  #rowOf(sha256: string): number | undefined {
    return this.#chains.sha256.matches(this.#rows, Buffer.from(sha256, 'hex'))[0]
  }

  #isInUse(row: number): boolean {
    return this.#sizeBytesAt(row) !== FREE
  }

  #sizeBytesAt(row: number): number {
    return this.#rows.readDoubleLE(row * ROW_BYTES + SIZE_OFFSET)
  }

  #usedMsAt(row: number): number {
    return this.#rows.readDoubleLE(row * ROW_BYTES + USED_OFFSET)
  }

  #lastCheckMsAt(row: number): number {
    return Math.max(this.#rows.readDoubleLE(row * ROW_BYTES + KEPT_OFFSET), this.#checkedMs[row]!)
  }

  #timedAt({ atMs, row }: Place): TimedBlob {
    const start = row * ROW_BYTES
    const sha256 = this.#rows.toString('hex', start + FIELD.sha256[0], start + FIELD.sha256[1])
    return { sha256, sizeBytes: this.#sizeBytesAt(row), atMs }
  }

  #refAt(row: number): BlobRef {
    return decodeRow(this.#rows.subarray(row * ROW_BYTES, (row + 1) * ROW_BYTES)).ref
  }

  #appendRow(): number {
    const capacity = this.#rows.length / ROW_BYTES
    if (this.#usedRows === capacity) this.#grow(capacity * 2)
    return this.#usedRows++
  }

  /** Only ever called with every row in use, so all of them are linked anew. */
  #grow(capacity: number): void {
    const rows = Buffer.alloc(capacity * ROW_BYTES)
    this.#rows.copy(rows)
    this.#rows = rows
    const checkedMs = new Float64Array(capacity)
    checkedMs.set(this.#checkedMs)
    this.#checkedMs = checkedMs
    this.#chains = makeChains(capacity)
    for (const chain of Object.values(this.#chains)) {
      for (let row = 0; row < this.#usedRows; row++) chain.link(rows, row)
    }
  }
}

function makeChains(capacity: number): Record<DigestAlgorithm, Chains> {
  return {
    sha256: new Chains(capacity, ...FIELD.sha256),
    sha1: new Chains(capacity, ...FIELD.sha1),
    md5: new Chains(capacity, ...FIELD.md5),
  }
}

/** A hash table over one field of the rows. Digests are their own hash: the first four bytes name the chain. */
class Chains {
  readonly #heads: Int32Array
  readonly #next: Int32Array
  readonly #start: number
  readonly #end: number

  /** @param capacity a power of two. */
  constructor(capacity: number, start: number, end: number) {
    this.#heads = new Int32Array(capacity).fill(NONE)
    this.#next = new Int32Array(capacity).fill(NONE)
    this.#start = start
    this.#end = end
  }

  link(rows: Buffer, row: number): void {
    const slot = this.#slotOf(rows, this.#offsetOf(row))
    this.#next[row] = this.#heads[slot]!
    this.#heads[slot] = row
  }

  unlink(rows: Buffer, row: number): void {
    const slot = this.#slotOf(rows, this.#offsetOf(row))
    let previous = NONE
    for (let at = this.#heads[slot]!; at !== NONE; previous = at, at = this.#next[at]!) {
      if (at !== row) continue
      if (previous === NONE) this.#heads[slot] = this.#next[row]!
      else this.#next[previous] = this.#next[row]!
      return
    }
  }

  matches(rows: Buffer, digest: Buffer): number[] {
    const found: number[] = []
    if (digest.length !== this.#end - this.#start) return found
    for (let at = this.#heads[this.#slotOf(digest, 0)]!; at !== NONE; at = this.#next[at]!) {
      const offset = this.#offsetOf(at)
      if (digest.compare(rows, offset, offset + digest.length) === 0) found.push(at)
    }
    return found
  }

  #offsetOf(row: number): number {
    return row * ROW_BYTES + this.#start
  }

  #slotOf(bytes: Buffer, offset: number): number {
    return bytes.readUInt32LE(offset) & (this.#heads.length - 1)
  }
}

function byPlace(one: Place, other: Place): number {
  return one.atMs - other.atMs || one.row - other.row
}
