import { isMirrorError } from '../errors.js'
import { parseRegistryDigest } from '../images/docker/registry-digest.js'
import { type PlatformEntry, parseRegistryManifest } from '../images/docker/registry-manifest.js'
import { forEachConcurrently } from '../parts/for-each-concurrently.js'
import type { Store } from '../store/store.js'

/** What a manifest is made of. */
export interface ManifestBlob {
  readonly digest: string
  /** Not said by schema 1. */
  readonly sizeBytes: number | undefined
  /** It is elsewhere, at urls that the manifest names: nobody asks us for it. */
  readonly isForeign: boolean
}

type Contents =
  | { readonly kind: 'index'; readonly members: readonly PlatformEntry[] }
  /** The config first, then layers. */
  | { readonly kind: 'image'; readonly blobs: readonly ManifestBlob[] }
  /** No manifest: an image's config. */
  | { readonly kind: 'other' }

const READS_AT_A_TIME = 16
/** Of what could not be kept, because the disk is full, so many are remembered. */
const UNKEPT_REMEMBERED = 1000
/** An index in an index, and one more. */
const MAX_NESTING = 3

/**
 * What the kept manifests and indexes of registries say, in memory: which blobs and members belong to which. Read from the
 * store when it is needed first; forgotten when they are let go of, as manifests never change. About 2.3 KB for an image
 * of ten layers (measured with 20,000).
 */
export class RegistryContents {
  readonly #store: Pick<Store, 'blobs' | 'registry'>
  readonly #known = new Map<string, Contents>()
  /** Those of `#known` that were not kept when they were learnt; the oldest first. */
  readonly #unkept = new Set<string>()
  /** By the digest of a blob or a member: which manifests and indexes have it. Most are in one only. */
  readonly #wholes = new Map<string, string | Set<string>>()

  constructor(store: Pick<Store, 'blobs' | 'registry'>) {
    this.#store = store
  }

