import { setImmediate as nextTurn } from 'node:timers/promises'
import { isMirrorError } from '../../errors.js'
import type { SetAside, Statement } from '../../images/claim.js'
import { type LayerImage, mapDockerImage } from '../../images/docker/layer-images.js'
import { localNameOf } from '../../images/docker/reference.js'
import type { Uuid } from '../../images/uuid.js'
import type { TagSighting } from '../registry-upstream.js'
import type { ResolvedImage } from './image-resolver.js'
import { formatWhereabouts } from './whereabouts.js'

/** Images of one upstream, a layer being one. What comes later is set aside. */
const IMAGES_LIMIT = 20_000

/** A tag that is followed, and the image it means. */
export interface FollowedTag {
  readonly repository: string
  readonly tag: string
  readonly image: ResolvedImage
}

export interface Offer {
  readonly statements: ReadonlyMap<Uuid, Statement>
  readonly sightings: readonly TagSighting[]
  readonly setAside: readonly SetAside[]
}

/** Tags of one repository whose images have the same layers: one image of IMGAPI, however many configs there are. */
interface Family {
  readonly image: ResolvedImage
  readonly followed: FollowedTag[]
}

/**
 * Makes the images that a registry offers of the tags that are followed. Different Docker images share layers, and so
 * images of ours: what is the top of one stays as it is there, with its tags, also where another builds on it; of two
 * alike, the first that is configured stands.
 *
 * Keeps what it made last, as from round to round little changes.
 */
export class OfferMaker {
  readonly #host: string
  readonly #recompresses: boolean
  readonly #maxAncestry: number
  #made: ReadonlyMap<string, readonly LayerImage[]> = new Map()

  /** @param options.maxAncestry the longest chain of images that is followed. */
  constructor(host: string, options: { recompresses: boolean; maxAncestry: number }) {
    this.#host = host
    this.#recompresses = options.recompresses
    this.#maxAncestry = options.maxAncestry
  }

  /** @param followed in the order of the configuration. */
  async make(followed: readonly FollowedTag[]): Promise<Offer> {
    const statements = new Map<Uuid, Statement>()
    const tops = new Set<Uuid>()
    const meanings = new Map<FollowedTag, Uuid | undefined>()
    const setAside: SetAside[] = []
    const made = new Map<string, readonly LayerImage[]>()
    for (const family of familiesOf(followed)) {
      // One may have a thousand layers, each with a manifest to be made.
      await nextTurn()
      const layers = this.#map(family, made)
      const reason = typeof layers === 'string' ? layers : this.#objectionTo(layers, statements)
      const top = typeof layers === 'string' || reason !== undefined ? undefined : layers.at(-1)!.manifest.uuid
      for (const each of family.followed) {
        meanings.set(each, top)
        const what = `${localNameOf(this.#host, each.repository)}:${each.tag}`
        if (reason !== undefined) setAside.push({ what, reason })
      }
      if (typeof layers === 'string' || top === undefined) continue
      for (const layer of layers) {
        const { uuid } = layer.manifest
        const isTop = uuid === top
        if (statements.has(uuid) && !(isTop && !tops.has(uuid))) continue
        statements.set(uuid, statementOf(family.image.repository, layer, this.#recompresses))
        if (isTop) tops.add(uuid)
      }
    }
    this.#made = made
    const sightings = followed.map((each): TagSighting => {
      const { image, repository, tag } = each
      return { repository, tag, digest: image.digest, image: meanings.get(each) }
    })
    return { statements, sightings, setAside }
  }

  /** The images of one family, base first, or why there are none. */
  #map({ followed, image }: Family, made: Map<string, readonly LayerImage[]>): readonly LayerImage[] | string {
    const tags = followed.map(({ tag }) => tag)
    const key = JSON.stringify([image.repository, image.digest, tags])
    try {
      const { config, layers } = image
      const known = this.#made.get(key)
      const mapped =
        known ?? mapDockerImage({ localName: localNameOf(this.#host, image.repository), tags, layers, config })
      made.set(key, mapped)
      return mapped
    } catch (error) {
      if (!isMirrorError(error, 'MANIFEST_INVALID')) throw error
      return error.message
    }
  }

  #objectionTo(layers: readonly LayerImage[], statements: ReadonlyMap<Uuid, Statement>): string | undefined {
    if (layers.length > this.#maxAncestry) {
      return `it has ${layers.length} layers, and ancestries of more than ${this.#maxAncestry} images are refused (maxAncestry)`
    }
    const allPacked = layers.filter(({ needsRecompression }) => needsRecompression)
    const packed = allPacked.find(({ unpackedSha256 }) => unpackedSha256 === undefined) ?? allPacked[0]
    if (packed && !this.#recompresses) {
      return `its layer ${packed.layer.digest} is compressed with zstd, which imgadm cannot unpack; "recompress: gzip" would make another of it`
    }
    if (packed && packed.unpackedSha256 === undefined) {
      return `its layer ${packed.layer.digest} is compressed with zstd, and its config does not say by a diff_id what it unpacks to`
    }
    const fresh = layers.filter(({ manifest }) => !statements.has(manifest.uuid)).length
    return statements.size + fresh > IMAGES_LIMIT
      ? `the upstream would have more than ${IMAGES_LIMIT} images`
      : undefined
  }
}

/**
 * What is said of one layer, and where its file is.
 * @param recompresses what is zstd is to be packed anew, also where its media type does not say so.
 */
export function statementOf(
  repository: string,
  { layer, manifest, needsRecompression, unpackedSha256 }: LayerImage,
  recompresses = false,
): Statement {
  const whereabouts = [formatWhereabouts({ repository, digest: layer.digest, urls: layer.urls ?? [] })]
  const mayBeMade = (needsRecompression || recompresses) && unpackedSha256 !== undefined
  return {
    manifest,
    whereabouts,
    ...(needsRecompression && { needsRecompression }),
    ...(mayBeMade && { unpackedSha256 }),
  }
}

function familiesOf(followed: readonly FollowedTag[]): Iterable<Family> {
  const families = new Map<string, Family>()
  for (const each of followed) {
    const { image, repository } = each
    const key = [repository, ...image.layers.map(({ digest }) => digest)].join(' ')
    const family = families.get(key)
    if (family) family.followed.push(each)
    else families.set(key, { image, followed: [each] })
  }
  return families.values()
}
