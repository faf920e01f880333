import { MirrorError } from '../../errors.js'
import { brief, isJsonObject, type JsonObject } from '../../parts/json-object.js'
import type { Compression, Manifest } from '../manifest.js'
import { parseManifest } from '../parse-manifest.js'
import { normalisePublishedAt } from '../published-at.js'
import { UNSET_OWNER, type Uuid } from '../uuid.js'
import { isTag } from './reference.js'
import { parseRegistryDigest, sha256Digest } from './registry-digest.js'
import type { Descriptor } from './registry-manifest.js'
import type { LayerCompression } from './sniff-compression.js'

/** One layer of a Docker image, as an image of IMGAPI. */
export interface LayerImage {
  readonly manifest: Manifest
  readonly layer: Descriptor
  /**
   * Its media type says that it is compressed in a way that IMGAPI has no word for and imgadm cannot unpack (zstd). The
   * manifest is of the layer as it is, and says `none`: make another of what it becomes (`withLayerFacts`), or refuse it.
   */
  readonly needsRecompression: boolean
  /** SHA-256 of the layer unpacked, lower-case hex, as the config declares it (`rootfs.diff_ids`); schema 1 does not. */
  readonly unpackedSha256: string | undefined
}

/** A Docker image, read and verified. */
export interface DockerImage {
  /** As docker shows its repository: `busybox`, `quay.io/foo/bar`. */
  readonly localName: string
  /** All tags that mean it. Only its top layer's image has them. */
  readonly tags: readonly string[]
  /** Base first. */
  readonly layers: readonly Descriptor[]
  readonly config: JsonObject
}

const MAX_DESCRIPTION_LENGTH = 10_240
const MAX_ARCHITECTURE_LENGTH = 128
/** All of IMGAPI's tags together may have 102,400 characters; so many of them may be names of Docker's tags. */
const MAX_TAGS_LENGTH = 32 * 1024
const MAX_IMGAPI_TAGS_LENGTH = 102_400
/** When an image has no date at all; OCI asks for none. */
const NO_DATE = '1970-01-01T00:00:00.000Z'

const CONFIG_TYPES = ['application/vnd.docker.container.image.v1+json', 'application/vnd.oci.image.config.v1+json']

const LAYER_TYPES = [
  /^application\/vnd\.docker\.image\.rootfs\.(?<foreign>foreign\.)?diff\.tar(?:\.(?<compression>gzip|bzip2|xz|zstd))?$/,
  /^application\/vnd\.oci\.image\.layer\.(?<foreign>nondistributable\.)?v1\.tar(?:\+(?<compression>gzip|bzip2|xz|zstd))?$/,
]

/** Whether a manifest with a config of this type is an image at all, and not a chart, a signature or a list of parts. */
export function isImageConfigType(mediaType: string): boolean {
  return CONFIG_TYPES.includes(mediaType)
}

/**
 * The uuid of the image that these layers make, base first, up to and including its own.
 *
 * Source: RFD 57; joyent/node-imgmanifest, lib/imgmanifest.js, `imgUuidFromDockerDigests`. No version or variant bits
 * are set. Upper case, which it takes for another digest, is folded; no layers are refused.
 *
 * @param digests `sha256:<hex>`
 * @throws MirrorError MANIFEST_INVALID
 */
export function uuidOfLayers(digests: readonly string[]): Uuid {
  const folded = digests.map((digest) => digest.toLowerCase())
  const wrong = folded.findIndex((digest) => !parseRegistryDigest(digest))
  if (wrong !== -1) throw refusal(`a layer has a digest that is not sha256: ${brief(digests[wrong])}`)
  if (folded.length === 0) throw refusal('it has no layers')
  const { hex } = parseRegistryDigest(sha256Digest(Buffer.from(folded.join(' '))))!
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)]
  return parts.join('-') as Uuid
}

/**
 * The images of IMGAPI that a Docker image becomes: one for each layer, base first, each the origin of the next.
 *
 * Fields are imgadm's (joyent/node-imgmanifest, lib/imgmanifest.js, `imgManifestFromDockerInfo`), so that a host finds
 * here what it would have made itself: every layer has the config of the image, and the top one its tags. Added is what
 * an IMGAPI needs: state, files, an os where imgadm has none, a date where the image has none. `files[0]` has no sha1,
 * which nobody knows before the layer is pulled; its sha256 is what the bytes are held to.
 *
 * @throws MirrorError MANIFEST_INVALID for what can become no image: nothing of it is offered then.
 */
export function mapDockerImage(image: DockerImage): readonly LayerImage[] {
  const { layers } = image
  const digests = layers.map(({ digest }) => digest)
  if (layers.length === 0) throw refusal('it has no layers')
  const facts = factsOf(image)
  const unpacked = unpackedDigestsOf(image)
  let origin: Uuid | undefined
  return layers.map((layer, index): LayerImage => {
    const compression = compressionOf(layer)
    const uuid = uuidOfLayers(digests.slice(0, index + 1))
    const tags = index === layers.length - 1 ? image.tags : []
    const manifest = makeLayerManifest(layer, { uuid, origin, compression, tags }, facts)
    origin = uuid
    return { manifest, layer, needsRecompression: compression === 'zstd', unpackedSha256: unpacked[index] }
  })
}

/** What the manifests of all layers have in common. */
interface ImageFacts {
  readonly localName: string
  readonly publishedAt: string
  readonly os: 'linux' | 'other'
  readonly description: string
  readonly architecture: string | undefined
  readonly config: JsonObject | undefined
}

