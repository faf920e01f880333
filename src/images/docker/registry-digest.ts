import { createHash } from 'node:crypto'
import type { Digest } from '../digest.js'

/**
 * The digest of something a registry keeps, from its text `sha256:` and 64 lower-case hex digits. Answers `undefined` for
 * everything else, other algorithms included: uuids of layers exist for sha256 only (RFD 57), and registries use no other.
 */
export function parseRegistryDigest(text: unknown): (Digest & { readonly algorithm: 'sha256' }) | undefined {
  if (typeof text !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(text)) return undefined
  return { algorithm: 'sha256', hex: text.slice('sha256:'.length) }
}

/** `sha256:<hex>` of these bytes, as a registry names them. */
export function sha256Digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/**
 * Whether this has the form of a digest of any algorithm, known to us or not (OCI image-spec, descriptor.md, "Digests").
 * At most 256 characters.
 */
export function isDigestText(text: unknown): text is string {
  return typeof text === 'string' && text.length <= 256 && /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/.test(text)
}
