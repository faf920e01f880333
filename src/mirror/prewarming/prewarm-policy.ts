import type { ImageSelection } from '../../images/docker/image-selection.js'
import type { Filter } from '../../images/filter.js'
import type { OpeningHours } from '../../parts/opening-hours.js'

/** Which images are to be here before anyone asks, and when they may be fetched. Of the configuration. */
export interface PrewarmPolicy {
  /** Unique. */
  readonly name: string
  /** Images that match any of these are wanted. */
  readonly match: readonly Filter[]
  /** Unless they match any of these. */
  readonly exclude: readonly Filter[]
  /** On a mirror with channels: only images in one of these; any, if there are none. */
  readonly channels: readonly string[]
  /** Of those that match, the newest of each name; all of them without it. */
  readonly latest?: number | undefined
  /** What newest means. */
  readonly by: 'version' | 'date'
  /** Images of Docker registries that are wanted too. */
  readonly docker: readonly ImageSelection[]
  /** When they may be fetched. */
  readonly hours: OpeningHours
  /** How much may be fetched in one opening; in a day, of a policy that never closes. */
  readonly budget:
    | { readonly bytes: number /** When the next one begins: each time this opens. */; readonly renewal: OpeningHours }
    | undefined
  /** By when everything is to be here: each time this opens. */
  readonly deadline: OpeningHours | undefined
  /** Those with more go first; among equals, the order of the configuration. */
  readonly priority: number
}

/** In the order in which they have their turn. */
export function inOrder(policies: readonly PrewarmPolicy[]): readonly PrewarmPolicy[] {
  return policies.toSorted((one, other) => other.priority - one.priority)
}

/** What the ledger and flights call a policy that wants something. */
export function nameInLedger({ name }: Pick<PrewarmPolicy, 'name'>): string {
  return `prewarm:${name}`
}
