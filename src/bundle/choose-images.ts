import type { BundledImage, RequiredImage } from '../images/bundle/bundle-index.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { ExportPlan } from './bundles.js'
import type { Receiver } from './receiver.js'

/** An image that somebody wants to have in a bundle. */
export interface Candidate {
  readonly manifest: Manifest
  readonly why: 'selected' | 'wanted'
  /** Itself and all it builds on, the base first. */
  readonly chain: readonly Manifest[]
  /** Why it cannot be had with all it builds on, where that is so. */
  readonly obstacle: string | undefined
}

/** An image as it would be in a bundle. */
export interface Exportable extends BundledImage {
  /** Written down as held; otherwise it is to be pulled first, or what is here of it to be written down. */
  readonly isHeld: boolean
  readonly pulledBytes: number
  /** Not all digests are known yet: stand-ins of the same length are in their places. */
  readonly hasStandIns: boolean
}

export interface ChosenImage extends Exportable {
  readonly why: ExportPlan['images'][number]['why']
}

export interface Choice {
  /** What others build on comes first. */
  readonly images: readonly ChosenImage[]
  readonly requires: readonly RequiredImage[]
  /** Candidates that the receiver has. */
  readonly alreadyThere: number
  readonly warnings: readonly string[]
}

/**
 * Which images a bundle has: of the candidates those that the receiver lacks, in their order, each behind what it builds on and the
 * receiver lacks, too. What it builds on and the receiver has is required. An image that cannot be had whole is told, and
 * left out with all that builds on it.
 *
 * @param exportable asked once for each image; a text says why it cannot be had.
 */
export function chooseImages(
  candidates: readonly Candidate[],
  receiver: Receiver,
  exportable: (manifest: Manifest) => Exportable | string,
): Choice {
  const looked = new Map<Uuid, Exportable | string>()
  const look = (manifest: Manifest) => {
    const found = looked.get(manifest.uuid) ?? exportable(manifest)
    looked.set(manifest.uuid, found)
    return found
  }
  const isThere = (image: Exportable) =>
    // Of what is still to be pulled nobody can tell.
    !image.hasStandIns &&
    receiver.hasImage(
      image.manifest.uuid,
      image.files.map(({ sha256 }) => sha256),
    )
  const reasons = new Map(candidates.map(({ manifest, why }) => [manifest.uuid, why]))
  const chosen = new Map<Uuid, ChosenImage>()
  const required = new Map<Uuid, RequiredImage>()
  const warnings: string[] = []
  let alreadyThere = 0
  for (const { chain, manifest, obstacle } of candidates) {
    const images = chain.map(look)
    const [failure] = images.flatMap((image, place) =>
      typeof image === 'string' ? [`${describeImage(chain[place]!)} ${image}`] : [],
    )
    const reason = obstacle ?? failure
    if (reason !== undefined) {
      warnings.push(`left out ${describeImage(manifest)}: ${reason}`)
      continue
    }
    const whole = images.filter((image) => typeof image !== 'string')
    const lacking = whole.filter((image) => !isThere(image))
    if (lacking.at(-1)?.manifest.uuid !== manifest.uuid) alreadyThere++
    for (const image of lacking) {
      const { uuid } = image.manifest
      chosen.set(uuid, { ...image, why: reasons.get(uuid) ?? 'origin' })
    }
    // What stands behind the last one that is lacking is built on by none of them.
    const last = whole.findLastIndex((image) => lacking.includes(image))
    for (const image of whole.slice(0, Math.max(0, last))) {
      if (!lacking.includes(image)) required.set(image.manifest.uuid, requiredOf(image))
    }
  }
  return { images: [...chosen.values()], requires: [...required.values()], alreadyThere, warnings }
}

export function describeImage({ name, uuid, version }: Manifest): string {
  return `${name} ${version} (${uuid})`
}

function requiredOf({ files, manifest: { name, uuid, version } }: Exportable): RequiredImage {
  return { uuid, name, version, files: files.map(({ sizeBytes, sha256 }) => ({ sizeBytes, sha256 })) }
}
