import type { Context } from './every-request.js'

/**
 * The `Accept-Version` header: a range of versions as npm writes them, which must hold one of ours.
 *
 * A check of our own instead of the `semver` package: only whole versions are ever compared, and there are two of them.
 * Understood: `1`, `1.x`, `1.0.0`, `v1`, `*`, `~1`, `^2`, `>=1`, `>1`, `<3`, `<=2`, `=2`, `1 - 2`, several with blanks
 * between them (all must hold), and `||` (one must). Anything else holds nothing.
 */

type Version = readonly [major: number, minor: number, patch: number]

/** Those of sdc-imgapi (imgapi.md, 3.2). They differ in one thing: only from the second on, manifests tell `channels`. */
const FIRST: Version = [1, 0, 0]
const SECOND: Version = [2, 0, 0]

/** What a request says of versions; empty if it says nothing. restify's `X-Api-Version` is the older name of the header. */
export function acceptedVersion(context: Context): string {
  return context.get('Accept-Version') || context.get('X-Api-Version')
}

/** Without the header a client gets `~1`. */
export function isVersionAccepted(header: string | undefined): boolean {
  return !header || holdsVersion(header, FIRST) || holdsVersion(header, SECOND)
}

/** Whether the answer is to tell the channels of images. */
export function wantsChannels(context: Context): boolean {
  const header = acceptedVersion(context)
  return header !== '' && holdsVersion(header, SECOND)
}

function holdsVersion(header: string, version: Version): boolean {
  return header.split('||').some((range) => parseRange(range)?.every((holds) => holds(version)))
}

type Comparator = (version: Version) => boolean

const PARTIAL = String.raw`v?(\d{1,9}|[xX*])(?:\.(\d{1,9}|[xX*]))?(?:\.(\d{1,9}|[xX*]))?`
const HYPHEN = new RegExp(`^${PARTIAL} - ${PARTIAL}$`)
const COMPARATOR = new RegExp(`^(>=|<=|>|<|=|~>?|\\^)?${PARTIAL}$`)

/** Answers `undefined` for what is no range. */
function parseRange(text: string): readonly Comparator[] | undefined {
  const range = text.trim().replace(/\s+/g, ' ')
  if (range === '') return [() => true]
  const hyphen = HYPHEN.exec(range)
  if (hyphen) {
    const from = spanOf(hyphen.slice(1, 4))
    const to = spanOf(hyphen.slice(4, 7))
    return [(version) => compare(version, from.first) >= 0 && compare(version, to.behind) < 0]
  }
  const comparators: Comparator[] = []
  for (const word of range.replace(/([<>=~^]) /g, '$1').split(' ')) {
    const match = COMPARATOR.exec(word)
    if (!match) return undefined
    comparators.push(comparatorOf(match[1] ?? '=', match.slice(2, 5)))
  }
  return comparators
}

function comparatorOf(operator: string, parts: readonly (string | undefined)[]): Comparator {
  const { first, behind } = spanOf(parts)
  switch (operator) {
    case '>=':
      return (version) => compare(version, first) >= 0
    case '>':
      return (version) => compare(version, behind) >= 0
    case '<':
      return (version) => compare(version, first) < 0
    case '<=':
      return (version) => compare(version, behind) < 0
    case '^':
      return (version) => compare(version, first) >= 0 && compare(version, aboveCaret(first, behind)) < 0
    case '~':
    case '~>':
      return (version) => compare(version, first) >= 0 && compare(version, aboveTilde(first, behind)) < 0
    default:
      return (version) => compare(version, first) >= 0 && compare(version, behind) < 0
  }
}

/** The versions that a partial one stands for: `1` is 1.0.0 up to, not including, 2.0.0. */
function spanOf(parts: readonly (string | undefined)[]): { first: Version; behind: Version } {
  const numbers: number[] = []
  for (const part of parts) {
    if (part === undefined || /^[xX*]$/.test(part)) break
    numbers.push(Number(part))
  }
  const [major, minor, patch] = numbers
  if (major === undefined) return { first: [0, 0, 0], behind: [Number.POSITIVE_INFINITY, 0, 0] }
  if (minor === undefined) return { first: [major, 0, 0], behind: [major + 1, 0, 0] }
  if (patch === undefined) return { first: [major, minor, 0], behind: [major, minor + 1, 0] }
  return { first: [major, minor, patch], behind: [major, minor, patch + 1] }
}

/** `^` lets everything vary right of the first number that is not 0. */
function aboveCaret([major, minor]: Version, behind: Version): Version {
  if (major > 0) return [major + 1, 0, 0]
  return minor > 0 ? [0, minor + 1, 0] : behind
}

/** `~` lets the patch vary, and the minor too if none is named. */
function aboveTilde([major, minor, patch]: Version, behind: Version): Version {
  const isWhole = compare(behind, [major, minor, patch + 1]) === 0
  return isWhole ? [major, minor + 1, 0] : behind
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2]
}
