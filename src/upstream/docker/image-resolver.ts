import { LRUCache } from 'lru-cache'
import { isMirrorError, MirrorError } from '../../errors.js'
import { isImageConfigType } from '../../images/docker/layer-images.js'
import { sha256Digest } from '../../images/docker/registry-digest.js'
import {
  choosePlatform,
  type Descriptor,
  MAX_REGISTRY_JSON_BYTES,
  type ManifestIdentity,
  type Platform,
  parseImageConfig,
  parseRegistryManifest,
  type RegistryManifest,
} from '../../images/docker/registry-manifest.js'
import { brief, type JsonObject } from '../../parts/json-object.js'
import type { Log } from '../../parts/log.js'
import { SingleFlight } from '../../parts/single-flight.js'
import type { RegistryMemory, RegistryObject } from '../registry-upstream.js'
import type { Asking, FetchedManifest, RegistryClient } from './registry-client.js'

/** Objects of which we remember that they have been handed to the memory. */
const KEPT_LIMIT = 50_000
/** An index, an index in it, and the manifest. */
const INDEXES_LIMIT = 2

/** A Docker image as its registry has it, read and verified. */
export interface ResolvedImage {
  readonly repository: string
  /** Of what the tag names: an index, or the manifest itself. */
  readonly digest: string
  /** Base first. */
  readonly layers: readonly Descriptor[]
  readonly config: JsonObject
  /** The digest of the config; of schema 1, which has none, that of what we made of it. */
  readonly configDigest: string
  /** Of the manifest for our platform, whatever led to it. */
  readonly manifestDigest: string
}

type Manifest = RegistryManifest & ManifestIdentity

export interface ImageResolverOptions {
  readonly client: RegistryClient
  readonly memory: RegistryMemory
  readonly platform: Platform
  readonly log: Log
}

/**
 * Follows digests from what a tag names to an image: through an index to the manifest for our platform, and to its config.
 * What is in the memory is not asked for again.
 *
 * Throws MANIFEST_INVALID for what is there and can be no image of ours, UPSTREAM_MISBEHAVED for what is not what its digest or
 * descriptor says, UPSTREAM_UNREACHABLE as `RegistryClient`.
 */
export class ImageResolver {
  readonly #options: ImageResolverOptions
  /** `repository digest` */
  readonly #kept = new LRUCache<string, true>({ max: KEPT_LIMIT })
  readonly #manifests = new SingleFlight<string, FetchedManifest | undefined>()
  readonly #configs = new SingleFlight<string, Buffer | undefined>()

  constructor(options: ImageResolverOptions) {
    this.#options = options
  }

  async resolve(repository: string, digest: string, asking: Asking): Promise<ResolvedImage> {
    const manifest = await this.#platformManifest(repository, digest, asking)
    if (manifest.kind === 'schema1') {
      const layers = await this.#withSizes(repository, manifest.layers, asking)
      const configDigest = sha256Digest(Buffer.from(JSON.stringify(manifest.config)))
      return { repository, digest, layers, config: manifest.config, configDigest, manifestDigest: manifest.digest }
    }
    const { config, layers } = manifest
    if (!isImageConfigType(config.mediaType)) throw unusable(`is no image, but ${brief(config.mediaType)}`)
    if (config.sizeBytes > MAX_REGISTRY_JSON_BYTES) throw unusable(`has a config of ${config.sizeBytes} bytes`)
    const bytes = await this.#config(repository, config, asking)
    const found = { configDigest: config.digest, manifestDigest: manifest.digest }
    return { repository, digest, layers, config: parseImageConfig(bytes), ...found }
  }

