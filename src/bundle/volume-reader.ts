import { createHash } from 'node:crypto'
import { isMirrorError, MirrorError } from '../errors.js'
import type { BundleIndex } from '../images/bundle/bundle-index.js'
import { BUNDLE_INDEX_LIMIT_BYTES, VOLUME_INDEX_LIMIT_BYTES } from '../images/bundle/bundle-limits.js'
import { parseBundleIndex } from '../images/bundle/parse-bundle-index.js'
import { parseVolumeIndex } from '../images/bundle/parse-volume-index.js'
import type { VolumeIndex } from '../images/bundle/volume-index.js'
import type { Medium } from '../store/medium.js'
import { contradictionIn } from './contradiction.js'
import { mixedCopies } from './mixed-copies.js'
import { copyOf } from './small-files.js'
import type { Signature, TrustedKeys } from './trusted-keys.js'
import { type VolumeBlock, VolumeBlocks } from './volume-blocks.js'
import { volumePath } from './volume-path.js'

const SIGNATURE_LIMIT_BYTES = 4096
/** The hashes of all blocks are in memory: of 512 GiB in blocks of 64 KiB, or 8 TiB of 1 MiB. */
const HASHES_LIMIT_BYTES = 256 * 1024 * 1024
/** A whole group is, too, where one is healed. */
const GROUP_LIMIT_BYTES = 128 * 1024 * 1024

/** A volume whose indexes are read and believed. The caller closes it. */
export interface OpenVolume {
  readonly bundle: BundleIndex
  readonly bundleJson: Buffer
  readonly id: string
  readonly volume: VolumeIndex
  /** `undefined`: nobody that we could tell. */
  readonly signedBy: Signature | undefined
  /**
   * What a file of volume.json has, in order and to its end. Blocks that cannot be read, are damaged or missing are healed from parity; those that
   * cannot be are named lost, and what comes after them is given all the same.
   * @throws MirrorError BUNDLE_INVALID for a path that the volume does not have; MEDIUM_UNREADABLE when nothing at all can be read any more.
   */
  blocks(path: string): AsyncIterable<VolumeBlock>
  close(): Promise<void>
}

/**
 * Reads what a volume is, from second copies where the first are damaged, or from what is left of both.
 * @param directory as `findVolumes` answers it
 * @throws MirrorError BUNDLE_UNTRUSTED when nobody we trust has signed it and that is not allowed; BUNDLE_INVALID, MEDIUM_UNREADABLE.
 */
export async function openVolume(
  medium: Medium,
  directory: string,
  { trustedKeys, isUntrustedAllowed }: { trustedKeys: TrustedKeys; isUntrustedAllowed: boolean },
): Promise<OpenVolume> {
  const copies = new VolumeCopies(medium, directory, trustedKeys)
  const volumeJson = await copies.signed('volume.json', VOLUME_INDEX_LIMIT_BYTES, parseVolumeIndex)
  if (!isUntrustedAllowed) requireTrust(copies.name('volume.json'), volumeJson.signedBy)
  const volume = volumeJson.value
  const bundleJson = await copies.signed('bundle.json', BUNDLE_INDEX_LIMIT_BYTES, (bytes) => {
    if (sha256Of(bytes) !== volume.bundle) throw invalid(copies.name('bundle.json'), `is not what volume.json says`)
    return parseBundleIndex(bytes)
  })
  if (!isUntrustedAllowed) requireTrust(copies.name('bundle.json'), bundleJson.signedBy)
  const bundle = bundleJson.value
  if (bundle.volumes !== volume.volumes) {
    const message = `says that it is one of ${volume.volumes} volumes: the bundle has ${bundle.volumes}`
    throw invalid(copies.name('volume.json'), message)
  }
  checkSizes(copies.name('volume.json'), volume)
  const contradiction = contradictionIn(volume, bundle)
  if (contradiction !== undefined) throw invalid(copies.name('volume.json'), contradiction)
  const hashes = await copies.whole('parity/blocks.sha256', volume.blocks)
  const blocks = new VolumeBlocks({ medium, directory, volume, hashes })
  return {
    bundle,
    bundleJson: bundleJson.bytes,
    id: volume.bundle,
    volume,
    signedBy: bundleJson.signedBy,
    blocks: (path) => blocks.ofFile(path),
    close: () => blocks.close(),
  }
}

