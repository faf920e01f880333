import type { Digest, DigestAlgorithm } from '../images/digest.js'
import type { BlobRef } from './blob-store.js'

/** Where the fields of a row stand: digests as raw bytes, numbers as doubles, which hold whole ones up to 2^53. */
const FIELD = { sha256: [0, 32], sha1: [32, 52], md5: [52, 68] } as const
const SIZE_OFFSET = 68
const KEPT_OFFSET = 76
const USED_OFFSET = 84
export const ROW_BYTES = 92

const FIRST_CAPACITY = 1024
const NONE = -1

/** What is known of a blob, and when it was last of use to anybody. */
export interface BlobRow {
  readonly ref: BlobRef
  /** Milliseconds since 1970. */
  readonly usedMs: number
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

  /** Takes the place of a row with the same sha256. */
  set(ref: BlobRef, usedMs: number): void {
    this.delete(ref.sha256)
    const row = this.#freeRows.pop() ?? this.#appendRow()
    encodeRow({ ref, usedMs }).copy(this.#rows, row * ROW_BYTES)
    this.#totalBytes += ref.sizeBytes
    for (const chain of Object.values(this.#chains)) chain.link(this.#rows, row)
  }

  get(sha256: string): BlobRef | undefined {
    return this.matching({ algorithm: 'sha256', hex: sha256 })[0]
  }

  usedMs(sha256: string): number | undefined {
    const [row] = this.#chains.sha256.matches(this.#rows, Buffer.from(sha256, 'hex'))
    return row === undefined ? undefined : this.#rows.readDoubleLE(row * ROW_BYTES + USED_OFFSET)
  }

  setUsed(sha256: string, usedMs: number): void {
    const [row] = this.#chains.sha256.matches(this.#rows, Buffer.from(sha256, 'hex'))
    if (row !== undefined) this.#rows.writeDoubleLE(usedMs, row * ROW_BYTES + USED_OFFSET)
  }

  /** Every blob with that digest. Of sha1 and md5 there can be two: both can be forged. */
  matching({ algorithm, hex }: Digest): BlobRef[] {
    return this.#chains[algorithm].matches(this.#rows, Buffer.from(hex, 'hex')).map((row) => this.#refAt(row))
  }

  delete(sha256: string): void {
    const [row] = this.#chains.sha256.matches(this.#rows, Buffer.from(sha256, 'hex'))
    if (row === undefined) return
    for (const chain of Object.values(this.#chains)) chain.unlink(this.#rows, row)
    this.#freeRows.push(row)
    this.#totalBytes -= this.#rows.readDoubleLE(row * ROW_BYTES + SIZE_OFFSET)
  }

  /** In no order. What is set or deleted meanwhile may be among them or not. */
  *all(): Generator<BlobRef> {
    for (let row = 0; row < this.#usedRows; row++) {
      if (this.#chains.sha256.holds(this.#rows, row)) yield this.#refAt(row)
    }
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

  /** Whether the row is linked, and not free. */
  holds(rows: Buffer, row: number): boolean {
    let at = this.#heads[this.#slotOf(rows, this.#offsetOf(row))]!
    while (at !== NONE && at !== row) at = this.#next[at]!
    return at === row
  }

  #offsetOf(row: number): number {
    return row * ROW_BYTES + this.#start
  }

  #slotOf(bytes: Buffer, offset: number): number {
    return bytes.readUInt32LE(offset) & (this.#heads.length - 1)
  }
}
