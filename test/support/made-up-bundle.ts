import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BundledFile, BundledImage, BundleIndex, Piece } from '../../src/images/bundle/bundle-index.js'
import { bundleId, iconName, pieceName, volumeDirectory } from '../../src/images/bundle/bundle-names.js'
import { formatBundleIndex } from '../../src/images/bundle/format-bundle-index.js'
import type { Signer } from '../../src/store/store.js'
import { bundleIndex, MIB } from '../images/bundle/bundles.js'
import { parsed, uuid, v2 } from '../images/manifests.js'

const PNG = Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), Buffer.from('a picture')])

export interface MadeUpBundle {
  readonly id: string
  readonly index: BundleIndex
  readonly bundleJson: Buffer
  /** The directories of its volumes. */
  readonly volumes: readonly string[]
  /** By the number of the image. */
  readonly contents: ReadonlyMap<number, Buffer>
  readonly icon: Buffer
}

/**
 * A bundle on a disk, as the format says, without parity: image 1 is whole on volume 1, image 2 is in three pieces, of which the
 * second is on volume 2, and of image 3 there is only a part.
 */
export async function makeBundle(directory: string, signer: Signer | undefined): Promise<MadeUpBundle> {
  const contents = new Map([1, 2, 3].map((number) => [number, bytesOf(number)]))
  const files = [...contents.values()].map(fileOf) as [BundledFile, BundledFile, BundledFile]
  const icon = { type: 'image/png' as const, sizeBytes: PNG.length, sha256: hex('sha256', PNG) }
  const images = files.map((file, index): BundledImage => {
    const wire = { uuid: uuid(index + 1), files: [{ sha1: file.sha1, size: file.sizeBytes, compression: 'none' }] }
    const { manifest } = parsed(v2({ ...wire, name: `image-${index + 1}`, icon: index === 0 })).statement
    return { manifest, upstream: 'smartos', files: [file], icon: index === 0 ? icon : undefined, isPublication: false }
  })
  const piece = ({ sha256 }: BundledFile, startBytes: number, endBytes: number, volume: number): Piece => ({
    sha256,
    startBytes,
    endBytes,
    volume,
  })
  const pieces = [
    piece(files[0], 0, files[0].sizeBytes, 1),
    piece(files[1], 0, MIB, 1),
    piece(files[1], MIB, 2 * MIB, 2),
    piece(files[1], 2 * MIB, files[1].sizeBytes, 1),
    piece(files[2], 0, MIB, 2),
  ]
  const index = bundleIndex({ images, requires: [], pieces, volumes: 2 })
  const bundleJson = formatBundleIndex(index)
  const id = bundleId(bundleJson)
  const volumes = [1, 2].map((volume) => join(directory, volumeDirectory(id, volume, 2)))
  for (const path of volumes) {
    await mkdir(join(path, 'files'), { recursive: true })
    await mkdir(join(path, 'icons'))
    await writeFile(join(path, 'bundle.json'), bundleJson)
    if (signer) await writeFile(join(path, 'bundle.json.minisig'), signer.sign(bundleJson, 'made up'))
    await writeFile(join(path, iconName(uuid(1), 'image/png')), PNG)
  }
  for (const { endBytes, sha256, startBytes, volume } of pieces) {
    const number = files.findIndex((file) => file.sha256 === sha256) + 1
    const bytes = contents.get(number)!
    const path = join(volumes[volume - 1]!, pieceName(sha256, startBytes, endBytes, bytes.length))
    await writeFile(path, bytes.subarray(startBytes, endBytes))
  }
  return { id, index, bundleJson, volumes, contents, icon: PNG }
}

/** Some more than 2 MiB, none of whose blocks are alike. */
function bytesOf(number: number): Buffer {
  const bytes = Buffer.alloc(2 * MIB + 32 * number, `image ${number}: nothing to see here; `)
  for (let at = 0; at + 4 <= bytes.length; at += 1024) bytes.writeUInt32BE(at, at)
  return bytes
}

function fileOf(bytes: Buffer): BundledFile {
  return { sizeBytes: bytes.length, sha256: hex('sha256', bytes), sha1: hex('sha1', bytes), md5: hex('md5', bytes) }
}

function hex(algorithm: string, bytes: Buffer): string {
  return createHash(algorithm).update(bytes).digest('hex')
}
