import { MirrorError } from '../../errors.js'
import { brief, isDeeperThan, isJsonObject, type JsonObject } from '../../parts/json-object.js'
import { isDigestText, parseRegistryDigest, sha256Digest } from './registry-digest.js'
import { schema1Payload } from './schema1-payload.js'

const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+json'
const SIGNED_SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
const SCHEMA_2 = 'application/vnd.docker.distribution.manifest.v2+json'
const LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json'

/** Every kind of manifest we understand, the best first: what an Accept header says. */
export const MANIFEST_TYPES: readonly string[] = [
  OCI_INDEX,
  LIST,
  OCI_MANIFEST,
  SCHEMA_2,
  SIGNED_SCHEMA_1,
  SCHEMA_1,
] as const

/** A manifest, an index or a config is refused when it is longer; distribution's own limit for manifests. */
export const MAX_REGISTRY_JSON_BYTES = 4 * 1024 * 1024
/** Docker builds images of at most 127 layers. Each becomes an image of its own, of which an ancestry is made. */
const MAX_LAYERS = 1000
const MAX_ENTRIES = 1000
/** Levels of nesting; the deepest we know of, a signature's certificates, need six. */
const MAX_DEPTH = 32
const MAX_URLS = 16
const MAX_URL_LENGTH = 4096
const MAX_WORD_LENGTH = 255

/** What an architecture's variant is when none is named (containerd, platforms/database.go, `normalizeArch`). */
const USUAL_VARIANT = new Map([
  ['amd64', 'v1'],
  ['arm64', 'v8'],
  ['arm', 'v7'],
])

/** Something a registry keeps: which bytes, how many, and what they are. */
export interface Descriptor {
  /** `sha256:<hex>`, or of another algorithm that has the form of a digest. */
  readonly digest: string
  readonly mediaType: string
  readonly sizeBytes: number
  /** Where else the bytes are, http or https: the only place for a foreign layer's. */
  readonly urls?: readonly string[]
}

/** A manifest that an index names, and whom it is for. */
export interface PlatformEntry extends Descriptor {
  readonly os: string | undefined
  readonly architecture: string | undefined
  readonly variant: string | undefined
  /** It says something about another entry (provenance, an SBOM), and is no image. */
  readonly isAttestation: boolean
}

export interface ImageIndex {
  readonly kind: 'index'
  readonly entries: readonly PlatformEntry[]
}

export interface ImageManifest {
  readonly kind: 'image'
  readonly config: Descriptor
  /** Base first. May be empty: of an image that has no files, or of what is no image. */
  readonly layers: readonly Descriptor[]
}

export interface Schema1Manifest {
  readonly kind: 'schema1'
  /**
   * Base first, each dropped that equals the one directly below it, the empty layer kept: as imgadm counts them
   * (joyent/node-docker-registry-client, lib/registry-client-v2.js). How long they are is not said.
   */
  readonly layers: readonly Omit<Descriptor, 'sizeBytes'>[]
  /** The newest v1Compatibility, and all of them as `history`, base first: near enough to what schema 2 has as config. */
  readonly config: JsonObject
}

export interface Platform {
  readonly os: string
  readonly architecture: string
  /** Such as `v7` of arm. Without it, what every machine of the architecture runs. */
  readonly variant?: string | undefined
}

/** What a registry answers under /manifests/. */
export type RegistryManifest = ImageIndex | ImageManifest | Schema1Manifest

export interface ManifestIdentity {
  readonly mediaType: string
  /** Of the bytes; of schema 1, of what is signed of them. */
  readonly digest: string
}

/**
 * Reads a manifest or index. Its type is what the Content-Type says, if that is one of ours; else its own `mediaType`;
 * else what it looks like. Where two of them speak, they must agree; and nothing may be index and manifest in one
 * (CVE-2021-41190). Of schema 1, what is read is what is signed, and nothing else of the body.
 *
 * More lenient than docker's clients in one thing: no layers, and no entries, are allowed.
 *
 * @param contentType the header as it came, parameters and all.
 * @throws MirrorError MANIFEST_INVALID
 */
