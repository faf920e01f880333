import type { Filter } from './filter.js'

/** Policies that are one word. */
export const CONFLICT_WORDS = ['prefer-order', 'first-seen', 'withhold'] as const

/**
 * Which claim stands of an image that several upstreams tell of.
 *
 * - `prefer-order`: that of the first upstream in the configuration.
 * - `first-seen`: the one that was heard first, also after its upstream has withdrawn it.
 * - `withhold`: none, as long as any two disagree.
 * - `quorum`: one that so many voices make alike.
 * - `upstream`: that of this upstream, or none.
 */
export type ConflictPolicy =
  | (typeof CONFLICT_WORDS)[number]
  | { readonly quorum: number }
  | { readonly upstream: string }

/** A policy for some images. */
export interface ConflictOverride {
  /** As it was written: a uuid, or the text of a filter. */
  readonly text: string
  readonly filter: Filter
  readonly policy: ConflictPolicy
}