function factsOf({ localName, config }: DockerImage): ImageFacts {
  const { architecture } = config
  const isArchitecture = typeof architecture === 'string' && architecture.length <= MAX_ARCHITECTURE_LENGTH
  return {
    localName,
    publishedAt: publishedAtOf(config),
    os: config.os === 'linux' ? 'linux' : 'other',
    description: descriptionOf(config).slice(0, MAX_DESCRIPTION_LENGTH),
    architecture: isArchitecture ? architecture : undefined,
    config: isJsonObject(config.config) ? runConfigOf(config.config) : undefined,
  }
}

/** One for each layer, or none at all when they are not what they should be. */
function unpackedDigestsOf({ config, layers }: DockerImage): readonly (string | undefined)[] {
  const listed = isJsonObject(config.rootfs) ? config.rootfs.diff_ids : undefined
  if (!Array.isArray(listed) || listed.length !== layers.length) return []
  return listed.map((digest) => (typeof digest === 'string' ? parseRegistryDigest(digest)?.hex : undefined))
}

/** When it was built; else when the newest step of its history was. Always with milliseconds, as the reference writes it. */
function publishedAtOf({ created, history }: JsonObject): string {
  const steps = Array.isArray(history) ? history.toReversed() : []
  const dates = [created, ...steps.map((step) => (isJsonObject(step) ? step.created : undefined))]
  for (const date of dates) {
    const normalised = normalisePublishedAt(date)
    if (normalised !== undefined) return new Date(normalised).toISOString()
  }
  return NO_DATE
}

function descriptionOf({ comment, container_config: container }: JsonObject): string {
  if (typeof comment === 'string' && comment !== '') return comment
  const command = isJsonObject(container) ? container.Cmd : undefined
  if (!Array.isArray(command)) return ''
  return command.filter((word) => typeof word === 'string').join(' ')
}

/** What the zone is to run. What is not of Docker's types is left out: vmadm would stumble over it. */
function runConfigOf({ Cmd, Entrypoint, Env, WorkingDir }: JsonObject): JsonObject {
  const texts = (value: unknown) =>
    value === null || (Array.isArray(value) && value.every((each) => typeof each === 'string')) ? value : undefined
  return {
    Cmd: texts(Cmd),
    Entrypoint: texts(Entrypoint),
    Env: texts(Env),
    WorkingDir: WorkingDir === null || typeof WorkingDir === 'string' ? WorkingDir : undefined,
  }
}

/** @throws MirrorError MANIFEST_INVALID for a layer that no host could fetch or unpack. */
function compressionOf({ digest, mediaType, sizeBytes, urls }: Descriptor): LayerCompression {
  if (!parseRegistryDigest(digest)) throw refusal(`a layer has a digest that is not sha256: ${brief(digest)}`)
  const found = LAYER_TYPES.map((type) => type.exec(mediaType)?.groups).find((groups) => groups !== undefined)
  if (!found) throw refusal(`layer ${digest} is no file tree, but ${brief(mediaType)}`)
  if (found.foreign && !urls) throw refusal(`layer ${digest} may not be distributed, and no place to get it is named`)
  if (sizeBytes === 0) throw refusal(`layer ${digest} is said to have no bytes`)
  return (found.compression as LayerCompression | undefined) ?? 'none'
}

interface Place {
  readonly uuid: Uuid
  readonly origin: Uuid | undefined
  readonly compression: LayerCompression
  readonly tags: readonly string[]
}

function makeLayerManifest({ digest, sizeBytes }: Descriptor, place: Place, facts: ImageFacts): Manifest {
  const { hex } = parseRegistryDigest(digest)!
  const compression: Compression = place.compression === 'zstd' ? 'none' : place.compression
  const tags = imgapiTags(digest, place.tags, facts)
  if (JSON.stringify(tags).length > MAX_IMGAPI_TAGS_LENGTH) {
    throw refusal(
      `its command and environment are longer than IMGAPI's tags may be, ${MAX_IMGAPI_TAGS_LENGTH} characters`,
    )
  }
  const result = parseManifest({
    v: 2,
    uuid: place.uuid,
    owner: UNSET_OWNER,
    name: 'docker-layer',
    version: hex.slice(0, 12),
    state: 'active',
    disabled: false,
    public: true,
    published_at: facts.publishedAt,
    type: 'docker',
    os: facts.os,
    files: [{ sha256: hex, size: sizeBytes, compression }],
    description: facts.description,
    origin: place.origin,
    tags,
  })
  if (!result.ok) throw refusal(result.reason)
  return result.statement.manifest
}

/** The order of the keys is the reference's: it is part of what the Etag is made of. */
function imgapiTags(digest: string, tags: readonly string[], facts: ImageFacts): JsonObject {
  const { architecture, config, localName } = facts
  return {
    'docker:repo': localName,
    'docker:id': digest,
    ...(architecture !== undefined && { 'docker:architecture': architecture }),
    ...Object.fromEntries(tagsThatFit(tags).map((tag) => [`docker:tag:${tag}`, true])),
    ...(config !== undefined && { 'docker:config': config }),
  }
}

/** Nobody tags an image a thousand times, but nothing forbids it: what does not fit is left out, and the image stays. */
function tagsThatFit(tags: readonly string[]): string[] {
  let length = 0
  return tags.filter(isTag).filter((tag) => {
    length += `"docker:tag:${tag}":true,`.length
    return length <= MAX_TAGS_LENGTH
  })
}

function refusal(reason: string): MirrorError {
  return new MirrorError('MANIFEST_INVALID', `the Docker image cannot become images of IMGAPI: ${reason}`)
}
