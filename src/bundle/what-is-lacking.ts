import type { BundledFile, BundledImage, BundleIndex } from '../images/bundle/bundle-index.js'
import { formatDigest } from '../images/digest.js'
import type { Arrival } from '../store/arrival-store.js'
import type { BlobStore } from '../store/blob-store.js'
import type { RegistryStore } from '../store/registry-store.js'
import type { Lacking } from './bundles.js'
import type { Intake } from './intake.js'
import type { ByteRange } from './inventory.js'

/** What there is of files, of which some are whole and some are not. */
export class FilesHere {
  readonly #blobs: Pick<BlobStore, 'find'>
  readonly #parts: ReadonlyMap<string, readonly ByteRange[]>

  constructor(blobs: Pick<BlobStore, 'find' | 'suspended'>) {
    this.#blobs = blobs
    const parts = new Map<string, readonly ByteRange[]>()
    for (const { expected, extents } of blobs.suspended()) {
      const sha256 = expected.digests.find(({ algorithm }) => algorithm === 'sha256')?.hex
      if (sha256) parts.set(`${sha256}-${expected.sizeBytes}`, extents)
    }
    this.#parts = parts
  }

  isWhole({ sha256, sizeBytes }: Pick<BundledFile, 'sha256' | 'sizeBytes'>): boolean {
    return this.#blobs.find({ algorithm: 'sha256', hex: sha256 }, sizeBytes) !== undefined
  }

  /** How many bytes of [startBytes, endBytes) are not here. */
  missingBytes(file: Pick<BundledFile, 'sha256' | 'sizeBytes'>, { startBytes, endBytes }: ByteRange): number {
    if (this.isWhole(file)) return 0
    const parts = this.#parts.get(`${file.sha256}-${file.sizeBytes}`) ?? []
    return rangesMissing(parts, { startBytes, endBytes }).reduce(
      (sum, range) => sum + range.endBytes - range.startBytes,
      0,
    )
  }
}

/** What of a range is in none of these, which are in order and do not overlap. */
export function rangesMissing(here: readonly ByteRange[], { startBytes, endBytes }: ByteRange): ByteRange[] {
  const missing: ByteRange[] = []
  let position = startBytes
  for (const part of here) {
    if (part.endBytes <= position) continue
    if (part.startBytes >= endBytes) break
    if (part.startBytes > position) missing.push({ startBytes: position, endBytes: part.startBytes })
    position = part.endBytes
  }
  if (position < endBytes) missing.push({ startBytes: position, endBytes })
  return missing
}

export interface LackingOptions {
  readonly intake: Intake
  readonly blobs: Pick<BlobStore, 'find' | 'suspended'>
  readonly registry: Pick<RegistryStore, 'objectSizeBytes'>
}

/** Images of a bundle that are to be held, and are not: neither here already, nor such that they are refused. */
export function awaitedImages({ images }: Pick<BundleIndex, 'images'>, intake: Intake): readonly BundledImage[] {
  return images.filter(
    (image) => !intake.isHeld(image.manifest.uuid) && intake.whyRefused(image.manifest) === undefined,
  )
}

/** What is lacking of a bundle; `undefined` when nothing is. */
export function whatIsLacking(
  { firstComeMs, from, id, series, volumes, volumesCome }: Arrival,
  bundle: BundleIndex,
  { blobs, intake, registry }: LackingOptions,
): Lacking | undefined {
  const images = awaitedImages(bundle, intake)
  const here = new FilesHere(blobs)
  const objects = bundle.docker.objects.filter(
    ({ digest }) => registry.objectSizeBytes(formatDigest(digest)) === undefined,
  )
  const layers = bundle.docker.layers.filter((layer) => !here.isWhole(layer))
  if (images.length + objects.length + layers.length === 0) return undefined
  const files = new Map(
    [...images.flatMap((image) => image.files), ...layers].map((file) => [file.sha256, file] as const),
  )
  const volumesMissing = new Set<number>()
  for (const { endBytes, sha256, startBytes, volume } of bundle.pieces) {
    const file = files.get(sha256)
    if (file && here.missingBytes(file, { startBytes, endBytes }) > 0) volumesMissing.add(volume)
  }
  // They are on every volume.
  if (objects.length > 0) {
    for (let volume = 1; volume <= volumes; volume++) if (!volumesCome.includes(volume)) volumesMissing.add(volume)
  }
  const comes = new Set<string>(images.map(({ manifest }) => manifest.uuid))
  return {
    bundle: id,
    from,
    series: series && { name: series.name, number: series.number },
    firstComeMs,
    volumes,
    volumesMissing: [...volumesMissing].sort((a, b) => a - b),
    objectsMissing: objects.length + layers.length,
    images: images.map((image) => {
      const { name, origin, uuid, version } = image.manifest
      return {
        ...{ uuid, name, version },
        missingBytes: image.files.reduce(
          (sum, file) => sum + here.missingBytes(file, { startBytes: 0, endBytes: file.sizeBytes }),
          0,
        ),
        missingOrigins: origin && !comes.has(origin) ? intake.lacks(origin) : [],
      }
    }),
  }
}
