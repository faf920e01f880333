import type { ImageState } from './manifest.js'
import type { Viewer } from './viewer.js'

/**
 * What a list query means (sdc-imgapi docs/index.md, "ListImages"). All conditions must hold. Filled by the http room
 * from the query string; `undefined` means not asked.
 */
export interface ListQuery {
  /** Who asks, which is part of the question: what others see is another list. */
  readonly viewer: Viewer
  /** Whether to tell where files are stored too. */
  readonly hasAdminFields: boolean
  readonly state: ImageState | 'all'
  readonly name: TextMatch | undefined
  readonly version: TextMatch | undefined
  readonly os: string | undefined
  readonly owner: string | undefined
  readonly type: { readonly value: string; readonly isExcluded: boolean } | undefined
  readonly isPublic: boolean | undefined
  /** Each pair must be among the image's tags; values are compared as text. */
  readonly tags: readonly { readonly key: string; readonly value: string }[]
  readonly billingTags: readonly string[]
  readonly account: string | undefined
  /** As the request says it, or resolved: see `Channels.resolve`. Without it, the default channel. */
  readonly channel?: string | undefined
  /** `undefined` for all. */
  readonly limit: number | undefined
  /** Start at this image (a uuid), or at the images of this instant and later (earlier, when descending). */
  readonly marker: { readonly uuid: string } | { readonly atMs: number } | undefined
  readonly isDescending: boolean
  /** Matches nothing: a parameter was given twice, or empty where the reference then finds nothing. */
  readonly isEmpty: boolean
}

/** `~` in front of a value means: contains the rest. */
export interface TextMatch {
  readonly text: string
  readonly isSubstring: boolean
}
