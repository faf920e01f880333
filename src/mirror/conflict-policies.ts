import type { ConflictOverride, ConflictPolicy } from '../images/conflict-policy.js'
import { matchesFilter } from '../images/filter.js'
import type { Manifest } from '../images/manifest.js'
import { parseUuid, type Uuid } from '../images/uuid.js'

/** The policy that holds for an image, and the place in the configuration that says so. */
export interface PolicyInForce {
  readonly policy: ConflictPolicy
  /** Such as `conflicts` or `conflictOverrides: "type=docker"`. */
  readonly from: string
}

export interface ConflictPoliciesOptions {
  readonly policy?: ConflictPolicy
  /** In the order of the configuration. */
  readonly overrides?: readonly ConflictOverride[]
  /** By name of upstream: whose word it passes on. One that is not named here speaks for itself. */
  readonly voices?: ReadonlyMap<string, string>
}

/** What the configuration says of images that upstreams disagree about. Without options, order decides. */
export class ConflictPolicies {
  readonly #general: PolicyInForce
  readonly #byUuid: ReadonlyMap<Uuid, PolicyInForce>
  readonly #byFilter: readonly (PolicyInForce & { readonly override: ConflictOverride })[]
  readonly #voices: ReadonlyMap<string, string>

  constructor({ policy = 'prefer-order', overrides = [], voices = new Map() }: ConflictPoliciesOptions = {}) {
    this.#general = { policy, from: 'conflicts' }
    const byUuid = new Map<Uuid, PolicyInForce>()
    const byFilter: (PolicyInForce & { override: ConflictOverride })[] = []
    for (const override of overrides) {
      const inForce = { policy: override.policy, from: `conflictOverrides: "${override.text}"` }
      const uuid = parseUuid(override.text)
      if (uuid) byUuid.set(uuid, inForce)
      else byFilter.push({ ...inForce, override })
    }
    this.#byUuid = byUuid
    this.#byFilter = byFilter
    this.#voices = voices
  }

  /**
   * What holds for this image: an override for its uuid, else the first filter that fits, else what holds for all.
   * @param manifest as it is held, else as the first upstream in order claims it: nobody behind that one can choose the
   *   policy for an image by what they say of it.
   */
  for(manifest: Manifest): PolicyInForce {
    const named = this.#byUuid.get(manifest.uuid)
    if (named) return named
    for (const { override, policy, from } of this.#byFilter) {
      if (matchesFilter(override.filter, manifest)) return { policy, from }
    }
    return this.#general
  }

  /** Upstreams of one voice count once. */
  voiceOf(upstream: string): string {
    return this.#voices.get(upstream) ?? upstream
  }
}
