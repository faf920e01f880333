import type { JsonObject } from '../parts/json-object.js'
import { normalisePublishedAt } from './published-at.js'
import { UNSET_OWNER } from './uuid.js'
import { looseBoolean } from './validate-manifest.js'

/**
 * A v1 manifest made ready for the exact upgrade, where servers leave holes that it would refuse or misjudge: no
 * creator (smartos-image-server, dsapid), `disabled: "false"`, dates in forms of their own. Files are not repaired here:
 * `parseFiles` reads those of both versions.
 */
export function repairV1(v1: JsonObject): JsonObject {
  // The upgrade computes `public` and `owner` itself, and refuses some manifests that have them already.
  const { owner, public: _public, ...rest } = v1
  const dates = [v1.published_at, v1.created_at, v1.updated_at]
  return {
    ...rest,
    creator_uuid: v1.creator_uuid || owner || UNSET_OWNER,
    disabled: looseBoolean(v1.disabled) ?? Boolean(v1.disabled),
    published_at: dates.map(normalisePublishedAt).find((date) => date !== undefined),
  }
}
