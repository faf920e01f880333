import { MirrorError } from '../errors.js'
import type { Manifest } from './manifest.js'
import type { Uuid } from './uuid.js'

/** Images in an ancestry, the image itself counted, unless told otherwise: Docker images have up to 127 layers; sdc-imgapi follows 100. */
export const MAX_ANCESTRY = 128

/** As much of an ancestry as is known. It is whole when neither `missing` nor `broken` is set. */
export interface KnownAncestry {
  /** Itself first. */
  readonly images: readonly Manifest[]
  /** The origin of the last of `images`, if it is unknown. */
  readonly missing?: Uuid
  /** Why the chain was not followed to its end: ANCESTRY_BROKEN, when it bites its own tail or is longer than `maxLength`. */
  readonly broken?: MirrorError
}

/**
 * The ancestry of an image: itself first, then its origin, its origin's origin, and last the base image, which has
 * none. An incremental image installs only on top of all of these. Never throws.
 *
 * Source: the order is imgadm's (smartos-live, src/img/lib/sources/source.js, getImgAncestry). IMGAPI's text allows one
 * level only (sdc-imgapi, docs/index.md, "Manifest: origin"), but imgadm follows whole chains, and so do we.
 *
 * @param manifestOf asked once per image, in order, of what is in memory; `undefined` means unknown everywhere.
 */
export function ancestryOf(
  image: Manifest,
  manifestOf: (uuid: Uuid) => Manifest | undefined,
  maxLength = MAX_ANCESTRY,
): KnownAncestry {
  const images = [image]
  for (let last = image; last.origin !== undefined; ) {
    const broken = whyItCannotGoOn(images, maxLength)
    if (broken) return { images, broken }
    const origin = manifestOf(last.origin)
    if (!origin) return { images, missing: last.origin }
    images.push(origin)
    last = origin
  }
  return { images }
}

function whyItCannotGoOn(images: readonly Manifest[], maxLength: number): MirrorError | undefined {
  const [{ uuid }, next] = [images[0]!, images.at(-1)!.origin]
  const ringStart = images.findIndex((image) => image.uuid === next)
  if (ringStart !== -1) {
    const ring = [...images.slice(ringStart).map((image) => image.uuid), next].join(' -> ')
    return new MirrorError('ANCESTRY_BROKEN', `the ancestry of image ${uuid} is a ring of origins: ${ring}`)
  }
  if (images.length < maxLength) return undefined
  return new MirrorError('ANCESTRY_BROKEN', `the ancestry of image ${uuid} is longer than ${maxLength} images`)
}
