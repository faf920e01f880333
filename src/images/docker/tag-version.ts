/** A tag that says a version: `3.19`, `v1.2.3`, `11.2.0-ubuntu`, `2026.01.05`. */
export interface TagVersion {
  /** The numbers between the dots, most significant first; one to four. A leading zero counts nothing. */
  readonly numbers: readonly number[]
  /** What follows the numbers, such as `-ubuntu` or `-rc1`: a variant or a preview, nobody can tell which. */
  readonly suffix: string
}

const TAG_VERSION = /^v?(?<numbers>\d{1,15}(?:\.\d{1,15}){0,3})(?<suffix>[-_+a-zA-Z].*)?$/
const COMPARISON = /^(?<operator>~|\^|>=|<=|>|<|=)v?(?<numbers>\d{1,15}(?:\.\d{1,15}){0,3})$/

/** Answers `undefined` for a tag that says no version, such as `latest`. */
export function parseTagVersion(tag: string): TagVersion | undefined {
  const { numbers, suffix = '' } = TAG_VERSION.exec(tag)?.groups ?? {}
  return numbers === undefined ? undefined : { numbers: numbers.split('.').map(Number), suffix }
}

/**
 * Older first. Numbers that are missing count as 0, so `3` stands before `3.19`, which it may well be another name of.
 * Of two with the same numbers the one with a suffix is older, as semver has it of previews.
 */
export function compareVersions(left: TagVersion, right: TagVersion): number {
  const byNumbers = compareNumbers(left.numbers, right.numbers)
  if (byNumbers !== 0) return byNumbers
  if (left.suffix === right.suffix) return left.numbers.length - right.numbers.length
  if (left.suffix === '' || right.suffix === '') return left.suffix === '' ? 1 : -1
  return left.suffix < right.suffix ? -1 : 1
}

/**
 * Reads `~11`, `^1.2`, `>=3.18`, `<4`, `=2.0`, as npm's semver understands them: what is not said is left open, so `~11` is
 * every 11, `~11.2` every 11.2, `^1.2` is 1.2 or later but no 2, and `>1.2` no 1.2 at all. Ours, and not the package:
 * tags have two numbers or four, and leading zeros (`24.04`), which semver refuses.
 *
 * @returns whether a version, its suffix aside, is within; `undefined` for what is no comparison.
 */
export function parseComparison(text: string): ((version: TagVersion) => boolean) | undefined {
  const { operator, numbers: said } = COMPARISON.exec(text)?.groups ?? {}
  if (said === undefined) return undefined
  const bound = said.split('.').map(Number)
  const isFrom = ({ numbers }: TagVersion) => compareNumbers(numbers, bound) >= 0
  /** Whether it is before everything that begins with these numbers and one more at the last of them. */
  const isBefore = (end: readonly number[]) => {
    const after = [...end.slice(0, -1), end.at(-1)! + 1]
    return ({ numbers }: TagVersion) => compareNumbers(numbers, after) < 0
  }
  switch (operator) {
    case '>=':
      return isFrom
    case '<':
      return (version) => !isFrom(version)
    case '<=':
      return isBefore(bound)
    case '>':
      return (version) => !isBefore(bound)(version)
    case '=':
      return (version) => isFrom(version) && isBefore(bound)(version)
    case '~':
      return (version) => isFrom(version) && isBefore(bound.slice(0, 2))(version)
    case '^':
    case undefined: {
      // ^ lets everything change behind the first number that is not 0.
      const leading = bound.findIndex((number) => number > 0)
      const kept = leading === -1 ? bound.length : leading + 1
      return (version) => isFrom(version) && isBefore(bound.slice(0, kept))(version)
    }
    default:
      return undefined
  }
}

function compareNumbers(left: readonly number[], right: readonly number[]): number {
  for (let place = 0; place < Math.max(left.length, right.length); place++) {
    const difference = (left[place] ?? 0) - (right[place] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
