import { MirrorError } from '../../errors.js'
import { DOCKER_HUB, isRepositoryName, isTag } from './reference.js'
import { compareVersions, parseComparison, parseTagVersion, type TagVersion } from './tag-version.js'

/** Which images of a registry an operator means; made by `parseImageSelection`. */
export interface ImageSelection {
  /** As it was written. */
  readonly text: string
  /** Without a host. At Docker Hub, `library/` is still to be added to a name of one part: `repositoryAt` does it. */
  readonly repository: string
  /** The one tag meant, if it is named in full: then nobody has to ask which tags there are. */
  readonly exactTag: string | undefined
  /** How many of the tags that match are taken, the newest first; all without it. */
  readonly newest: number | undefined
  /** Whether a tag matches, no matter how many others do. */
  readonly matches: (tag: string) => boolean
}

/** For messages: what `parseImageSelection` takes. */
export const IMAGE_SELECTION_FORM =
  'a repository and which of its tags, such as busybox:latest, library/alpine:3.* (* and ?), "grafana/grafana:~11" or "app:>=1.2 <3" (versions), "org/app:newest:5", "org/app:*-alpine:newest:2"'

/** Longest selection; operators write lines, not books. */
const MAX_LENGTH = 1024
const MAX_NEWEST = 1000
const MAX_STARS = 4
const NEWEST = /^(?:(?<words>[^:]+):)?newest:(?<count>\d{1,4})$/

/**
 * Reads `repository:tags`. Which tags is said by words between blanks, all of which must match:
 *
 * - a tag: `latest`. Without any, `latest` is meant;
 * - a pattern, in which `*` is anything and `?` one character: `3.*`;
 * - a comparison of versions, `~ ^ >= > <= < =` as npm's semver has them: `~11`, `>=1.2 <3`. A tag with something behind its
 *   numbers, `11.2.0-ubuntu`, is a variant, or a preview: it matches only if a pattern beside asks for it, `~11 *-ubuntu`.
 *
 * `newest:5` behind it takes the 5 newest of them by version, not by date, which registries do not tell; tags that say no
 * version are none of them. Alone, `org/app:newest:5`, it is about tags without variants.
 *
 * @throws MirrorError CONFIG_INVALID saying what is wrong and what is right.
 */
export function parseImageSelection(text: string): ImageSelection {
  if (text.length > MAX_LENGTH) throw invalid(text.slice(0, 60), `it is longer than ${MAX_LENGTH} characters`)
  const colon = text.indexOf(':')
  const repository = (colon === -1 ? text : text.slice(0, colon)).trim()
  const tags = colon === -1 ? 'latest' : text.slice(colon + 1).trim()
  if (!isRepositoryName(repository))
    throw invalid(text, `"${repository}" is no name of a repository, in lower case and without a host`)
  const { count, words: before } = NEWEST.exec(tags)?.groups ?? {}
  const newest = count === undefined ? undefined : Number(count)
  if (newest === 0 || (newest ?? 0) > MAX_NEWEST) throw invalid(text, `newest takes a number from 1 to ${MAX_NEWEST}`)
  const words = (count === undefined ? tags : (before ?? '')).split(/\s+/).filter((word) => word !== '')
  if (words.length === 0 && newest === undefined) throw invalid(text, 'it ends where a tag should be')
  const [only = ''] = words
  const isExact = words.length === 1 && newest === undefined && isTag(only)
  return {
    text,
    repository,
    exactTag: isExact ? only : undefined,
    newest,
    matches: isExact ? (tag) => tag === only : matcherOf(text, words, newest !== undefined),
  }
}

/** Its name in the registry's urls. */
export function repositoryAt(host: string, { repository }: Pick<ImageSelection, 'repository'>): string {
  return host === DOCKER_HUB && !repository.includes('/') ? `library/${repository}` : repository
}

/** Which of a repository's tags are meant, the newest first as far as versions tell; the others behind, sorted. */
export function selectTags({ matches, newest }: ImageSelection, tags: Iterable<string>): string[] {
  const found = [...new Set(tags)].filter((tag) => isTag(tag) && matches(tag)).sort(newestFirst)
  return newest === undefined ? found : found.slice(0, newest)
}

function newestFirst(left: string, right: string): number {
  const [leftVersion, rightVersion] = [parseTagVersion(left), parseTagVersion(right)]
  if (leftVersion && rightVersion) return compareVersions(rightVersion, leftVersion) || (left < right ? -1 : 1)
  if (leftVersion || rightVersion) return leftVersion ? -1 : 1
  return left < right ? -1 : 1
}

function matcherOf(text: string, words: readonly string[], isAboutVersions: boolean): (tag: string) => boolean {
  const comparisons: ((version: TagVersion) => boolean)[] = []
  const patterns: RegExp[] = []
  for (const word of words) {
    const comparison = parseComparison(word)
    if (comparison) comparisons.push(comparison)
    else if (/^[\w.*?-]+$/.test(word)) patterns.push(patternOf(text, word))
    else throw invalid(text, `"${word}" is neither a tag, nor a pattern, nor a comparison`)
  }
  const needsVersion = isAboutVersions || comparisons.length > 0
  return (tag) => {
    if (!patterns.every((pattern) => pattern.test(tag))) return false
    if (!needsVersion) return true
    const version = parseTagVersion(tag)
    if (!version || (version.suffix !== '' && patterns.length === 0)) return false
    return comparisons.every((isWithin) => isWithin(version))
  }
}

function patternOf(text: string, word: string): RegExp {
  const stars = word.replace(/\*+/g, '*')
  // Each multiplies what a matcher may have to try.
  if (stars.split('*').length - 1 > MAX_STARS) throw invalid(text, `"${word}" has more than ${MAX_STARS} stars`)
  const escaped = stars.replace(/[.+^${}()|[\]\\-]/g, '\\$&')
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`)
}

function invalid(text: string, reason: string): MirrorError {
  return new MirrorError('CONFIG_INVALID', `${JSON.stringify(text)}: ${reason}; right is ${IMAGE_SELECTION_FORM}`)
}
