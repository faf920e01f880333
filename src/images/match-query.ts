import { MirrorError } from '../errors.js'
import { isJsonObject, type JsonObject } from '../parts/json-object.js'
import type { ListQuery, TextMatch } from './list-query.js'
import type { Manifest } from './manifest.js'
import { isSeenBy, isSharedWith } from './viewer.js'

/**
 * The images that answer a query. Who has not proved who they are is shown active ones only, `state=all` meaning active
 * and any other state nothing (sdc-imgapi, lib/images.js, `filterImages`, run in public mode).
 *
 * Order is publication, oldest first, and uuid among equals, which the reference leaves open: without it imgadm's paging
 * loses images or never ends. For the same reason a uuid as marker means "from that image on in this order", and it is
 * included. `images` that already come in this order are not sorted again.
 *
 * @param manifestOf looks up a marker, which may be an image that the query itself would not show.
 * @throws MirrorError IMAGE_UNKNOWN for a marker uuid that nobody knows.
 */
export function selectImages(
  images: Iterable<Manifest>,
  query: ListQuery,
  manifestOf: (uuid: string) => Manifest | undefined,
): Manifest[] {
  // First, since an unknown marker is a failure also of a query that finds nothing.
  const isWithinMarker = compileMarker(query, manifestOf)
  const { viewer } = query
  const state = query.state === 'all' && !viewer.isKnown ? 'active' : query.state
  if (query.isEmpty || (state !== 'active' && !viewer.isKnown)) return []

  const selected: Manifest[] = []
  for (const image of images) {
    const isShown = (state === 'all' || image.state === state) && isSeenBy(image, viewer)
    if (isShown && isWithinMarker(image) && matches(image, query)) selected.push(image)
  }
  if (!isInOrder(selected)) selected.sort(compareByPublication)
  if (query.isDescending) selected.reverse()
  return query.limit === undefined ? selected : selected.slice(0, Math.max(0, query.limit))
}

/** Oldest first, those never published before all others, uuids among equals. To be given to `sort`. */
export function compareByPublication(left: Manifest, right: Manifest): number {
  return comparePublishedAt(left.publishedAt, right.publishedAt) || compareTexts(left.uuid, right.uuid)
}

/** By instant: `...00Z` and `...00.000Z` are equal. */
function comparePublishedAt(left: string | undefined, right: string | undefined): number {
  if (left === right) return 0
  if (left === undefined) return -1
  if (right === undefined) return 1
  // IMGAPI's form sorts as text, as long as both have milliseconds or neither has.
  if (left.length === right.length) return compareTexts(left, right)
  return compareTexts(toMilliseconds(left), toMilliseconds(right))
}

function toMilliseconds(publishedAt: string): string {
  return publishedAt.includes('.') ? publishedAt : publishedAt.replace('Z', '.000Z')
}

function compareTexts(left: string, right: string): number {
  if (left === right) return 0
  return left < right ? -1 : 1
}

function isInOrder(images: readonly Manifest[]): boolean {
  return images.every((image, index) => index === 0 || compareByPublication(images[index - 1]!, image) <= 0)
}

function compileMarker(
  { marker, isDescending, viewer }: ListQuery,
  manifestOf: (uuid: string) => Manifest | undefined,
): (image: Manifest) => boolean {
  if (!marker) return () => true
  const sign = isDescending ? -1 : 1
  if ('atMs' in marker) {
    return ({ publishedAt }) => {
      // Never published is before every instant.
      const publishedMs = publishedAt === undefined ? Number.NEGATIVE_INFINITY : Date.parse(publishedAt)
      return sign * (publishedMs - marker.atMs) >= 0
    }
  }
  const first = manifestOf(marker.uuid)
  if (!first || !isSeenBy(first, viewer)) throw new MirrorError('IMAGE_UNKNOWN', `image ${marker.uuid} not found`)
  return (image) => sign * compareByPublication(image, first) >= 0
}

function matches(image: Manifest, query: ListQuery): boolean {
  return (
    matchesText(image.name, query.name) &&
    matchesText(image.version, query.version) &&
    (query.os === undefined || image.os === query.os) &&
    (query.owner === undefined || image.owner === query.owner) &&
    (query.type === undefined || (image.type === query.type.value) !== query.type.isExcluded) &&
    (query.isPublic === undefined || image.isPublic === query.isPublic) &&
    query.tags.every(({ key, value }) => hasTag(image, key, value)) &&
    query.billingTags.every((tag) => hasBillingTag(image, tag)) &&
    (query.account === undefined || isSharedWith(image, query.account))
  )
}

function matchesText(text: string, match: TextMatch | undefined): boolean {
  if (!match) return true
  return match.isSubstring ? text.includes(match.text) : text === match.text
}

function hasTag(image: Manifest, key: string, value: string): boolean {
  const { tags } = readIfItMentions(image, key)
  return isJsonObject(tags) && Object.hasOwn(tags, key) && searchForm(tags[key]) === value
}

/** What a tag's value is found by: short texts, numbers and booleans; anything else as if it were empty. */
function searchForm(value: unknown): string {
  if (typeof value === 'string') return value.length <= 100 ? value : ''
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : ''
}

function hasBillingTag(image: Manifest, tag: string): boolean {
  const { billing_tags: tags } = readIfItMentions(image, tag)
  return Array.isArray(tags) && tags.includes(tag)
}

/**
 * The whole manifest, or nothing if `text` is nowhere in it as a JSON text. Parsing is 50 times as dear as looking, and
 * most images do not have what is asked for.
 */
function readIfItMentions({ json }: Manifest, text: string): JsonObject {
  return json.includes(JSON.stringify(text)) ? (JSON.parse(json) as JsonObject) : {}
}
