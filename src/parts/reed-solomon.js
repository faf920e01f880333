// Plain JavaScript with checked types, because worker threads load it, from `src/` as from `dist/`, without any loader.

/** Shards of one code: the field has no more elements. */
export const MOST_SHARDS = 256
/** How much of each shard is worked on before the next: what is in hand then stays in the processor's own memory. */
const STRIPE_BYTES = 8 * 1024
/** Outputs are computed four at a time: a table of 32 bits has the products of a byte with a factor of each. */
const LANES = 4

/** GF(2^8): polynomials over bits, modulo x^8 + x^4 + x^3 + x^2 + 1. Powers of x, twice over, so that sums of two logarithms need no modulo. */
const POWERS = new Uint8Array(510)
const LOGARITHMS = new Uint8Array(256)
for (let exponent = 0, element = 1; exponent < 255; exponent++) {
  POWERS[exponent] = element
  POWERS[exponent + 255] = element
  LOGARITHMS[element] = exponent
  element = element & 0x80 ? ((element << 1) & 0xff) ^ 0x1d : element << 1
}

/** @typedef {readonly number[]} Row factors, one for each input */

/**
 * The Reed-Solomon code over GF(2^8) with the polynomial 0x11d and a systematic Vandermonde matrix: any `dataShards` of its shards give
 * back all of them. The form is that of the Rust crate reed-solomon-erasure and of Backblaze's JavaReedSolomon, from where its matrix is.
 */
export class ReedSolomon {
  /** @type {readonly Row[]} */
  #parityRows
  #dataShards
  /** @type {{ present: string, rows: readonly Row[] } | undefined} the last way back: neighbours are mostly damaged alike */
  #wayBack

  /**
   * @param {number} dataShards
   * @param {number} parityShards both together at most 256
   */
  constructor(dataShards, parityShards) {
    if (dataShards < 1 || parityShards < 1 || dataShards + parityShards > MOST_SHARDS) {
      throw new RangeError(`there is no code of ${dataShards} and ${parityShards} shards`)
    }
    this.#dataShards = dataShards
    /** @type {(row: number) => number[]} */
    const vandermonde = (row) => Array.from({ length: dataShards }, (_, column) => power(row, column))
    const top = inverseOf(Array.from({ length: dataShards }, (_, row) => vandermonde(row)))
    this.#parityRows = Array.from({ length: parityShards }, (_, row) => product(vandermonde(dataShards + row), top))
  }

