/**
 * Parity as docs/bundle-format.md describes it, written from the description alone, as somebody would who has nothing but a medium
 * and the page: slow, and without any library.
 */
export function documentedParity(data: readonly Uint8Array[], parityShards: number): Uint8Array[] {
  const matrix = parityMatrix(data.length, parityShards)
  const sizeBytes = data[0]!.length
  return matrix.map((row) => {
    const parity = new Uint8Array(sizeBytes)
    for (const [index, shard] of data.entries()) {
      for (let at = 0; at < sizeBytes; at++) parity[at]! ^= multiply(row[index]!, shard[at]!)
    }
    return parity
  })
}

/** Row r of the Vandermonde matrix is r to the powers of 0, 1, 2...; times the inverse of its upper square, of which the rows below are left. */
function parityMatrix(dataShards: number, parityShards: number): number[][] {
  const vandermonde = Array.from({ length: dataShards + parityShards }, (_, row) =>
    Array.from({ length: dataShards }, (_, column) => power(row, column)),
  )
  const inverse = invert(vandermonde.slice(0, dataShards))
  return vandermonde
    .slice(dataShards)
    .map((row) =>
      Array.from({ length: dataShards }, (_, column) =>
        row.reduce((sum, factor, index) => sum ^ multiply(factor, inverse[index]![column]!), 0),
      ),
    )
}

/** In GF(2^8): polynomials over bits, modulo x^8 + x^4 + x^3 + x^2 + 1. */
function multiply(left: number, right: number): number {
  let product = 0
  for (let bit = 7; bit >= 0; bit--) {
    product <<= 1
    if (product & 0x100) product ^= 0x11d
    if ((right >> bit) & 1) product ^= left
  }
  return product
}

function power(base: number, exponent: number): number {
  let result = 1
  for (let count = 0; count < exponent; count++) result = multiply(result, base)
  return result
}

function invertElement(element: number): number {
  return power(element, 254)
}

/** By Gauss and Jordan. */
function invert(square: readonly (readonly number[])[]): number[][] {
  const size = square.length
  const rows = square.map((row, index) => [...row, ...Array.from({ length: size }, (_, at) => (at === index ? 1 : 0))])
  for (let at = 0; at < size; at++) {
    const pivot = rows.findIndex((row, index) => index >= at && row[at] !== 0)
    ;[rows[at], rows[pivot]] = [rows[pivot]!, rows[at]!]
    const scale = invertElement(rows[at]![at]!)
    rows[at] = rows[at]!.map((element) => multiply(element, scale))
    for (let other = 0; other < size; other++) {
      const factor = rows[other]![at]!
      if (other === at || factor === 0) continue
      rows[other] = rows[other]!.map((element, column) => element ^ multiply(factor, rows[at]![column]!))
    }
  }
  return rows.map((row) => row.slice(size))
}
