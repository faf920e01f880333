/**
 * The word that was probably meant by `typed`, or `undefined` when none is near. Near is at most one slip (a letter
 * wrong, missing, added, or two swapped) for every three letters, case aside.
 */
export function closestWord(typed: string, words: Iterable<string>): string | undefined {
  // Nobody's slip is longer than this, and the comparison is quadratic.
  if (typed.length > 100) return undefined
  let best: string | undefined
  let bestSlips = Math.max(1, Math.floor(typed.length / 3)) + 1
  for (const word of words) {
    const slips = countSlips(typed.toLowerCase(), word.toLowerCase())
    if (slips < bestSlips) [best, bestSlips] = [word, slips]
  }
  return best
}

/** Damerau-Levenshtein distance, where two neighbours swapped count once. */
function countSlips(left: string, right: string): number {
  const rows = [Array.from({ length: right.length + 1 }, (_, column) => column)]
  for (let row = 1; row <= left.length; row++) {
    const current = [row]
    const above = rows[row - 1]!
    for (let column = 1; column <= right.length; column++) {
      const isSame = left[row - 1] === right[column - 1]
      let slips = Math.min(above[column]! + 1, current[column - 1]! + 1, above[column - 1]! + (isSame ? 0 : 1))
      const isSwap = row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]
      if (isSwap) slips = Math.min(slips, rows[row - 2]![column - 2]! + 1)
      current.push(slips)
    }
    rows.push(current)
  }
  return rows[left.length]![right.length]!
}