/** What cannot be healed, and is there twice instead. */
class VolumeCopies {
  readonly #medium: Medium
  readonly #directory: string
  readonly #keys: TrustedKeys

  constructor(medium: Medium, directory: string, keys: TrustedKeys) {
    this.#medium = medium
    this.#directory = directory
    this.#keys = keys
  }

  name(path: string): string {
    return `${this.#medium.path}/${volumePath(this.#directory, path)}`
  }

  /** The first copy that is signed by whom we trust, or else the first that can be read at all. */
  async signed<Value>(path: string, limitBytes: number, parse: (bytes: Buffer) => Value | Promise<Value>) {
    const signatures = await this.#all(`${path}.minisig`, SIGNATURE_LIMIT_BYTES)
    let untrusted: { bytes: Buffer; value: Value; signedBy: Signature | undefined } | undefined
    let refusal: unknown
    for await (const bytes of this.#candidates(path, limitBytes)) {
      try {
        const verdicts = signatures.map((signature) => this.#keys.verify(bytes, signature.toString()))
        const signedBy = verdicts.find((verdict) => verdict?.isTrusted) ?? verdicts.find((verdict) => verdict)
        if (untrusted && !signedBy?.isTrusted) continue
        const found = { bytes, value: await parse(bytes), signedBy }
        if (signedBy?.isTrusted) return found
        untrusted = found
      } catch (error) {
        if (!isMirrorError(error, 'BUNDLE_INVALID')) throw error
        refusal ??= error
      }
    }
    if (untrusted) return untrusted
    throw refusal ?? new MirrorError('MEDIUM_UNREADABLE', `${this.name(path)} and its copy cannot be read`)
  }

  /** One whose hash is known; `undefined` when nothing of it is whole. */
  async whole(path: string, { sizeBytes, sha256 }: { sizeBytes: number; sha256: string }): Promise<Buffer | undefined> {
    try {
      for await (const bytes of this.#candidates(path, sizeBytes)) if (sha256Of(bytes) === sha256) return bytes
    } catch (error) {
      // Both are too large, or no files: as good as none.
      if (!isMirrorError(error, 'BUNDLE_INVALID', 'MEDIUM_UNREADABLE')) throw error
    }
    return undefined
  }

  async #all(path: string, limitBytes: number): Promise<Buffer[]> {
    const found: Buffer[] = []
    try {
      for await (const bytes of this.#candidates(path, limitBytes)) found.push(bytes)
    } catch (error) {
      if (!isMirrorError(error, 'BUNDLE_INVALID', 'MEDIUM_UNREADABLE')) throw error
    }
    return found.slice(0, 2)
  }

  #candidates(path: string, limitBytes: number): AsyncIterable<Buffer> {
    const places = [path, copyOf(path)].map((place) => volumePath(this.#directory, place))
    return mixedCopies(this.#medium, places as [string, string], limitBytes)
  }
}

function requireTrust(name: string, signedBy: Signature | undefined): void {
  if (signedBy?.isTrusted) return
  const who = signedBy
    ? `says that the key ${signedBy.key} signed it, which is not among bundles.trustedKeys; --allow-untrusted takes it all the same`
    : 'has no signature that is right; --allow-untrusted takes it all the same'
  throw new MirrorError('BUNDLE_UNTRUSTED', `${name} ${who}`)
}

/** What is right by itself, and more than we have memory for. */
function checkSizes(name: string, { blocks, parity }: VolumeIndex): void {
  if (blocks.sizeBytes > HASHES_LIMIT_BYTES) throw invalid(name, `has more blocks than we read: ${blocks.count}`)
  const shards = parity ? parity.dataShards + parity.parityShards : 0
  if (shards * blocks.blockBytes > GROUP_LIMIT_BYTES) throw invalid(name, 'has larger groups of blocks than we heal')
  if (parity?.files.some(({ sizeBytes }) => sizeBytes % blocks.blockBytes !== 0)) {
    throw invalid(name, 'has a file of parity that ends within a block')
  }
}

function invalid(name: string, what: string): MirrorError {
  return new MirrorError('BUNDLE_INVALID', `${name} ${what}`)
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
