import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { writeVolume } from '../../src/bundle/volume-writer.js'
import type { BundledImage, BundleIndex, Piece } from '../../src/images/bundle/bundle-index.js'
import { bundleId, iconName, manifestName, pieceName, volumeDirectory } from '../../src/images/bundle/bundle-names.js'
import { formatBundleIndex } from '../../src/images/bundle/format-bundle-index.js'
import { parseManifest } from '../../src/images/parse-manifest.js'
import type { Uuid } from '../../src/images/uuid.js'
import { diskMedia } from '../../src/store/disk-media.js'
import type { Signer } from '../../src/store/store.js'
import { v2 } from '../images/manifests.js'
import { contentOf, sha256Of, signer } from './volumes.js'

export const MIB = 1024 * 1024
const never = new AbortController().signal

export interface MadeImage {
  readonly image: BundledImage
  readonly bytes: Buffer
  readonly icon: Buffer | undefined
}

/** An image of these bytes, as an exporting mirror would pack it. */
export function madeUpImage(
  uuid: Uuid,
  bytes: Buffer,
  more: { origin?: Uuid; name?: string; icon?: Buffer } = {},
): MadeImage {
  const { icon, ...changes } = more
  const digests = {
    sha256: sha256Of(bytes),
    sha1: createHash('sha1').update(bytes).digest('hex'),
    md5: createHash('md5').update(bytes).digest('hex'),
  }
  const parsed = parseManifest(
    v2({
      uuid,
      ...changes,
      ...(icon && { icon: true }),
      files: [{ sha1: digests.sha1, size: bytes.length, compression: 'none' }],
    }),
  )
  if (!parsed.ok) throw new Error(parsed.reason)
  return {
    image: {
      manifest: parsed.statement.manifest,
      upstream: 'joyent',
      files: [{ sizeBytes: bytes.length, ...digests }],
      icon: icon && { type: 'image/png', sizeBytes: icon.length, sha256: sha256Of(icon) },
      isPublication: false,
    },
    bytes,
    icon,
  }
}

export interface MadeBundle {
  readonly id: string
  readonly index: BundleIndex
  /** Paths of the volumes, in order. */
  readonly volumes: readonly string[]
}

/**
 * Writes a bundle of these images below `root`, each volume a directory. Files go to the volumes piece by piece, in turn; those that `isThere` says of
 * the receiver has.
 */
export async function writeMadeUpBundle(
  root: string,
  made: readonly MadeImage[],
  options: {
    volumes?: number
    parityPercent?: number
    requires?: readonly MadeImage[]
    series?: BundleIndex['series']
    docker?: BundleIndex['docker'] & { readonly bytes: ReadonlyMap<string, Buffer> }
    isThere?: (sha256: string, startBytes: number) => boolean
    provenance?: string
    by?: Signer
    site?: string
  } = {},
): Promise<MadeBundle> {
  const { by = signer, docker, parityPercent = 10, provenance = '', site = 'open', volumes = 1 } = options
  const { isThere = () => false } = options
  const files = [
    ...made.map(({ bytes, image }) => ({ bytes, file: image.files[0]! })),
    ...(docker?.layers ?? []).map((file) => ({ file, bytes: docker!.bytes.get(file.sha256)! })),
  ]
  const pieces: Piece[] = []
  for (const { file } of files) {
    const whole = volumes === 1 && options.isThere === undefined
    for (let startBytes = 0; startBytes < file.sizeBytes; startBytes += whole ? file.sizeBytes : MIB) {
      const endBytes = whole ? file.sizeBytes : Math.min(file.sizeBytes, startBytes + MIB)
      if (isThere(file.sha256, startBytes)) continue
      pieces.push({ sha256: file.sha256, startBytes, endBytes, volume: (pieces.length % volumes) + 1 })
    }
  }
  const index: BundleIndex = {
    from: { site, key: by.key },
    for: undefined,
    series: options.series,
    select: [],
    images: made.map(({ image }) => image),
    requires: (options.requires ?? []).map(({ image: { files: all, manifest } }) => ({
      uuid: manifest.uuid,
      name: manifest.name,
      version: manifest.version,
      files: all.map(({ sha256, sizeBytes }) => ({ sha256, sizeBytes })),
    })),
    pieces,
    volumes,
    docker: { objects: docker?.objects ?? [], layers: docker?.layers ?? [], tags: docker?.tags ?? [] },
    provenance: { sizeBytes: Buffer.byteLength(provenance), sha256: sha256Of(Buffer.from(provenance)) },
  }
  const bundleJson = formatBundleIndex(index)
  const id = bundleId(bundleJson)
  const common = [
    { path: 'README.txt', bytes: Buffer.from('This is a volume of a bundle.\n') },
    { path: 'provenance.jsonl', bytes: Buffer.from(provenance) },
    ...made.map(({ image }) => ({ path: manifestName(image.manifest.uuid), bytes: Buffer.from(image.manifest.json) })),
    ...made.flatMap(({ icon, image }) =>
      icon ? [{ path: iconName(image.manifest.uuid, 'image/png'), bytes: icon }] : [],
    ),
    ...(docker?.objects ?? []).map(({ digest }) => ({
      path: `docker/${digest.hex}`,
      bytes: docker!.bytes.get(digest.hex)!,
    })),
  ]
  const medium = await diskMedia.open(root, { isToBeWritten: true })
  const directories: string[] = []
  for (let volume = 1; volume <= volumes; volume++) {
    const directory = volumeDirectory(id, volume, volumes)
    const own = pieces
      .filter((piece) => piece.volume === volume)
      .map(({ endBytes, sha256, startBytes }) => {
        const { bytes, file } = files.find((each) => each.file.sha256 === sha256)!
        return {
          path: pieceName(sha256, startBytes, endBytes, file.sizeBytes),
          bytes: bytes.subarray(startBytes, endBytes),
        }
      })
    await writeVolume({
      ...{ medium, directory, bundleJson, volume, volumes, parityPercent },
      bundleSignature: by.sign(bundleJson, 'a bundle'),
      contents: [...common, ...own].map((content) => ({ ...contentOf(content), sha256: undefined })),
      sign: by.sign,
      signal: never,
    })
    directories.push(join(root, directory))
  }
  return { id, index, volumes: directories }
}
