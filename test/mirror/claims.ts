import type { Claim } from '../../src/images/claim.js'
import type { Manifest } from '../../src/images/manifest.js'
import type { HeldImage } from '../../src/store/image-store.js'

/** What `upstream` claims: listed and standing, unless told otherwise. */
export function claim(upstream: string, manifest: Manifest, more: Partial<Claim> = {}): Claim {
  return {
    upstream,
    manifest,
    whereabouts: manifest.files.map(() => undefined),
    isListed: true,
    firstHeardMs: 1000,
    lastHeardMs: 1000,
    withdrawnMs: undefined,
    ...more,
  }
}

export function heldImage(manifest: Manifest): HeldImage {
  return {
    manifest,
    files: manifest.files.map(() => ({ sha256: 'ab'.repeat(32), extents: [], corrections: [] })),
    heldSinceMs: 2000,
    upstream: 'one',
  }
}
