import type { Uuid } from '../../images/uuid.js'
import { sumOf } from '../../parts/sum-of.js'
import { type Fetch, type FetchTerms, type Lines, type MissingFile, schedule } from './schedule.js'

/** A file of an image that is wanted. */
export interface WantedFile {
  /** The same for the same bytes, whatever image has them. */
  readonly key: string
  readonly sizeBytes: number
  /** 0 when it is here; less than its size when a part is. */
  readonly missingBytes: number
  /** Names of upstreams, in the order in which they are asked. */
  readonly offeredBy: readonly string[]
}

/** An image that is wanted for itself, with all it builds on. */
export interface WantedImage {
  readonly uuid: Uuid
  /** Of the whole chain, base first. */
  readonly files: readonly WantedFile[]
  /** Why it cannot be had at all: an origin that nobody knows, a file that nobody offers. */
  readonly obstacle: string | undefined
}

/** What one policy wants, the most valuable first. */
export interface Goal {
  readonly policy: string
  readonly terms: FetchTerms
  readonly images: readonly WantedImage[]
}

export interface PlanQuestion {
  /** In the order in which they have their turn. */
  readonly goals: readonly Goal[]
  readonly lines: Lines
  /** How much room image files may take; `undefined` for as much as there is. */
  readonly roomBytes: number | undefined
  /** Files that stay whatever is wanted here, by key: pinned ones, and those that somebody is busy with. */
  readonly staying: ReadonlyMap<string, number>
  readonly nowMs: number
}

export type Outcome =
  | 'held'
  /** It will come: by its deadline, if there is one. */
  | 'comes'
  /** It will come, but after its deadline. */
  | 'late'
  /** It would not come within a year. */
  | 'never'
  /** It does not fit beside what is worth more. If it is held, it may leave. */
  | 'no room'
  /** Nobody offers it, or something it builds on. */
  | 'not to be had'

/** What becomes of one image for one policy. */
export interface PlannedImage {
  readonly uuid: Uuid
  readonly policy: string
  readonly outcome: Outcome
  /** What is to be fetched for it, and was not for one before it. */
  readonly fetchBytes: number
  readonly startMs: number | undefined
  readonly doneMs: number | undefined
  readonly why: string | undefined
}

export interface Plan {
  /** In the order of goals, and of images in them. */
  readonly images: readonly PlannedImage[]
  /** To be fetched, what several need once. */
  readonly fetchBytes: number
  /** When the last of it is here; `undefined` if that is not within a year. */
  readonly doneMs: number | undefined
}

/**
 * What would be fetched for these goals, and by when.
 *
 * Who is left out: goals and images have their turn in their order, which is the order of their worth. An image with its
 * chain that does not fit into the room beside those before it is left out, and the next one is tried. Of those that
 * remain, one that cannot keep its deadline goes behind those that can (see `schedule`). So nothing suffers from what is
 * worth less, and what is left out or late is always whole images.
 */
export function makePlan(question: PlanQuestion): Plan {
  const { goals, lines, nowMs } = question
  const wishes = goals.flatMap(({ images, policy, terms }) => images.map((image) => ({ image, policy, terms })))
  const hasRoom = fitInto(question)
  const missing = new Map<string, MissingFile>()
  const fetches: Fetch[] = []
  const planned = wishes.map(({ image, policy, terms }) => {
    const { files, obstacle, uuid } = image
    const facts = { uuid, policy, fetchBytes: 0 }
    if (obstacle !== undefined) return { ...facts, outcome: 'not to be had' as const, why: obstacle }
    if (!hasRoom(files))
      return { ...facts, outcome: 'no room' as const, why: 'it does not fit beside what comes before it' }
    const lacking = files.filter(({ missingBytes }) => missingBytes > 0)
    if (lacking.length === 0) return { ...facts, outcome: 'held' as const, why: undefined }
    let fetchBytes = 0
    for (const { key, missingBytes, offeredBy } of lacking) {
      if (missing.has(key)) continue
      fetchBytes += missingBytes
      missing.set(key, { missingBytes, offeredBy })
    }
    const distinct = [...new Set(lacking.map(({ key }) => key))]
    const place = fetches.push({ files: distinct.map((key) => missing.get(key)!), terms }) - 1
    return { ...facts, fetchBytes, place, deadlineMs: terms.deadlineMs, why: undefined }
  })
  const times = schedule(fetches, lines, nowMs)
  const doneMs = times.map((each) => each.doneMs ?? Number.POSITIVE_INFINITY)
  return {
    images: planned.map((each): PlannedImage => {
      const { fetchBytes, policy, uuid, why } = each
      if ('outcome' in each) return { ...each, startMs: undefined, doneMs: undefined }
      const { doneMs, startMs } = times[each.place]!
      const isLate = each.deadlineMs !== undefined && doneMs !== undefined && doneMs > each.deadlineMs
      const outcome = doneMs === undefined ? 'never' : isLate ? 'late' : 'comes'
      return { uuid, policy, outcome, fetchBytes, startMs, doneMs, why }
    }),
    fetchBytes: sumOf([...missing.values()].map(({ missingBytes }) => missingBytes)),
    doneMs: doneMs.includes(Number.POSITIVE_INFINITY) ? undefined : Math.max(nowMs, ...doneMs),
  }
}

/** Says of one image after the other whether its files fit, and gives them the room if they do. */
function fitInto({ roomBytes = Number.POSITIVE_INFINITY, staying }: PlanQuestion) {
  const taken = new Map(staying)
  let leftBytes = roomBytes - sumOf(staying.values())
  return (files: readonly WantedFile[]): boolean => {
    const added = new Map(files.filter(({ key }) => !taken.has(key)).map(({ key, sizeBytes }) => [key, sizeBytes]))
    const addedBytes = sumOf(added.values())
    if (addedBytes > 0 && addedBytes > leftBytes) return false
    leftBytes -= addedBytes
    for (const [key, sizeBytes] of added) taken.set(key, sizeBytes)
    return true
  }
}
