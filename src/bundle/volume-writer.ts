import { createHash } from 'node:crypto'
import { isMirrorError, MirrorError } from '../errors.js'
import { bundleId } from '../images/bundle/bundle-names.js'
import { formatVolumeIndex } from '../images/bundle/format-volume-index.js'
import { parseVolumeIndex } from '../images/bundle/parse-volume-index.js'
import type { VolumeFile, VolumeIndex } from '../images/bundle/volume-index.js'
import { forEachConcurrently } from '../parts/for-each-concurrently.js'
import type { Medium } from '../store/medium.js'
import { BlockWorkers } from './block-workers.js'
import { type VolumeContent, writeContent } from './content-writer.js'
import { writeParity } from './parity-writer.js'
import { SmallFiles } from './small-files.js'
import { HASH_BYTES, layOut, type VolumeLayout, volumeSizeBytes } from './volume-layout.js'
import { volumePath } from './volume-path.js'

const AT_ONCE = 4

export interface VolumeWriting {
  readonly medium: Medium
  /** The volume's, on the medium; made if it is not there. */
  readonly directory: string
  readonly bundleJson: Buffer
  readonly bundleSignature: string
  /** From 1. */
  readonly volume: number
  readonly volumes: number
  /** Every file that volume.json lists: README.txt, provenance.jsonl and manifests, too. */
  readonly contents: readonly VolumeContent[]
  /** Whole, 0 to 50. */
  readonly parityPercent: number
  /** With the mirror's key. The comment is signed as it is: the same text and comment give the same signature. */
  sign(text: Buffer, comment: string): string
  /** How many files are written side by side: 4 of them if it is not said. */
  readonly atOnce?: number | undefined
  /** Told of each file how much of it is there and was verified. */
  readonly onProgress?: ((path: string, doneBytes: number) => void) | undefined
  readonly signal: AbortSignal
}

/**
 * Writes a volume of a bundle. After any break it goes on when it is called again, and what is there whole is not written again: on top of a
 * finished volume nothing is. All that is written is read back, past the cache where the system lets us, and held against what it
 * should be. volume.json comes last: a directory without it is a volume that was not finished.
 *
 * About 100 MiB of memory are in use: 12 for files, 48 for parity, and the hashes of all blocks, which are 32 MiB for each TiB (or 64 GiB).
 *
 * @throws MirrorError MEDIUM_FULL saying how much room is missing, MEDIUM_UNREADABLE, STORE_BROKEN when a content is not what it was said to be; the
 *   signal's reason; what reading the contents fails with.
 */
export async function writeVolume(writing: VolumeWriting): Promise<VolumeIndex> {
  const contents = [...writing.contents].sort((one, other) => (one.path < other.path ? -1 : 1))
  const layout = layOut(contents, writing.parityPercent)
  const small = new SmallFiles(writing.medium, writing.directory)
  // With an index that says other than what will be, a volume half changed would look finished.
  if (!(await hasOurIndex(writing, layout, small))) {
    await small.removeTwice('volume.json')
    await checkRoom(writing, layout)
  }
  const workers = new BlockWorkers()
  try {
    return await write({ ...writing, contents }, { layout, workers, small })
  } catch (error) {
    if (!isMirrorError(error, 'MEDIUM_FULL')) throw error
    // Somebody else writes to it, too, or it holds less than it says.
    await checkRoom(writing, layout)
    throw error
  } finally {
    await workers.close()
  }
}

