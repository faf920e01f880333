import type { Uuid } from '../../images/uuid.js'

/** An image of which at least one file is kept here. */
export interface KeptImage {
  readonly uuid: Uuid
  /** The images it builds on, as far as they are known, whether they are kept or not. Never itself. */
  readonly ancestors: readonly Uuid[]
  /** Those of its files that are kept. */
  readonly blobs: readonly KeptBlob[]
  readonly lastUsedMs: number
  /** It stays, and so does all it builds on: it is pinned, or somebody is busy with it. */
  readonly mustStay: boolean
  /** To be here before anyone asks, for itself or for what builds on it: it leaves when nothing else is left to leave. */
  readonly isWanted?: boolean
}

export interface KeptBlob {
  readonly sha256: string
  readonly sizeBytes: number
}

/** What an unfinished download left behind. */
export interface Leftover {
  readonly sizeBytes: number
  readonly touchedMs: number
  /** Somebody will go on with it before anyone asks. */
  readonly isWanted?: boolean
}

/**
 * A blob that is no file of any image we know. One that clients of Docker need of a tag is worth as much as an image; all that belong
 * to one Docker image were used last when any of them was, so that they leave together.
 */
export interface Stray extends KeptBlob {
  readonly lastUsedMs: number
  readonly isOfDocker?: boolean
}

export interface Kept {
  readonly images: readonly KeptImage[]
  /**
   * The one that was used longest ago first; at the same time, those that are of Docker last. There may be a million: no more of
   * them are asked for than would leave.
   */
  readonly strays: Iterable<Stray>
  readonly leftovers: readonly Leftover[]
}

/** One thing that would leave. */
export interface Departure {
  readonly kind: 'leftover' | 'stray' | 'image'
  /** Of an image only. */
  readonly uuid: Uuid | undefined
  /** The blobs that leave with it: those that no image needs which is still there. */
  readonly sha256s: readonly string[]
  /** The room that makes. 0 for an image whose blob leaves with another one, further down. */
  readonly sizeBytes: number
  /** Of an origin, the last use of anything that builds on it. */
  readonly lastUsedMs: number
  /** As KeptImage says. */
  readonly isWanted: boolean
  /** In words, for operators. */
  readonly why: string
}

interface Candidate extends Omit<Departure, 'sha256s' | 'sizeBytes'> {
  readonly worth: number
  readonly ancestors: readonly Uuid[]
  readonly blobs: readonly KeptBlob[]
  readonly leftoverBytes: number
}

/**
 * What leaves, in that order, to free `wantedBytes`; all that may leave, when that is not enough.
 *
 * Whatever was used longest ago leaves first, but what is wanted after all that is not. An origin counts as used
 * whenever something was that builds on it: so a chain goes by the last use of its leaf, and leaf first. A blob leaves
 * with the last image that needs it. At equal age, what is worth least goes first: unfinished downloads, then blobs
 * nobody knows, then images.
 */
export function planEviction(kept: Kept, wantedBytes: number): readonly Departure[] {
  if (wantedBytes <= 0) return []
  const users = countUsers(kept.images)
  const departing: { readonly candidate: Candidate; readonly freed: readonly KeptBlob[] }[] = []
  let freedBytes = 0
  for (const candidate of inOrderOfLeaving(kept)) {
    if (freedBytes >= wantedBytes) break
    const freed = candidate.blobs.filter(({ sha256 }) => release(users, sha256) === 0)
    freedBytes += candidate.leftoverBytes + sumOf(freed)
    departing.push({ candidate, freed })
  }
  return withoutTheFutile(departing).map(({ candidate, freed }) => {
    const { kind, uuid, lastUsedMs, isWanted, why, leftoverBytes } = candidate
    const sha256s = freed.map(({ sha256 }) => sha256)
    return { kind, uuid, sha256s, sizeBytes: leftoverBytes + sumOf(freed), lastUsedMs, isWanted, why }
  })
}

/** All images that must stay, and all they build on. */
export function stayingImages(images: readonly KeptImage[]): ReadonlySet<Uuid> {
  return withAncestors(images.filter(({ mustStay }) => mustStay))
}

function withAncestors(images: readonly KeptImage[]): ReadonlySet<Uuid> {
  return new Set(images.flatMap(({ uuid, ancestors }) => [uuid, ...ancestors]))
}

