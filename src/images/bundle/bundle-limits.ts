import type { JsonLimits } from '../../parts/bounded-json.js'

/** Of `bundle.json`: some 40,000 images. */
export const BUNDLE_INDEX_LIMIT_BYTES = 64 * 1024 * 1024
/** Of `volume.json`. */
export const VOLUME_INDEX_LIMIT_BYTES = 64 * 1024 * 1024

/** The longest honest index has about half of these objects, lists and values. */
export const INDEX_LIMITS: JsonLimits = {
  sizeBytes: BUNDLE_INDEX_LIMIT_BYTES,
  depth: 32,
  containers: 1_000_000,
  values: 4_000_000,
}
export const VOLUME_INDEX_LIMITS: JsonLimits = { ...INDEX_LIMITS, sizeBytes: VOLUME_INDEX_LIMIT_BYTES, depth: 8 }

export const MAX_VOLUMES = 9_999
/** Of any list: images, pieces, files of a volume. */
export const MAX_ENTRIES = 500_000
/** Twice what IMGAPI takes, as the store does (sdc-imgapi, lib/constants.js, `MAX_ICON_SIZE`). */
export const MAX_ICON_BYTES = 256 * 1024
