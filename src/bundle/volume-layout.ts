import { type BlockedFile, BlockSpace } from './block-space.js'

const KIB = 1024
const MIB = 1024 * KIB
/** Files of parity are no larger: FAT ends at 4 GiB, and a row of parity is written in one go. */
const PARITY_FILE_BYTES = 1024 * MIB
export const HASH_BYTES = 32
/** With every file the medium loses what is left of its last cluster; of small ones, most. Ours are counted as if it were this. */
const CLUSTER_BYTES = 4 * KIB
/** Entries of directories, signatures, what is around the lists of volume.json; all generously. */
const AROUND_BYTES = 64 * KIB
const AROUND_EACH_BYTES = 512

export interface ParityLayout {
  readonly dataShards: number
  readonly parityShards: number
  readonly groups: number
  readonly files: readonly BlockedFile[]
}

export interface VolumeLayout {
  readonly data: BlockSpace
  readonly parity: (ParityLayout & { readonly space: BlockSpace }) | undefined
}

/** How files of a volume are cut and put into groups: the same for the same sizes. @param parityPercent whole, 0 to 50. */
export function layOut(files: readonly BlockedFile[], parityPercent: number): VolumeLayout {
  const data = new BlockSpace(files, blockBytesOf(files))
  if (parityPercent === 0 || data.count === 0) return { data, parity: undefined }
  // Of 20 blocks as many as are asked for, as a code with few rows is quick; rarer ones are spread over more data.
  const parityShards = Math.ceil((20 * parityPercent) / 100)
  const dataShards = Math.floor((parityShards * 100) / parityPercent)
  const groups = Math.ceil(data.count / dataShards)
  const parityFiles = parityFilesOf(parityShards, groups * data.blockBytes)
  const space = new BlockSpace(parityFiles, data.blockBytes)
  return { data, parity: { dataShards, parityShards, groups, files: parityFiles, space } }
}

/** What a volume takes of its medium: never less, and little more. @param files as `writeVolume` is given them. */
export function volumeSizeBytes(
  files: readonly BlockedFile[],
  { parityPercent, bundleJsonBytes }: { parityPercent: number; bundleJsonBytes: number },
): number {
  const { data, parity } = layOut(files, parityPercent)
  const parityFiles = parity?.files ?? []
  const listed = [...files, ...parityFiles]
  const hashBytes = (data.count + (parity?.space.count ?? 0)) * HASH_BYTES
  const indexBytes = listed.reduce((sum, { path }) => sum + path.length + AROUND_EACH_BYTES, AROUND_BYTES)
  const once = listed.reduce((sum, { sizeBytes }) => sum + onMedium(sizeBytes), 0)
  return once + 2 * (onMedium(hashBytes) + onMedium(indexBytes) + onMedium(bundleJsonBytes))
}

function onMedium(sizeBytes: number): number {
  return Math.ceil(sizeBytes / CLUSTER_BYTES) * CLUSTER_BYTES
}

/**
 * Small blocks for small volumes, where parity of large ones would be most of it; 64 KiB up to 64 GiB, which is about what a medium
 * loses at once; larger ones after that, as the hashes of all of them are in memory: 32 MiB of them up to 1 TiB.
 */
function blockBytesOf(files: readonly BlockedFile[]): number {
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
  if (sizeBytes <= 16 * MIB) return 4 * KIB
  let blockBytes = 64 * KIB
  while (blockBytes < MIB && sizeBytes > blockBytes * 2 ** 20) blockBytes *= 2
  return blockBytes
}

/** Each row begins a new file, so that all of them are written from front to back. */
function parityFilesOf(rows: number, rowBytes: number): BlockedFile[] {
  const files: BlockedFile[] = []
  for (let row = 0; row < rows; row++) {
    for (let startBytes = 0; startBytes < rowBytes; startBytes += PARITY_FILE_BYTES) {
      const path = `parity/${String(files.length).padStart(4, '0')}.rs`
      files.push({ path, sizeBytes: Math.min(PARITY_FILE_BYTES, rowBytes - startBytes) })
    }
  }
  return files
}
