import { createHash } from 'node:crypto'
import type { BundledFile, BundleIndex } from '../images/bundle/bundle-index.js'
import { MAX_VOLUMES } from '../images/bundle/bundle-limits.js'
import {
  bundleId,
  dockerObjectName,
  iconName,
  manifestName,
  pieceName,
  volumeDirectory,
} from '../images/bundle/bundle-names.js'
import { formatBundleIndex } from '../images/bundle/format-bundle-index.js'
import type { Manifest } from '../images/manifest.js'
import { missingRanges } from './missing-ranges.js'
import { type FileToPack, type PlannedFile, packVolumes } from './pack-volumes.js'
import { readmeText } from './readme-text.js'
import type { Receiver } from './receiver.js'

/** What a bundle is to say and have; `pieces` and `volumes` are still to be found. */
export type BundleContents = Omit<BundleIndex, 'pieces' | 'volumes' | 'provenance'>

export interface BundleForm {
  readonly volumeBytes: number | undefined
  readonly parityPercent: number
}

/** What `bundle.json` weighs on a volume. */
export interface VolumeTerms {
  readonly parityPercent: number
  readonly bundleJsonBytes: number
}

/** What a volume with these files takes, with all that belongs to it. */
export type MeasureVolume = (files: readonly PlannedFile[], terms: VolumeTerms) => number

/** A bundle, whole, before a byte of it is written. */
export interface PlannedBundle {
  readonly id: string
  readonly index: BundleIndex
  readonly json: Buffer
  readonly readme: Buffer
  readonly provenance: Buffer
  readonly volumes: readonly PlannedVolume[]
}

export interface PlannedVolume {
  /** From 1. */
  readonly volume: number
  readonly directory: string
  /** Sorted by path. */
  readonly files: readonly PlannedFile[]
  /** With parity, indexes, and second copies. */
  readonly sizeBytes: number
}

/** Each round finds how long `bundle.json` is, which decides how much room is left beside it: two are enough, but for a rare third. */
const MOST_ROUNDS = 10

/**
 * Lays a bundle on volumes. Everything small is in each of them, so that each can be taken in alone; of files, the bytes that the
 * receiver lacks. The same contents are always the same bundle, to the byte.
 *
 * @throws MirrorError QUERY_INVALID for volumes that are too small; BUNDLE_INVALID for a bundle that is too large for anybody to read.
 */
export async function planBundle(
  contents: BundleContents,
  provenance: Buffer,
  receiver: Receiver,
  form: BundleForm,
  measure: MeasureVolume,
): Promise<PlannedBundle> {
  const files = filesToPack(contents, receiver)
  const { parityPercent, volumeBytes } = form
  const told = { sizeBytes: provenance.length, sha256: createHash('sha256').update(provenance).digest('hex') }
  // As long as they can become.
  const widest = { ...contents, provenance: told, pieces: [], volumes: MAX_VOLUMES }
  let assumedBytes = formatBundleIndex(widest).length
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const terms = { parityPercent, bundleJsonBytes: assumedBytes }
    const common = commonFiles(widest, provenance)
    const { pieces, volumes } = await packVolumes({
      ...{ files, common, volumeBytes },
      measure: (some) => measure(some, terms),
    })
    const index = { ...contents, provenance: told, pieces, volumes }
    const json = formatBundleIndex(index)
    if (json.length <= assumedBytes) return describe(index, json, provenance, parityPercent, measure)
    // What is moved to make room for it may need a digit more.
    assumedBytes = json.length + 64
  }
  throw new Error('no form of this bundle could be found')
}

/** Of each file once, in the order of images, what the receiver lacks. */
function filesToPack({ docker, images }: BundleContents, receiver: Receiver): FileToPack[] {
  const files = new Map<string, FileToPack>()
  for (const { sha256, sizeBytes } of [...images.flatMap((image) => image.files), ...docker.layers]) {
    if (files.has(sha256)) continue
    const ranges = receiver.hasFile(sha256) ? [] : missingRanges(sizeBytes, receiver.partsOf(sha256, sizeBytes))
    files.set(sha256, { sha256, sizeBytes, ranges })
  }
  return [...files.values()]
}

function describe(
  index: BundleIndex,
  json: Buffer,
  provenance: Buffer,
  parityPercent: number,
  measure: MeasureVolume,
): PlannedBundle {
  const id = bundleId(json)
  const common = commonFiles(index, provenance)
  const sizes = new Map([...index.images.flatMap(({ files }) => files), ...index.docker.layers].map(sizeOf))
  const byVolume = new Map<number, PlannedFile[]>()
  for (const { endBytes, sha256, startBytes, volume } of index.pieces) {
    const path = pieceName(sha256, startBytes, endBytes, sizes.get(sha256)!)
    const file = { path, sizeBytes: endBytes - startBytes }
    const others = byVolume.get(volume)
    if (others) others.push(file)
    else byVolume.set(volume, [file])
  }
  const volumes = Array.from({ length: index.volumes }, (_, place): PlannedVolume => {
    const volume = place + 1
    const files = [...common, ...(byVolume.get(volume) ?? [])].sort((one, other) => (one.path < other.path ? -1 : 1))
    const sizeBytes = measure(files, { parityPercent, bundleJsonBytes: json.length })
    return { volume, directory: volumeDirectory(id, volume, index.volumes), files, sizeBytes }
  })
  return { id, index, json, readme: Buffer.from(readmeText(index)), provenance, volumes }
}

/** What every volume has. */
function commonFiles(index: Parameters<typeof readmeText>[0], provenance: Buffer): PlannedFile[] {
  const { docker, images } = index
  return [
    { path: 'README.txt', sizeBytes: Buffer.byteLength(readmeText(index)) },
    { path: 'provenance.jsonl', sizeBytes: provenance.length },
    ...images.map(({ manifest }) => ({
      path: manifestName(manifest.uuid),
      sizeBytes: Buffer.byteLength(manifestText(manifest)),
    })),
    ...images.flatMap(({ icon, manifest: { uuid } }) =>
      icon ? [{ path: iconName(uuid, icon.type), sizeBytes: icon.sizeBytes }] : [],
    ),
    ...docker.objects.map(({ digest, sizeBytes }) => ({ path: dockerObjectName(digest.hex), sizeBytes })),
  ]
}

/** As IMGAPI answers it, and people read it. */
export function manifestText({ json }: Manifest): string {
  return `${JSON.stringify(JSON.parse(json), null, 2)}\n`
}

function sizeOf({ sha256, sizeBytes }: BundledFile): [string, number] {
  return [sha256, sizeBytes]
}