export function parseRegistryManifest(
  bytes: Buffer,
  contentType: string | undefined,
): RegistryManifest & ManifestIdentity {
  const body = parseJson(bytes, 'the manifest')
  const mediaType = typeOf(body, contentType)
  if (mediaType === SCHEMA_1 || mediaType === SIGNED_SCHEMA_1) {
    const payload = schema1Payload(bytes, body)
    return { mediaType, digest: sha256Digest(payload), ...parseSchema1(parseJson(payload, 'the signed manifest')) }
  }
  const isIndex = mediaType === LIST || mediaType === OCI_INDEX
  return { mediaType, digest: sha256Digest(bytes), ...(isIndex ? parseIndex(body) : parseImage(body)) }
}

/**
 * The entry of an index that is for this platform. The first that fits, as everybody does it; attestations never do. A
 * machine with amd64 takes 386 when there is nothing better, as imgadm does. An entry that names no platform is taken
 * when none that does fits: it may well be the one image there is, or an index inside of an index.
 */
export function choosePlatform(entries: readonly PlatformEntry[], platform: Platform): PlatformEntry | undefined {
  const images = entries.filter((entry) => !entry.isAttestation)
  const fitting = (wanted: Platform) => images.find((entry) => isFor(entry, wanted))
  return (
    fitting(platform) ??
    (platform.architecture === 'amd64' ? fitting({ os: platform.os, architecture: '386' }) : undefined) ??
    images.find((entry) => entry.os === undefined && entry.architecture === undefined)
  )
}

/**
 * The config of an image: JSON of bounded length and depth, an object. Nothing more is known of it.
 * @throws MirrorError MANIFEST_INVALID
 */
export function parseImageConfig(bytes: Buffer): JsonObject {
  return parseJson(bytes, 'the config of the image')
}

function parseJson(bytes: Buffer, what: string): JsonObject {
  if (bytes.length > MAX_REGISTRY_JSON_BYTES) throw refusal(`${what} is longer than ${MAX_REGISTRY_JSON_BYTES} bytes`)
  return parseJsonObject(bytes.toString('utf8'), what)
}

function parseJsonObject(text: string, what: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw refusal(`${what} is not JSON`)
  }
  if (!isJsonObject(value)) throw refusal(`${what} is not an object: ${brief(value)}`)
  if (isDeeperThan(value, MAX_DEPTH)) throw refusal(`${what} is nested more than ${MAX_DEPTH} levels deep`)
  return value
}

function typeOf(body: JsonObject, contentType = ''): string {
  const said = contentType.replace(/;.*/s, '').trim().toLowerCase()
  const told = MANIFEST_TYPES.find((type) => type === said)
  const own = MANIFEST_TYPES.find((type) => type === body.mediaType)
  if (body.mediaType !== undefined && own === undefined) {
    throw refusal(`the manifest is of a type we do not know: ${brief(body.mediaType)}`)
  }
  if (told !== undefined && own !== undefined && told !== own) {
    throw refusal(`the manifest comes as ${told} and calls itself ${own}`)
  }
  const looks = looksLike(body)
  const type = told ?? own ?? looks
  if (shapeOf(type) !== shapeOf(looks)) throw refusal(`the manifest is called ${type}, but looks like ${looks}`)
  const version = shapeOf(type) === 'schema1' ? 1 : 2
  if (body.schemaVersion !== version) {
    throw refusal(`the manifest has schemaVersion ${brief(body.schemaVersion)}, not ${version}`)
  }
  return type
}

function looksLike(body: JsonObject): string {
  const shapes = [
    ...(Object.hasOwn(body, 'manifests') ? [OCI_INDEX] : []),
    ...(Object.hasOwn(body, 'fsLayers') ? [Object.hasOwn(body, 'signatures') ? SIGNED_SCHEMA_1 : SCHEMA_1] : []),
    ...(Object.hasOwn(body, 'config') || Object.hasOwn(body, 'layers') ? [OCI_MANIFEST] : []),
  ]
  if (shapes.length === 1) return shapes[0]!
  throw refusal(shapes.length === 0 ? 'it is no manifest' : 'the manifest could be read as two different things')
}

function shapeOf(type: string): RegistryManifest['kind'] {
  if (type === LIST || type === OCI_INDEX) return 'index'
  return type === SCHEMA_1 || type === SIGNED_SCHEMA_1 ? 'schema1' : 'image'
}