  /** The bytes of a manifest that was resolved. */
  async manifestObject(repository: string, digest: string, asking: Asking): Promise<RegistryObject> {
    const object = (await this.#recall(digest)) ?? (await this.#fetchManifest(repository, digest, asking))?.object
    if (!object) throw misbehaved(repository, `has no manifest ${digest} any more`)
    return object
  }

  /** Hands on what was fetched by other ways. */
  async keep(repository: string, object: RegistryObject): Promise<void> {
    const key = `${repository} ${object.digest}`
    if (this.#kept.has(key)) return
    const { log, memory } = this.#options
    try {
      await memory.keep(repository, object)
      this.#kept.set(key, true)
    } catch (error) {
      // A full disk costs another question, next time, and must not hide an image.
      if (!isMirrorError(error, 'STORE_FULL', 'STORE_BROKEN')) throw error
      log.warn({ repository, digest: object.digest, err: error }, `an object of ${repository} could not be kept`)
    }
  }

  async #platformManifest(repository: string, digest: string, asking: Asking) {
    let manifest = await this.#manifest(repository, { digest, sizeBytes: undefined }, asking)
    for (let indexes = 1; manifest.kind === 'index'; indexes++) {
      const { platform } = this.#options
      const wanted = [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/')
      const entry = choosePlatform(manifest.entries, platform)
      if (!entry) {
        const others = manifest.entries.filter(({ isAttestation }) => !isAttestation)
        const names = others.slice(0, 10).map(({ architecture, os }) => `${os}/${architecture}`)
        throw unusable(`is not for ${wanted}, but for ${names.join(', ') || 'nothing'}`)
      }
      if (indexes > INDEXES_LIMIT) throw unusable('is an index of indexes of indexes')
      manifest = await this.#manifest(repository, entry, asking)
    }
    return manifest
  }

  async #manifest(
    repository: string,
    { digest, sizeBytes }: { digest: string; sizeBytes: number | undefined },
    asking: Asking,
  ): Promise<Manifest> {
    const kept = await this.#recall(digest)
    const known = kept && parsedIfRight(kept)
    if (known) await this.keep(repository, kept)
    const fetched = known ? undefined : await this.#fetchManifest(repository, digest, asking)
    const object = known ? kept : fetched?.object
    if (!object) throw misbehaved(repository, `has no manifest ${digest}, or denies it`)
    if (sizeBytes !== undefined && sizeBytes !== object.sizeBytes) {
      throw misbehaved(repository, `promises ${digest} with ${sizeBytes} bytes, and it has ${object.sizeBytes}`)
    }
    if (fetched) await this.#keepAgain(repository, object)
    return known ?? fetched!.parsed
  }

  /** Several tags of a round may lead to the same manifest at the same time. */
  async #fetchManifest(repository: string, digest: string, asking: Asking): Promise<FetchedManifest | undefined> {
    const ask = () => this.#options.client.getManifest(repository, digest, asking)
    // What one repository denies, another may have.
    return (await this.#manifests.do(digest, ask)) ?? (await ask())
  }

  async #config(repository: string, descriptor: Descriptor, asking: Asking): Promise<Buffer> {
    const { digest, mediaType, sizeBytes } = descriptor
    const kept = await this.#recall(digest)
    if (kept && sha256Digest(kept.bytes) === digest) {
      await this.keep(repository, kept)
      return kept.bytes
    }
    const ask = () => this.#options.client.getSmallBlob(repository, descriptor, asking)
    const bytes = (await this.#configs.do(digest, ask)) ?? (await ask())
    if (!bytes) throw misbehaved(repository, `has no config ${digest}, or denies it`)
    const found = sha256Digest(bytes)
    if (found !== digest || bytes.length !== sizeBytes) {
      throw misbehaved(repository, `sends ${found}, of ${bytes.length} bytes, as the config ${digest}, of ${sizeBytes}`)
    }
    await this.#keepAgain(repository, { digest, mediaType, sizeBytes, bytes })
    return bytes
  }

  /** What had to be fetched is not in the memory, or not any more, whatever we have handed to it. */
  async #keepAgain(repository: string, object: RegistryObject): Promise<void> {
    this.#kept.delete(`${repository} ${object.digest}`)
    await this.keep(repository, object)
  }

  /** Schema 1 does not say how long its layers are. */
  async #withSizes(repository: string, layers: readonly Omit<Descriptor, 'sizeBytes'>[], asking: Asking) {
    const sizes = new Map<string, number>()
    for (const { digest } of layers) {
      if (sizes.has(digest)) continue
      const sizeBytes = await this.#options.client.headBlob(repository, digest, asking)
      if (sizeBytes === undefined) throw misbehaved(repository, `does not have its layer ${digest}, or denies it`)
      sizes.set(digest, sizeBytes)
    }
    return layers.map((layer): Descriptor => ({ ...layer, sizeBytes: sizes.get(layer.digest)! }))
  }

  async #recall(digest: string): Promise<RegistryObject | undefined> {
    try {
      return await this.#options.memory.get(digest)
    } catch (error) {
      if (!isMirrorError(error, 'STORE_BROKEN')) throw error
      this.#options.log.warn({ digest, err: error }, `${digest} could not be read from what is kept`)
      return undefined
    }
  }
}

/** What is kept is not believed more than what is sent. */
function parsedIfRight({ bytes, digest, mediaType }: RegistryObject): Manifest | undefined {
  try {
    const parsed = parseRegistryManifest(bytes, mediaType)
    return parsed.digest === digest ? parsed : undefined
  } catch (error) {
    if (!isMirrorError(error, 'MANIFEST_INVALID')) throw error
    return undefined
  }
}

function unusable(reason: string): MirrorError {
  return new MirrorError('MANIFEST_INVALID', `it ${reason}`)
}

function misbehaved(repository: string, reason: string): MirrorError {
  return new MirrorError('UPSTREAM_MISBEHAVED', `the registry ${reason}, in ${repository}`)
}
