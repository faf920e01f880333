import type { Digest } from '../digest.js'
import type { Manifest } from '../manifest.js'
import type { Uuid } from '../uuid.js'

/** A file of an image as it was measured when it was kept: all of its digests. */
export interface BundledFile {
  readonly sizeBytes: number
  readonly sha256: string
  readonly sha1: string
  readonly md5: string
}

/** An icon of an image. */
export interface Icon {
  readonly type: 'image/jpeg' | 'image/gif' | 'image/png'
  readonly sizeBytes: number
  readonly sha256: string
}

export interface BundledImage {
  /** Of each file it declares all digests that `files` has, once it was read from a bundle. */
  readonly manifest: Manifest
  /** The upstream whose claim the exporting mirror took. */
  readonly upstream: string
  /** In the order of `manifest.files`. */
  readonly files: readonly BundledFile[]
  readonly icon: Icon | undefined
  /** The exporting mirror published it itself. */
  readonly isPublication: boolean
}

/** Bytes [startBytes, endBytes) of a file, and the volume they are on. Bounds are multiples of 1 MiB, or the file's end. */
export interface Piece {
  readonly sha256: string
  readonly startBytes: number
  readonly endBytes: number
  readonly volume: number
}

/** An image that is not in the bundle because the receiver has it. */
export interface RequiredImage {
  readonly uuid: Uuid
  readonly name: string
  readonly version: string
  readonly files: readonly { readonly sizeBytes: number; readonly sha256: string }[]
}

/** An object of a Docker registry in the bundle, and the repositories it was seen in, as `host/repository`. */
export interface BundledObject {
  readonly digest: Digest
  readonly sizeBytes: number
  readonly mediaType: string
  readonly repositories: readonly string[]
}

export interface BundledTag {
  readonly host: string
  readonly repository: string
  readonly tag: string
  readonly digest: string
}

/** `bundle.json`: what a bundle is. Its form is in docs/bundle-format.md. */
export interface BundleIndex {
  readonly from: { readonly site: string; readonly key: string }
  /** The inventory it answers; without a `key`, nobody whom the exporting mirror trusts had signed that. */
  readonly for: { readonly site: string; readonly key: string | undefined; readonly inventory: string } | undefined
  readonly series: { readonly name: string; readonly number: number; readonly previous: string | undefined } | undefined
  readonly select: readonly string[]
  /** What others build on comes first. */
  readonly images: readonly BundledImage[]
  readonly requires: readonly RequiredImage[]
  readonly pieces: readonly Piece[]
  readonly volumes: number
  readonly docker: {
    readonly objects: readonly BundledObject[]
    /** Layers as clients of Docker need them, where the image of IMGAPI has them packed anew. Pieces are of these, too. */
    readonly layers: readonly BundledFile[]
    readonly tags: readonly BundledTag[]
  }
  readonly provenance: { readonly sizeBytes: number; readonly sha256: string }
}
