import type { BundleIndex } from '../images/bundle/bundle-index.js'
import { dockerObjectName, iconName, pieceName } from '../images/bundle/bundle-names.js'
import type { VolumeIndex } from '../images/bundle/volume-index.js'

/** What is promised of a file; of a piece nobody says what it hashes to. */
interface Promised {
  readonly sizeBytes: number
  readonly sha256?: string
}

/**
 * Which file of a volume is said to be another one than `bundle.json` has it, in words; `undefined` when none is. Each of the two indexes may
 * be right by itself, and signed: whoever makes room for a file as the one says may then read as much of it as the other does.
 */
export function contradictionIn(volume: VolumeIndex, bundle: BundleIndex): string | undefined {
  const promises = promisesOf(bundle, volume.volume)
  for (const { path, sha256, sizeBytes } of volume.files) {
    const right = promises.get(path)
    if (!right) continue
    if (right.sizeBytes !== sizeBytes)
      return `says ${path} has ${sizeBytes} bytes; by bundle.json it has ${right.sizeBytes}`
    if (right.sha256 !== undefined && right.sha256 !== sha256) {
      return `says ${path} has the sha256 ${sha256}; by bundle.json it has ${right.sha256}`
    }
  }
  return undefined
}

function promisesOf({ docker, images, pieces, provenance }: BundleIndex, volume: number): Map<string, Promised> {
  const promises = new Map<string, Promised>([['provenance.jsonl', provenance]])
  for (const { icon, manifest } of images) if (icon) promises.set(iconName(manifest.uuid, icon.type), icon)
  for (const { digest, sizeBytes } of docker.objects) promises.set(dockerObjectName(digest.hex), { sizeBytes })
  const files = [...images.flatMap((image) => image.files), ...docker.layers]
  const sizes = new Map(files.map(({ sha256, sizeBytes }) => [sha256, sizeBytes]))
  for (const { endBytes, sha256, startBytes, volume: place } of pieces) {
    if (place !== volume) continue
    promises.set(pieceName(sha256, startBytes, endBytes, sizes.get(sha256)!), { sizeBytes: endBytes - startBytes })
  }
  return promises
}
