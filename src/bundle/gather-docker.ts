import type { BundledFile, BundledObject, BundledTag } from '../images/bundle/bundle-index.js'
import { parseRegistryDigest } from '../images/docker/registry-digest.js'
import type { Manifest } from '../images/manifest.js'
import { RegistryContents } from '../mirror/registry-contents.js'
import type { JsonObject } from '../parts/json-object.js'
import type { KeptTag } from '../store/registry-store.js'
import type { Store } from '../store/store.js'
import type { Receiver } from './receiver.js'

export interface DockerQuestion {
  /** All that the receiver will have afterwards, as far as it is in the bundle or required by it. */
  readonly manifests: readonly Manifest[]
  /** SHA-256 of files in the bundle. */
  readonly files: ReadonlySet<string>
  readonly receiver: Receiver
  readonly store: Pick<Store, 'blobs' | 'registry'>
}

export interface DockerContents {
  readonly objects: readonly BundledObject[]
  /** Layers as their registry has them, where their images have them packed anew. */
  readonly layers: readonly BundledFile[]
  readonly tags: readonly BundledTag[]
  readonly warnings: readonly string[]
}

/** Which layers clients of Docker need that no image of the bundle has, and what is lacking. */
interface Layers {
  readonly needed: readonly BundledFile[]
  readonly lacking: string | undefined
}

/**
 * What clients of Docker need besides the images' files: manifests, indexes and configs of the images whose layers the receiver
 * will have, the tags that lead to them, and layers in their own form where IMGAPI has another. Of an index, the images that are whole.
 */
export async function gatherDocker({ files, manifests, receiver, store }: DockerQuestion): Promise<DockerContents> {
  const available = new Set(manifests.flatMap(layerDigestOf))
  if (available.size === 0) return { objects: [], layers: [], tags: [], warnings: [] }
  const { blobs, registry } = store
  const contents = new RegistryContents(store)
  const kept = [...registry.tags()].sort(byName)
  await contents.read(new Set(kept.map(({ digest }) => digest)))

  const layersOf = (image: string): Layers => {
    const needed: BundledFile[] = []
    for (const { digest, isForeign, sizeBytes } of contents.blobsOf(image)) {
      const hex = parseRegistryDigest(digest)?.hex
      if (hex === undefined) return { needed, lacking: digest }
      const isThere = files.has(hex) || receiver.hasFile(hex) || registry.objectSizeBytes(digest) !== undefined
      if (isForeign || isThere) continue
      const blob = blobs.find({ algorithm: 'sha256', hex }, sizeBytes)
      if (!blob) return { needed, lacking: digest }
      needed.push({ sizeBytes: blob.sizeBytes, sha256: hex, sha1: blob.sha1, md5: blob.md5 })
    }
    return { needed, lacking: undefined }
  }
  /** Whether the bundle is about this image: all its layers are. */
  const isMeant = (image: string) => {
    const layers = contents
      .blobsOf(image)
      .filter(({ digest, isForeign }) => !isForeign && registry.objectSizeBytes(digest) === undefined)
    return layers.length > 0 && layers.every(({ digest }) => available.has(digest))
  }

  const objects = new Set<string>()
  const layers = new Map<string, BundledFile>()
  const tags: BundledTag[] = []
  const warnings: string[] = []
  for (const { digest, host, repository, tag } of kept) {
    const meant = [...contents.reachableFrom([digest])].filter(isMeant)
    const images = meant.map((image) => ({ image, ...layersOf(image) }))
    const whole = images.filter(({ lacking }) => lacking === undefined)
    const [first] = images.filter(({ lacking }) => lacking !== undefined)
    if (first) {
      warnings.push(`left out ${host}/${repository}:${tag} for clients of Docker: ${first.lacking} is not kept here`)
    }
    if (whole.length === 0) continue
    tags.push({ host, repository, tag, digest })
    const wholes = new Set(whole.map(({ image }) => image))
    for (const each of pathsTo(contents, digest, wholes)) objects.add(each)
    for (const { image, needed } of whole) {
      for (const blob of contents.blobsOf(image)) {
        if (registry.objectSizeBytes(blob.digest) !== undefined) objects.add(blob.digest)
      }
      for (const layer of needed) layers.set(layer.sha256, layer)
    }
  }
  return {
    objects: (await Promise.all([...objects].sort().map((digest) => describeObject(store, digest)))).flat(),
    layers: [...layers.values()].sort((one, other) => (one.sha256 < other.sha256 ? -1 : 1)),
    tags,
    warnings,
  }
}

/** `root`, and the indexes and images that lead from it to these. */
function pathsTo(contents: RegistryContents, root: string, images: ReadonlySet<string>): string[] {
  return [...contents.reachableFrom([root])].filter(
    (digest) => digest === root || [...contents.reachableFrom([digest])].some((each) => images.has(each)),
  )
}

async function describeObject({ registry }: Pick<Store, 'registry'>, digest: string): Promise<BundledObject[]> {
  const [object, parsed] = [await registry.object(digest), parseRegistryDigest(digest)]
  if (!object || !parsed) return []
  const repositories = [...registry.repositoriesOf(digest)].sort()
  return [{ digest: parsed, sizeBytes: object.bytes.length, mediaType: object.mediaType, repositories }]
}

/** As its registry names the layer that this image is. */
function layerDigestOf({ json, type }: Manifest): string[] {
  if (type !== 'docker') return []
  const { tags } = JSON.parse(json) as { tags?: JsonObject }
  const id = tags?.['docker:id']
  return typeof id === 'string' ? [id] : []
}

function byName(one: KeptTag, other: KeptTag): number {
  const [name, otherName] = [one, other].map(({ host, repository, tag }) => `${host}/${repository}:${tag}`)
  return name! < otherName! ? -1 : 1
}
