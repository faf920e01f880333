import type { Audited } from './audit-store.js'

/** A manifest, an index or an image's config, kept under the SHA-256 of its bytes. */
export interface KeptObject {
  /** `sha256:` and 64 lower-case hex digits. */
  readonly digest: string
  readonly mediaType: string
  readonly bytes: Buffer
}

/** What a tag of a registry was found to mean, and until when it was seen to mean that. */
export interface KeptTag {
  /** The registry as clients name it: `docker.io`. */
  readonly host: string
  readonly repository: string
  readonly tag: string
  readonly digest: string
  readonly firstSeenMs: number
  readonly lastSeenMs: number
}

/** Layer bytes that were made from others here, because no client could unpack the original. */
export interface Derivation {
  /** What it was made from, and what it became: sha256, lower-case hex. */
  readonly fromSha256: string
  readonly sha256: string
  readonly sha1: string
  readonly md5: string
  readonly sizeBytes: number
  /** Such as `zstd to gzip`. */
  readonly how: string
  readonly atMs: number
}

/**
 * What Docker registries said, at rest. Objects are plain files under their digest; which repositories have them, tags
 * with their whole history, and derivations are append-only lines, each with a sum of its own. All but the objects' bytes is in memory.
 */
export interface RegistryStore extends Audited {
  /** Verified as it is read: a damaged one is set aside, and answered as if it were not kept. */
  object(digest: string): Promise<KeptObject | undefined>
  /** Of an object that is kept, without reading it. */
  objectSizeBytes(digest: string): number | undefined
  /** Durable when it resolves. */
  keepObject(host: string, repository: string, object: KeptObject): Promise<void>
  /** The repositories an object was seen in, as `host/repository`. */
  repositoriesOf(digest: string): ReadonlySet<string>
  /** Digests of the objects of a repository. */
  objectsOf(host: string, repository: string): ReadonlySet<string>

  /** What tags meant last; all of them, or those of one repository. In no order. */
  tags(host?: string, repository?: string): Iterable<KeptTag>
  tag(host: string, repository: string, tag: string): KeptTag | undefined
  /** What a tag has meant, oldest first. Its moves are never forgotten, unless the tag is. */
  historyOf(host: string, repository: string, tag: string): readonly KeptTag[]
  /** Answers whether it means something else than before. Durable when it resolves, if it does; else soon. */
  sawTag(sighting: Omit<KeptTag, 'firstSeenMs' | 'lastSeenMs'>, seenMs: number): Promise<boolean>
  /** The registry has this tag no more: it is not listed, but its history stays. */
  lostTag(host: string, repository: string, tag: string, seenMs: number): Promise<void>

  /** Of every tag what it has meant, oldest first and never empty; those that were lost too. */
  histories(): Iterable<readonly KeptTag[]>
  /** Digests of everything that is kept. */
  objects(): Iterable<string>
  /**
   * What objects and tags take, about: objects in blocks of the disk, and some room for what has to be known of them. Derivations
   * do not count.
   */
  readonly sizeBytes: number
  /** What letting go of this object, or forgetting this tag, takes off `sizeBytes`. */
  objectCostBytes(digest: string): number
  tagCostBytes(host: string, repository: string, tag: string): number
  /** Lets go of these. Durable when it resolves; what is not kept is not missed. */
  letGoOfObjects(digests: readonly string[]): Promise<void>
  /** Forgets these tags with all they have meant. Durable when it resolves. */
  forgetTags(tags: readonly Pick<KeptTag, 'host' | 'repository' | 'tag'>[]): Promise<void>

  derivationOf(fromSha256: string): Derivation | undefined
  /** Whether this was made of something here, or something of it. */
  isOfDerivation(sha256: string): boolean
  keepDerivation(derivation: Derivation): Promise<void>
}
