import { MAX_ENTRIES, MAX_VOLUMES, VOLUME_INDEX_LIMITS } from './bundle-limits.js'
import { volumeFileProblem } from './bundle-names.js'
import { FieldReader } from './field-reader.js'
import type { VolumeFile, VolumeIndex, VolumeParity } from './volume-index.js'

export const VOLUME_FORMAT = 'imgapi-mirror bundle volume'

const SHA256_BYTES = 32
const LEAST_BLOCK_BYTES = 4 * 1024
const MOST_BLOCK_BYTES = 1024 * 1024
/** Of data and parity together: the code works on bytes. */
const MOST_SHARDS = 256
const PARITY_PATH = /^parity\/\d{4}\.rs$/
/** A volume is no larger than a file system: 2^50 bytes. Sums of sizes stay exact, too. */
const MOST_BYTES = 2 ** 50

/**
 * Reads `volume.json`. No two of its files are one on any medium, none lies outside of it, and the numbers of blocks, parity
 * and files fit each other.
 * @throws MirrorError BUNDLE_INVALID naming what is wrong, and where.
 */
export function parseVolumeIndex(bytes: Buffer): VolumeIndex {
  const reader = FieldReader.ofDocument('volume.json', bytes, VOLUME_INDEX_LIMITS)
  reader.expectFormat(VOLUME_FORMAT)
  const volumes = reader.wholeNumber('volumes', { least: 1, most: MAX_VOLUMES })
  const files = readFiles(reader)
  const parityReader = reader.objectOrNull('parity')
  const parity = parityReader && readParity(parityReader)
  const blocks = readBlocks(reader.object('blocks'), files, parity)
  if (parity && parityReader) checkParity(parityReader, parity, blocks)
  return {
    bundle: reader.sha256('bundle'),
    volume: reader.wholeNumber('volume', { least: 1, most: volumes }),
    volumes,
    files,
    blocks,
    parity,
  }
}

function readFiles(reader: FieldReader): VolumeFile[] {
  let before = ''
  let sumBytes = 0
  return reader.objects('files', MAX_ENTRIES).map((each) => {
    const file = readFile(each)
    const problem = volumeFileProblem(file)
    if (problem !== undefined) throw each.failure(`is ${JSON.stringify(file.path)}, which ${problem}`, 'path')
    if (file.path <= before) throw each.failure('comes twice, or not in the order of paths', 'path')
    before = file.path
    sumBytes += file.sizeBytes
    if (sumBytes > MOST_BYTES) throw each.failure('makes the volume larger than any medium', 'sizeBytes')
    return file
  })
}

function readFile(reader: FieldReader): VolumeFile {
  return {
    path: reader.word('path'),
    sizeBytes: reader.wholeNumber('sizeBytes', { least: 0, most: MOST_BYTES }),
    sha256: reader.sha256('sha256'),
  }
}

function readBlocks(
  reader: FieldReader,
  files: readonly VolumeFile[],
  parity: VolumeParity | undefined,
): VolumeIndex['blocks'] {
  const blockBytes = reader.wholeNumber('blockBytes', { least: LEAST_BLOCK_BYTES, most: MOST_BLOCK_BYTES })
  if (!Number.isInteger(Math.log2(blockBytes))) throw reader.refusal('blockBytes', 'a power of two')
  const count = files.reduce((sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / blockBytes), 0)
  const hashes = count + (parity ? parity.groups * parity.parityShards : 0)
  return {
    blockBytes,
    count: reader.wholeNumber('count', { least: count, most: count }),
    sizeBytes: reader.wholeNumber('sizeBytes', { least: hashes * SHA256_BYTES, most: hashes * SHA256_BYTES }),
    sha256: reader.sha256('sha256'),
  }
}

function readParity(reader: FieldReader): VolumeParity {
  const dataShards = reader.wholeNumber('dataShards', { least: 1, most: MOST_SHARDS - 1 })
  return {
    dataShards,
    parityShards: reader.wholeNumber('parityShards', { least: 1, most: MOST_SHARDS - dataShards }),
    groups: reader.wholeNumber('groups', { least: 0, most: MOST_BYTES / LEAST_BLOCK_BYTES }),
    files: readParityFiles(reader),
  }
}

function readParityFiles(reader: FieldReader): VolumeFile[] {
  let before = ''
  return reader.objects('files', MAX_ENTRIES).map((each) => {
    const file = readFile(each)
    if (!PARITY_PATH.test(file.path)) throw each.refusal('path', 'as in "parity/0001.rs"')
    if (file.path <= before) throw each.failure('comes twice, or not in the order of paths', 'path')
    before = file.path
    return file
  })
}

function checkParity(reader: FieldReader, parity: VolumeParity, blocks: VolumeIndex['blocks']): void {
  const groups = Math.ceil(blocks.count / parity.dataShards)
  if (parity.groups !== groups) throw reader.refusal('groups', `${groups}, as ${blocks.count} blocks make`)
  const sizeBytes = parity.files.reduce((sum, file) => sum + file.sizeBytes, 0)
  const rightBytes = groups * parity.parityShards * blocks.blockBytes
  if (sizeBytes !== rightBytes)
    throw reader.failure(`have ${sizeBytes} bytes together; right is ${rightBytes}`, 'files')
}