async function write(
  writing: VolumeWriting,
  { layout, workers, small }: { layout: VolumeLayout; workers: BlockWorkers; small: SmallFiles },
): Promise<VolumeIndex> {
  const { medium, directory, contents, bundleJson, volume, volumes, signal } = writing
  const bundle = bundleId(bundleJson)
  const { data, parity } = layout
  const hashes = Buffer.alloc((data.count + (parity?.space.count ?? 0)) * HASH_BYTES)
  const files = new Map<string, VolumeFile>()
  const place = { medium, directory, workers, signal }
  const progress = { blockBytes: data.blockBytes, onProgress: writing.onProgress ?? (() => {}) }
  await forEachConcurrently(contents, writing.atOnce ?? AT_ONCE, async (content) => {
    const { path, sizeBytes } = content
    const written = await writeContent(content, { ...place, ...progress })
    written.hashes.copy(hashes, data.ofFile(path)!.firstBlock * HASH_BYTES)
    files.set(path, { path, sizeBytes, sha256: written.sha256 })
  })
  const parityFiles = await writeParity(layout, hashes, place)
  signal.throwIfAborted()
  await small.placeTwice('parity/blocks.sha256', hashes)
  const bundleSignature = await small.signatureFor('bundle.json', bundleJson, writing.bundleSignature, writing.sign)
  await small.placeTwice('bundle.json.minisig', Buffer.from(bundleSignature))
  await small.placeTwice('bundle.json', bundleJson)

  const sha256 = createHash('sha256').update(hashes).digest('hex')
  const index: VolumeIndex = {
    bundle,
    volume,
    volumes,
    files: contents.map(({ path }) => files.get(path)!),
    blocks: { blockBytes: data.blockBytes, count: data.count, sizeBytes: hashes.length, sha256 },
    parity: parity && {
      dataShards: parity.dataShards,
      parityShards: parity.parityShards,
      groups: parity.groups,
      files: parityFiles,
    },
  }
  const volumeJson = formatVolumeIndex(index)
  const signature = writing.sign(volumeJson, `volume ${volume} of ${volumes} of the bundle ${bundle}`)
  await small.placeTwice('volume.json.minisig', Buffer.from(signature))
  await small.placeTwice('volume.json', volumeJson)
  return index
}

/** Whether the volume is finished already, as far as its index tells. */
async function hasOurIndex(
  { contents, bundleJson }: VolumeWriting,
  { data, parity }: VolumeLayout,
  small: SmallFiles,
): Promise<boolean> {
  const known = new Map(contents.map(({ path, ...rest }) => [path, rest]))
  const isOurs = (bytes: Buffer) => {
    const found = parseVolumeIndex(bytes)
    const isSame = ({ path, sizeBytes, sha256 }: VolumeFile) => {
      const ours = known.get(path)
      return ours?.sizeBytes === sizeBytes && (ours.sha256 ?? sha256) === sha256
    }
    return (
      found.bundle === bundleId(bundleJson) &&
      found.blocks.blockBytes === data.blockBytes &&
      found.parity?.dataShards === parity?.dataShards &&
      found.parity?.parityShards === parity?.parityShards &&
      found.files.length === contents.length &&
      found.files.every(isSame)
    )
  }
  const copies = await small.copiesOf('volume.json')
  try {
    return copies.length > 0 && copies.every(isOurs)
  } catch (error) {
    if (isMirrorError(error, 'BUNDLE_INVALID')) return false
    throw error
  }
}

/** @throws MirrorError MEDIUM_FULL. */
async function checkRoom(
  { medium, directory, contents, parityPercent, bundleJson, volume }: VolumeWriting,
  { parity }: VolumeLayout,
): Promise<void> {
  let presentBytes = 0
  for (const { path, sizeBytes } of [...contents, ...(parity?.files ?? [])]) {
    const file = await medium.open(volumePath(directory, path)).catch(() => undefined)
    presentBytes += Math.min(file?.sizeBytes ?? 0, sizeBytes)
    await file?.close()
  }
  const neededBytes = volumeSizeBytes(contents, { parityPercent, bundleJsonBytes: bundleJson.length }) - presentBytes
  const freeBytes = await medium.freeBytes()
  if (neededBytes <= freeBytes) return
  const missingBytes = neededBytes - freeBytes
  const message = `${medium.path} has ${freeBytes} bytes free: for the rest of volume ${volume} it lacks ${missingBytes}`
  throw new MirrorError('MEDIUM_FULL', message)
}
