import type { Compression, Manifest } from '../manifest.js'
import { serializeManifest } from '../serialize-manifest.js'
import { orderDigests, type WireManifest } from '../wire-manifest.js'

/** What a layer's bytes are, as we have them ourselves. Digests in lower-case hex. */
export interface LayerFacts {
  readonly sizeBytes: number
  readonly sha256: string
  readonly sha1: string
  /** By its first bytes. */
  readonly compression: Compression
}

/**
 * The manifest of a Docker layer with what is known of its file: shown are size, sha1 and compression, whatever was
 * claimed of them. Everything else stays as it is claimed. The same object if it says all that already.
 */
export function withLayerFacts(manifest: Manifest, facts: LayerFacts): Manifest {
  const [file, ...others] = manifest.files
  if (!file) return manifest
  const { compression, sha1, sha256, sizeBytes } = facts
  const digests = orderDigests([
    { algorithm: 'sha256', hex: sha256 },
    { algorithm: 'sha1', hex: sha1 },
    ...file.digests,
  ])
  const wire = JSON.parse(manifest.json) as WireManifest
  const files = [{ ...wire.files[0], sha1, size: sizeBytes, compression }, ...wire.files.slice(1)]
  const known = { ...wire, type: wire.type ?? 'null', os: wire.os ?? 'null', files }
  const json = serializeManifest(known)
  if (json === manifest.json && digests.length === file.digests.length) return manifest
  return { ...manifest, files: [{ sizeBytes, compression, digests }, ...others], json }
}

/** The manifest of a Docker layer whose file was made anew here: of the original nothing is left but `docker:id`. */
export function asRemade(manifest: Manifest, facts: LayerFacts): Manifest {
  const [file, ...others] = manifest.files
  return file ? withLayerFacts({ ...manifest, files: [{ ...file, digests: [] }, ...others] }, facts) : manifest
}
