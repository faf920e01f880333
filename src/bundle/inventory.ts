import type { Want } from '../images/bundle/want.js'
import type { Uuid } from '../images/uuid.js'

export type { Want } from '../images/bundle/want.js'

/** Bytes [startBytes, endBytes) of a file. */
export interface ByteRange {
  readonly startBytes: number
  readonly endBytes: number
}

/**
 * What a site holds, as it says it to whoever packs a bundle for it. Of images and files it has short salted hashes only, so that
 * a thousand of them fit on a printed page or two: `has` is wrong once in about a billion times, and then not again, as every inventory has a salt of its own.
 */
export interface Inventory {
  readonly site: string
  readonly atMs: number
  /** The name of the key that signed it, or that it claims to be signed with; `undefined` when nobody did. */
  readonly key: string | undefined
  /** Whether we trust that key, and it has signed this. */
  readonly isTrusted: boolean
  /** SHA-256 of its text without the signature. */
  readonly sha256: string
  /** Whether this image is held there with exactly these files. */
  hasImage(uuid: Uuid, sha256s: readonly string[]): boolean
  /** Of files that belong to none of these images: what those have is for whoever knows them to say. */
  hasFile(sha256: string): boolean
  /** What is there of a file that is not whole; ascending, without overlap. */
  partsOf(sha256: string, sizeBytes: number): readonly ByteRange[]
  readonly wants: readonly Want[]
}