  /**
   * @param {readonly Uint8Array[]} data all of the same length
   * @param {readonly Uint8Array[]} parity filled in
   */
  encode(data, parity) {
    combine(this.#parityRows, data, parity)
  }

  /**
   * Fills in the data shards that are not present. Parity is not.
   *
   * @param {readonly Uint8Array[]} shards data, then parity, all of the same length
   * @param {readonly boolean[]} isPresent for each shard; what is in those that are not does not matter
   * @returns {boolean} whether enough of them were
   */
  reconstruct(shards, isPresent) {
    const count = this.#dataShards
    const present = [...shards.keys()].filter((index) => isPresent[index]).slice(0, count)
    if (present.length < count) return false
    const missing = [...shards.keys()].filter((index) => index < count && !isPresent[index])
    if (missing.length === 0) return true
    const key = present.join()
    if (this.#wayBack?.present !== key) {
      const rowOf = (/** @type {number} */ index) =>
        index < count ? unit(index, count) : this.#parityRows[index - count]
      this.#wayBack = { present: key, rows: inverseOf(present.map((index) => [...(rowOf(index) ?? [])])) }
    }
    const { rows } = this.#wayBack
    combine(
      missing.map((index) => rows[index] ?? []),
      present.map((index) => shards[index] ?? new Uint8Array()),
      missing.map((index) => shards[index] ?? new Uint8Array()),
    )
    return true
  }
}

/**
 * Each output becomes the sum of all inputs, times the factors of its row.
 *
 * @param {readonly Row[]} rows
 * @param {readonly Uint8Array[]} inputs
 * @param {readonly Uint8Array[]} outputs
 */
function combine(rows, inputs, outputs) {
  const sizeBytes = outputs[0]?.length ?? 0
  const sums = new Uint32Array(STRIPE_BYTES)
  for (let first = 0; first < rows.length; first += LANES) {
    const lanes = rows.slice(first, first + LANES)
    const tables = inputs.map((_, column) => tableOf(lanes.map((row) => row[column] ?? 0)))
    for (let startBytes = 0; startBytes < sizeBytes; startBytes += STRIPE_BYTES) {
      const endBytes = Math.min(startBytes + STRIPE_BYTES, sizeBytes)
      sums.fill(0)
      addProducts(
        sums,
        tables,
        inputs.map((input) => input.subarray(startBytes, endBytes)),
      )
      for (const lane of lanes.keys()) {
        const output = outputs[first + lane]?.subarray(startBytes, endBytes)
        if (output) takeLane(sums, lane * 8, output)
      }
    }
  }
}

/**
 * @param {Uint32Array} sums
 * @param {readonly Uint32Array[]} tables
 * @param {readonly Uint8Array[]} inputs
 */
function addProducts(sums, tables, inputs) {
  const none = { table: new Uint32Array(256), input: inputs[0] ?? new Uint8Array() }
  for (let column = 0; column < inputs.length; column += 4) {
    // Four at once, as each sum is then fetched and put back a quarter as often.
    const [a, b, c, d] = [0, 1, 2, 3].map((next) => tables[column + next] ?? none.table)
    const [p, q, r, s] = [0, 1, 2, 3].map((next) => inputs[column + next] ?? none.input)
    addFour(sums, /** @type {Tables} */ ([a, b, c, d]), /** @type {Inputs} */ ([p, q, r, s]))
  }
}

/** @typedef {[Uint32Array, Uint32Array, Uint32Array, Uint32Array]} Tables */
/** @typedef {[Uint8Array, Uint8Array, Uint8Array, Uint8Array]} Inputs */

/**
 * The innermost loop of all.
 *
 * @param {Uint32Array} sums
 * @param {Tables} tables
 * @param {Inputs} inputs
 */
function addFour(sums, [a, b, c, d], [p, q, r, s]) {
  const count = p.length
  // @ts-expect-error TS2532 asks after each element, and to ask takes longer than to add: all indexes are within.
  for (let at = 0; at < count; at++) sums[at] ^= a[p[at]] ^ b[q[at]] ^ c[r[at]] ^ d[s[at]]
}

/**
 * @param {Uint32Array} sums
 * @param {number} shift
 * @param {Uint8Array} output
 */
function takeLane(sums, shift, output) {
  // @ts-expect-error As above.
  for (let at = 0; at < output.length; at++) output[at] = sums[at] >>> shift
}

/** @param {readonly number[]} factors at most four */
function tableOf(factors) {
  return Uint32Array.from({ length: 256 }, (_, element) =>
    factors.reduce((packed, factor, lane) => packed | (multiply(factor, element) << (lane * 8)), 0),
  )
}

/**
 * @param {number} left
 * @param {number} right
 * @returns {number}
 */
function multiply(left, right) {
  if (left === 0 || right === 0) return 0
  return POWERS[(LOGARITHMS[left] ?? 0) + (LOGARITHMS[right] ?? 0)] ?? 0
}

/**
 * @param {number} base
 * @param {number} exponent
 * @returns {number}
 */
function power(base, exponent) {
  if (exponent === 0) return 1
  return base === 0 ? 0 : (POWERS[((LOGARITHMS[base] ?? 0) * exponent) % 255] ?? 0)
}

/**
 * @param {number} index
 * @param {number} count
 * @returns {Row}
 */
function unit(index, count) {
  return Array.from({ length: count }, (_, column) => (column === index ? 1 : 0))
}

/**
 * @param {Row} row
 * @param {readonly Row[]} square
 * @returns {Row}
 */
function product(row, square) {
  return row.map((_, column) => row.reduce((sum, factor, at) => sum ^ multiply(factor, square[at]?.[column] ?? 0), 0))
}

/**
 * By Gauss and Jordan. Squares of a Vandermonde matrix have an inverse, always.
 *
 * @param {number[][]} square taken to pieces
 * @returns {readonly Row[]}
 */
function inverseOf(square) {
  const count = square.length
  const inverse = square.map((_, index) => [...unit(index, count)])
  for (let at = 0; at < count; at++) {
    const pivot = square.findIndex((row, index) => index >= at && row[at] !== 0)
    swap(square, at, pivot)
    swap(inverse, at, pivot)
    const [row, side] = [square[at] ?? [], inverse[at] ?? []]
    const scale = POWERS[255 - (LOGARITHMS[row[at] ?? 0] ?? 0)] ?? 0
    scaleRow(row, scale)
    scaleRow(side, scale)
    for (let other = 0; other < count; other++) {
      const factor = square[other]?.[at] ?? 0
      if (other === at || factor === 0) continue
      addRow(square[other] ?? [], row, factor)
      addRow(inverse[other] ?? [], side, factor)
    }
  }
  return inverse
}

/**
 * @param {number[][]} rows
 * @param {number} left
 * @param {number} right
 */
function swap(rows, left, right) {
  const [one, other] = [rows[left] ?? [], rows[right] ?? []]
  rows[left] = other
  rows[right] = one
}

/**
 * @param {number[]} row
 * @param {number} factor
 */
function scaleRow(row, factor) {
  for (const [at, element] of row.entries()) row[at] = multiply(element, factor)
}

/**
 * @param {number[]} row
 * @param {readonly number[]} other
 * @param {number} factor
 */
function addRow(row, other, factor) {
  for (const [at, element] of other.entries()) row[at] = (row[at] ?? 0) ^ multiply(element, factor)
}
