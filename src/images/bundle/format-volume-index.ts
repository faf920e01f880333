import { VOLUME_INDEX_LIMIT_BYTES } from './bundle-limits.js'
import { formatDocument, formatList } from './format-document.js'
import { VOLUME_FORMAT } from './parse-volume-index.js'
import type { VolumeFile, VolumeIndex } from './volume-index.js'

const toJson = JSON.stringify

/** `volume.json`, a file of it a line; the same index is always the same bytes. @throws MirrorError BUNDLE_INVALID as formatBundleIndex. */
export function formatVolumeIndex({ blocks, bundle, files, parity, volume, volumes }: VolumeIndex): Buffer {
  const { blockBytes, count, sha256, sizeBytes } = blocks
  return formatDocument('volume.json', VOLUME_INDEX_LIMIT_BYTES, {
    format: toJson(VOLUME_FORMAT),
    version: '1',
    bundle: toJson(bundle),
    volume: toJson(volume),
    volumes: toJson(volumes),
    files: files.map(formatFile),
    blocks: toJson({ blockBytes, count, sizeBytes, sha256 }),
    parity: parity ? formatParity(parity) : 'null',
  })
}

function formatParity({ dataShards, files, groups, parityShards }: NonNullable<VolumeIndex['parity']>): string {
  const numbers = toJson({ dataShards, parityShards, groups })
  return `${numbers.slice(0, -1)},"files":${formatList(files.map(formatFile))}}`
}

function formatFile({ path, sha256, sizeBytes }: VolumeFile): string {
  return toJson({ path, sizeBytes, sha256 })
}