/** Everything that may leave. */
function* inOrderOfLeaving(kept: Kept): Generator<Candidate> {
  const others = candidatesOf(kept)
  let at = 0
  for (const stray of kept.strays) {
    const candidate = candidateOf(stray)
    while (at < others.length && byWorth(others[at]!, candidate) < 0) yield others[at++]!
    yield candidate
  }
  yield* others.slice(at)
}

/** All but strays, in the order of leaving. */
function candidatesOf({ images, leftovers }: Kept): Candidate[] {
  const staying = stayingImages(images)
  const wanted = withAncestors(images.filter(({ isWanted }) => isWanted))
  const lastUses = new Map<Uuid, number>()
  const bases = new Set<Uuid>()
  for (const { uuid, ancestors, lastUsedMs } of images) {
    for (const each of ancestors) bases.add(each)
    for (const each of [uuid, ...ancestors]) lastUses.set(each, Math.max(lastUsedMs, lastUses.get(each) ?? 0))
  }
  const candidates: Candidate[] = [
    ...leftovers.map(({ isWanted = false, sizeBytes, touchedMs }) => ({
      ...NOTHING,
      kind: 'leftover' as const,
      worth: 0,
      isWanted,
      leftoverBytes: sizeBytes,
      lastUsedMs: touchedMs,
      why: 'a download that was never finished',
    })),
    ...images
      .filter(({ uuid }) => !staying.has(uuid))
      .map(({ uuid, ancestors, blobs }) => ({
        ...NOTHING,
        kind: 'image' as const,
        worth: 2,
        isWanted: wanted.has(uuid),
        uuid,
        ancestors,
        blobs: [...new Map(blobs.map((blob) => [blob.sha256, blob])).values()],
        lastUsedMs: lastUses.get(uuid)!,
        why: whyItWouldLeave(wanted.has(uuid), bases.has(uuid)),
      })),
  ]
  return candidates.sort(byWorth)
}

function candidateOf({ isOfDocker = false, lastUsedMs, ...blob }: Stray): Candidate {
  return {
    ...NOTHING,
    kind: 'stray',
    worth: isOfDocker ? 2 : 1,
    blobs: [blob],
    lastUsedMs,
    why: isOfDocker ? 'a file that only clients of Docker need, unused longest' : 'a file of no image we know',
  }
}

function byWorth(one: Candidate, other: Candidate): number {
  return (
    Number(one.isWanted) - Number(other.isWanted) ||
    one.lastUsedMs - other.lastUsedMs ||
    one.worth - other.worth ||
    // What builds on something has all its ancestors and one more.
    other.ancestors.length - one.ancestors.length
  )
}

function whyItWouldLeave(isWanted: boolean, isBase: boolean): string {
  const which = isWanted ? 'unused longest of what is to be here before anyone asks' : 'unused longest'
  return isBase ? `${which}, and all that builds on it leaves too` : which
}

const NOTHING = { uuid: undefined, ancestors: [], blobs: [], leftoverBytes: 0, isWanted: false }

/**
 * Leaves out images that would leave for nothing, all their blobs being needed by others that stay; unless something
 * leaves that they build on. From the end, as origins stand behind what builds on them.
 */
function withoutTheFutile<Entry extends { readonly candidate: Candidate; readonly freed: readonly KeptBlob[] }>(
  departing: readonly Entry[],
): Entry[] {
  const freed = new Set(departing.flatMap((each) => each.freed.map(({ sha256 }) => sha256)))
  const leaving = new Set<Uuid>()
  const remaining: Entry[] = []
  for (const entry of departing.toReversed()) {
    const { kind, uuid, blobs, ancestors } = entry.candidate
    const isOfUse = blobs.some(({ sha256 }) => freed.has(sha256)) || ancestors.some((each) => leaving.has(each))
    if (kind === 'image' && !isOfUse) continue
    if (uuid) leaving.add(uuid)
    remaining.push(entry)
  }
  return remaining.toReversed()
}

/** How many images have each blob. */
function countUsers(images: readonly KeptImage[]): Map<string, number> {
  const users = new Map<string, number>()
  for (const { blobs } of images) {
    for (const sha256 of new Set(blobs.map((blob) => blob.sha256))) users.set(sha256, (users.get(sha256) ?? 0) + 1)
  }
  return users
}

/** One user less. Answers how many are left; a stray has none to begin with. */
function release(users: Map<string, number>, sha256: string): number {
  const left = Math.max(0, (users.get(sha256) ?? 0) - 1)
  users.set(sha256, left)
  return left
}

function sumOf(blobs: readonly KeptBlob[]): number {
  return blobs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
}
