import type { Config } from '../config.js'
import { ConflictPolicies } from '../mirror/conflict-policies.js'

/** What becomes of images that upstreams disagree about, as the configuration says it. */
export function policiesOf({ conflictOverrides, conflicts, upstreams }: Config): ConflictPolicies {
  return new ConflictPolicies({
    policy: conflicts,
    overrides: conflictOverrides,
    voices: new Map(upstreams.map(({ name, voice }) => [name, voice ?? name])),
  })
}
