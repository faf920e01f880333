import type { Statement } from '../images/claim.js'
import type { Platform } from '../images/docker/registry-manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { JsonObject } from '../parts/json-object.js'

/** A manifest, an index or an image's config: small JSON that a registry keeps under the SHA-256 of its bytes. */
export interface RegistryObject extends RegistryObjectRef {
  /** As the registry sent them: their digest depends on every blank. */
  readonly bytes: Buffer
}

export interface RegistryObjectRef {
  /** `sha256:` and 64 lower-case hex digits; checked against the bytes, wherever there are bytes. */
  readonly digest: string
  /** Without parameters, such as `application/vnd.oci.image.index.v1+json`. */
  readonly mediaType: string
  readonly sizeBytes: number
}

/** A Docker image, read and verified, as images of IMGAPI. */
export interface RegistryImage {
  /** For our platform, whatever index led to it. */
  readonly manifest: RegistryObject
  /** `sha256:<hex>` */
  readonly configDigest: string
  readonly config: JsonObject
  /** Base first. `digest` as the registry has it. */
  readonly layers: readonly { readonly digest: string; readonly statement: Statement }[]
}

/** What a tag was found to mean. */
export interface TagSighting {
  /** As it stands in urls: `library/busybox`. */
  readonly repository: string
  readonly tag: string
  /** Of what the tag names: an index, or a manifest. */
  readonly digest: string
  /** The image it became: that of its top layer. `undefined` when it could not be made one. */
  readonly image: Uuid | undefined
}

/** Where a registry's small objects are kept between runs, so that none is asked for twice. Handed to the upstream. */
export interface RegistryMemory {
  /** `undefined` when it is not kept. */
  get(digest: string): Promise<RegistryObject | undefined>
  /** Harmless when it is kept already. */
  keep(repository: string, object: RegistryObject): Promise<void>
}

/**
 * A Docker registry, besides the images it becomes: what its own clients ask for. Everything it answers is checked for
 * form here, and objects against their digest. Failures are those of `Upstream`; a registry that denies us something
 * (401 after a fresh token, 403) answers `undefined` like one that does not have it. UPSTREAM_UNREACHABLE says
 * `isOverLimit`, and `retryAfterMs`, while the registry's limit is used up.
 */
export interface RegistryUpstream {
  /** How clients name it: `docker.io`, `registry.example.com:5000`. */
  readonly host: string
  /** Which member of an index is meant where only one may be. */
  readonly platform: Platform
  /** Whether configuration names this tag among the images to offer: it is followed, and what it leads to stays. */
  follows(repository: string, tag: string): boolean
  /**
   * Whether configuration lets clients pull this tag, or, without one, anything of this repository. What is pulled by digest is for the
   * caller to judge, who knows which digests allowed tags have led to; `pull: any` allows everything.
   */
  mayPull(repository: string, tag?: string): boolean
  readonly pullsAny: boolean
  /** @param reference a tag or a digest. Costs nothing of Docker Hub's limit. */
  headManifest(repository: string, reference: string, signal: AbortSignal): Promise<RegistryObjectRef | undefined>
  getManifest(repository: string, reference: string, signal: AbortSignal): Promise<RegistryObject | undefined>
  /**
   * The image that a tag or digest means, whatever `mayPull` says of it. `undefined` when the registry has none, or denies it.
   * @throws MirrorError MANIFEST_INVALID besides, for what can be no image of ours.
   */
  image(
    reference: { readonly repository: string; readonly tag: string | undefined; readonly digest: string | undefined },
    signal: AbortSignal,
  ): Promise<RegistryImage | undefined>
  /** All of them, sorted, whatever paging it took. `undefined`: it knows no such repository. */
  listTags(repository: string, signal: AbortSignal): Promise<readonly string[] | undefined>
  /** The size of a blob in bytes. */
  headBlob(repository: string, digest: string, signal: AbortSignal): Promise<number | undefined>
  /** A statement about this blob that `Upstream.openFile` understands, file 0: layers, configs, whatever it is. */
  blobStatement(repository: string, digest: string, sizeBytes: number): Statement
}