  /** Takes in an object as a registry sent it, or as it was kept. */
  learn(digest: string, object: { readonly mediaType: string; readonly bytes: Buffer }): void {
    if (this.#known.has(digest)) return
    const contents = contentsOf(object)
    this.#known.set(digest, contents)
    for (const part of partsOf(contents)) this.#link(part.digest, digest)
    this.#unkept.add(digest)
    if (this.#unkept.size <= UNKEPT_REMEMBERED) return
    for (const each of this.#unkept) {
      if (this.#unkept.size <= UNKEPT_REMEMBERED / 2) return
      this.#unkept.delete(each)
      if (this.#store.registry.objectSizeBytes(each) === undefined) this.forget(each)
    }
  }

  /** It is kept no more. */
  forget(digest: string): void {
    const contents = this.#known.get(digest)
    for (const part of contents ? partsOf(contents) : []) this.#unlink(part.digest, digest)
    this.#known.delete(digest)
    this.#unkept.delete(digest)
  }

  /** Reads what the store has of these, and of the members of those that are indexes. */
  async read(digests: Iterable<string>): Promise<void> {
    let wanted = new Set(digests)
    for (let level = 0; level < MAX_NESTING && wanted.size > 0; level++) {
      await forEachConcurrently(wanted, READS_AT_A_TIME, (digest) => this.#read(digest))
      wanted = new Set([...wanted].flatMap((digest) => this.membersOf(digest).map((member) => member.digest)))
    }
  }

  /** Of an index that has been read; otherwise none. */
  membersOf(digest: string): readonly PlatformEntry[] {
    const contents = this.#known.get(digest)
    return contents?.kind === 'index' ? contents.members : []
  }

  /** Of a manifest that has been read; otherwise none. */
  blobsOf(digest: string): readonly ManifestBlob[] {
    const contents = this.#known.get(digest)
    return contents?.kind === 'image' ? contents.blobs : []
  }

  /** Whether this has been read and is a manifest or an index. */
  isManifest(digest: string): boolean {
    const contents = this.#known.get(digest)
    return contents !== undefined && contents.kind !== 'other'
  }

  /** `digest` and all that it leads to, manifests and indexes, read or not. */
  reachableFrom(digests: Iterable<string>): Set<string> {
    const reached = new Set(digests)
    // A set that grows is walked to its new end; what is in it is not added again, so rings end too.
    for (const digest of reached) for (const member of this.membersOf(digest)) reached.add(member.digest)
    return reached
  }

  /** Everything that whoever has this digest may ask for next: itself, all it leads to, and their blobs. */
  *neededFor(digest: string): Generator<string> {
    for (const manifest of this.reachableFrom([digest])) {
      yield manifest
      for (const blob of this.blobsOf(manifest)) yield blob.digest
    }
  }

  /** Every manifest that has been read and has this blob, and every index that leads to one of them. */
  leadingTo(blob: string): ReadonlySet<string> {
    const leading = new Set<string>(this.#wholesOf(blob))
    for (const part of leading) for (const whole of this.#wholesOf(part)) leading.add(whole)
    return leading
  }

  /** Whether all is kept that a client needs of this: of an index, for one platform at least. */
  isComplete(digest: string, nesting = 0): boolean {
    if (this.#store.registry.objectSizeBytes(digest) === undefined || nesting > MAX_NESTING) return false
    const contents = this.#known.get(digest)
    if (contents?.kind === 'image') return contents.blobs.every((blob) => this.#isKept(blob))
    const images = this.membersOf(digest).filter(({ isAttestation }) => !isAttestation)
    return images.some((member) => this.isComplete(member.digest, nesting + 1))
  }

  #isKept({ digest, sizeBytes, isForeign }: ManifestBlob): boolean {
    const { blobs, registry } = this.#store
    if (isForeign || registry.objectSizeBytes(digest) !== undefined) return true
    const parsed = parseRegistryDigest(digest)
    return parsed !== undefined && blobs.find(parsed, sizeBytes) !== undefined
  }

  #wholesOf(part: string): Iterable<string> {
    const wholes = this.#wholes.get(part) ?? []
    return typeof wholes === 'string' ? [wholes] : wholes
  }

  #link(part: string, whole: string): void {
    const known = this.#wholes.get(part)
    if (known === undefined) this.#wholes.set(part, whole)
    else if (typeof known !== 'string') known.add(whole)
    else if (known !== whole) this.#wholes.set(part, new Set([known, whole]))
  }

  #unlink(part: string, whole: string): void {
    const known = this.#wholes.get(part)
    if (known === undefined) return
    if (typeof known !== 'string') known.delete(whole)
    if (known === whole || (typeof known !== 'string' && known.size === 0)) this.#wholes.delete(part)
  }

  async #read(digest: string): Promise<void> {
    if (this.#known.has(digest)) return
    const object = await this.#store.registry.object(digest)
    if (object) this.learn(digest, object)
  }
}

function partsOf(contents: Contents): readonly { readonly digest: string }[] {
  if (contents.kind === 'index') return contents.members
  return contents.kind === 'image' ? contents.blobs : []
}

function contentsOf({ mediaType, bytes }: { readonly mediaType: string; readonly bytes: Buffer }): Contents {
  try {
    const manifest = parseRegistryManifest(bytes, mediaType)
    if (manifest.kind === 'index') return { kind: 'index', members: manifest.entries }
    const layers = manifest.layers.map((layer) => ({
      digest: layer.digest,
      sizeBytes: 'sizeBytes' in layer ? Number(layer.sizeBytes) : undefined,
      isForeign: 'urls' in layer && layer.urls !== undefined,
    }))
    if (manifest.kind === 'schema1') return { kind: 'image', blobs: layers }
    const { digest, sizeBytes } = manifest.config
    return { kind: 'image', blobs: [{ digest, sizeBytes, isForeign: false }, ...layers] }
  } catch (error) {
    if (!isMirrorError(error, 'MANIFEST_INVALID')) throw error
    return { kind: 'other' }
  }
}