function parseImage({ config, layers }: JsonObject): ImageManifest {
  return {
    kind: 'image',
    config: parseDescriptor(config, 'config'),
    layers: arrayOf(layers, 'layers', MAX_LAYERS).map((layer, index) => parseDescriptor(layer, `layers[${index}]`)),
  }
}

function parseIndex({ manifests }: JsonObject): ImageIndex {
  return { kind: 'index', entries: arrayOf(manifests, 'manifests', MAX_ENTRIES).map(parseEntry) }
}

function parseEntry(value: unknown, index: number): PlatformEntry {
  const descriptor = parseDescriptor(value, `manifests[${index}]`)
  const { annotations, platform } = value as JsonObject
  const { os, architecture, variant } = isJsonObject(platform) ? platform : {}
  const isReference = isJsonObject(annotations) && annotations['vnd.docker.reference.type'] !== undefined
  return {
    ...descriptor,
    os: wordOf(os),
    architecture: wordOf(architecture),
    variant: wordOf(variant),
    isAttestation: isReference || (os === 'unknown' && architecture === 'unknown'),
  }
}

function parseDescriptor(value: unknown, name: string): Descriptor {
  if (!isJsonObject(value)) throw refusal(`${name} of the manifest is not an object: ${brief(value)}`)
  const { digest, mediaType, size, urls } = value
  if (!isDigestText(digest)) throw refusal(`${name}.digest of the manifest is none: ${brief(digest)}`)
  if (!Number.isSafeInteger(size) || Number(size) < 0) {
    throw refusal(`${name}.size of the manifest is not a number of bytes: ${brief(size)}`)
  }
  const type = wordOf(mediaType)
  if (type === undefined) throw refusal(`${name}.mediaType of the manifest is none: ${brief(mediaType)}`)
  const usable = Array.isArray(urls) ? urls.filter(isUsableUrl).slice(0, MAX_URLS) : []
  return { digest, mediaType: type, sizeBytes: Number(size), ...(usable.length > 0 && { urls: usable }) }
}

function isUsableUrl(url: unknown): url is string {
  return typeof url === 'string' && url.length <= MAX_URL_LENGTH && /^https?:\/\//i.test(url) && URL.canParse(url)
}

function parseSchema1({ fsLayers, history }: JsonObject): Schema1Manifest {
  const newestFirst = arrayOf(fsLayers, 'fsLayers', MAX_LAYERS).map((layer, index) => {
    const digest = isJsonObject(layer) ? layer.blobSum : undefined
    if (parseRegistryDigest(digest)) return digest as string
    throw refusal(`fsLayers[${index}].blobSum of the manifest is no digest: ${brief(digest)}`)
  })
  const entries = arrayOf(history, 'history', MAX_LAYERS).map((entry, index) => {
    const text = isJsonObject(entry) ? entry.v1Compatibility : undefined
    const name = `history[${index}].v1Compatibility of the manifest`
    if (typeof text !== 'string') throw refusal(`${name} is no text: ${brief(text)}`)
    return parseJsonObject(text, name)
  })
  const [newest] = entries
  if (!newest || newestFirst.length !== entries.length) {
    throw refusal(`the manifest has ${newestFirst.length} fsLayers, but a history of ${entries.length}`)
  }
  const baseFirst = newestFirst.reverse()
  return {
    kind: 'schema1',
    layers: baseFirst
      .filter((digest, index) => digest !== baseFirst[index - 1])
      .map((digest) => ({ digest, mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' })),
    config: { ...newest, history: entries.toReversed() },
  }
}

function isFor(entry: PlatformEntry, { os, architecture, variant }: Platform): boolean {
  if (entry.os !== os || entry.architecture !== architecture) return false
  const usual = USUAL_VARIANT.get(architecture)
  return (entry.variant ?? usual) === (variant ?? usual)
}

function arrayOf(value: unknown, name: string, max: number): readonly unknown[] {
  if (!Array.isArray(value)) throw refusal(`${name} of the manifest is not an array: ${brief(value)}`)
  if (value.length > max) throw refusal(`${name} of the manifest has ${value.length} entries, more than ${max}`)
  return value
}

/** A word without blanks, of a length that one can bear. */
function wordOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= MAX_WORD_LENGTH && /^[!-~]+$/.test(value) ? value : undefined
}

function refusal(message: string): MirrorError {
  return new MirrorError('MANIFEST_INVALID', message)
}
