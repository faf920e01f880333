import type { OpenFile } from './mirror.js'

/** A manifest, index or config for a client. */
export interface ServedObject {
  /** `sha256:<hex>` */
  readonly digest: string
  readonly mediaType: string
  readonly sizeBytes: number
  /** The bytes as the registry sent them. */
  read(): Promise<Buffer>
  /**
   * The registry could not be asked, or its limit is used up: this is what the tag meant when it was last seen, ms since 1970.
   * `undefined` when it is as fresh as configuration demands, or was asked for by digest.
   */
  readonly staleSinceMs: number | undefined
}

/** A blob of a repository, as far as it can be described without fetching a byte of it. */
export interface BlobOnOffer {
  readonly digest: string
  readonly sizeBytes: number
  /** ms since 1970, when it is held. */
  readonly keptMs: number | undefined
  /** As of `FileOnOffer`. */
  readonly isSpoilt: boolean
  /** As `FileOnOffer.open`: the same flights, the same blobs. */
  open(signal: AbortSignal): Promise<OpenFile>
}

/**
 * What clients of a Docker registry are answered. Only repositories that the configuration lets through exist here.
 *
 * Failures: REPOSITORY_UNKNOWN, MANIFEST_UNKNOWN, BLOB_UNKNOWN; UPSTREAM_UNREACHABLE (`isOverLimit` when the registry's limit is used up) when we hold
 * no answer either; UPSTREAM_MISBEHAVED; STORE_...; IMAGE_INCOMPLETE for what offline is known but not held.
 */
export interface Registry {
  /**
   * The repository that a client means. `name` is the path of its url, perhaps beginning with a registry's host
   * (`docker.io/library/busybox`); `namespace` is containerd's `ns` parameter. Without both, the first configured
   * registry that has it is meant; `busybox` is `library/busybox` at Docker Hub.
   * @throws MirrorError REPOSITORY_UNKNOWN
   */
  repository(name: string, namespace: string | undefined): Repository
  /** Names of all repositories of which we know a tag, sorted: what /v2/_catalog lists. */
  catalogue(): readonly string[]
}

export interface Repository {
  /** `docker.io` */
  readonly host: string
  /** `library/busybox` */
  readonly name: string
  /**
   * @param reference a tag, or `sha256:<hex>`.
   * @param accepts which media types the client takes. A list or index that it does not take is answered with its member for our
   *   platform; by digest it is always the object itself.
   * @param isHead nothing more is fetched than a HEAD needs.
   */
  manifest(
    reference: string,
    accepts: (mediaType: string) => boolean,
    options: { readonly isHead: boolean; readonly signal: AbortSignal },
  ): Promise<ServedObject>
  blob(digest: string, signal: AbortSignal): Promise<BlobOnOffer>
  /** Sorted; the registry's when it answers, else those we know. */
  tags(signal: AbortSignal): Promise<readonly string[]>
}
