import { createHash, createPrivateKey } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import type { VolumeContent } from '../../src/bundle/content-writer.js'
import { TrustedKeys } from '../../src/bundle/trusted-keys.js'
import { type OpenVolume, openVolume } from '../../src/bundle/volume-reader.js'
import { type VolumeWriting, writeVolume } from '../../src/bundle/volume-writer.js'
import { formatBundleIndex } from '../../src/images/bundle/format-bundle-index.js'
import { diskMedia } from '../../src/store/disk-media.js'
import type { Medium } from '../../src/store/medium.js'
import { madeUpBytes } from '../support/made-up-bytes.js'
import { makeSigner } from './signers.js'

/** Always the same key, in every process: the 32 bytes after what RFC 8410 puts before them. */
const secret = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 7)])
export const signer = makeSigner(createPrivateKey({ key: secret, format: 'der', type: 'pkcs8' }))
export const trustedKeys = TrustedKeys.of([signer.publicKey])
const never = new AbortController().signal

export const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Files of images of these sizes, and what else a volume has. */
export function madeUpContents(sizes: readonly number[], seed = 1): { path: string; bytes: Buffer }[] {
  const files = sizes.map((sizeBytes, index) => madeUpBytes(sizeBytes, seed + index))
  return [
    { path: 'README.txt', bytes: Buffer.from('This is a volume of a bundle.\n') },
    { path: 'provenance.jsonl', bytes: Buffer.alloc(0) },
    ...files.map((bytes) => ({ path: `files/${sha256Of(bytes)}`, bytes })),
  ]
}

/** Gives bytes in pieces of an odd size, as streams do. */
export function contentOf({ path, bytes }: { path: string; bytes: Buffer }): VolumeContent {
  return {
    path,
    sizeBytes: bytes.length,
    sha256: path.startsWith('files/') ? sha256Of(bytes) : undefined,
    async *read(startBytes) {
      for (let at = startBytes; at < bytes.length; at += 70_001) yield bytes.subarray(at, at + 70_001)
    },
  }
}

export function bundleJsonOf(name: string, volumes = 1): Buffer {
  return formatBundleIndex({
    from: { site: 'open', key: signer.key },
    for: undefined,
    series: undefined,
    select: [name],
    images: [],
    requires: [],
    pieces: [],
    volumes,
    docker: { objects: [], layers: [], tags: [] },
    provenance: { sizeBytes: 0, sha256: sha256Of(Buffer.alloc(0)) },
  })
}

type Changes = Partial<VolumeWriting> & { sizes?: readonly number[]; seed?: number }

/** Writes a volume of made-up files into `volume/` of a medium. */
export async function writeMadeUp(medium: Medium, { sizes = [], seed, ...changes }: Changes = {}) {
  const files = madeUpContents(sizes, seed)
  const bundleJson = changes.bundleJson ?? bundleJsonOf('made up')
  const index = await writeVolume({
    medium,
    directory: 'volume',
    bundleJson,
    bundleSignature: signer.sign(bundleJson, 'a bundle'),
    volume: 1,
    volumes: 1,
    contents: files.map(contentOf),
    parityPercent: 10,
    sign: signer.sign,
    signal: never,
    ...changes,
  })
  return { files, index }
}

export async function openMadeUp(medium: Medium, isUntrustedAllowed = false): Promise<OpenVolume> {
  return openVolume(medium, 'volume', { trustedKeys, isUntrustedAllowed })
}

/** What there is of a file: its bytes, with those that are lost left out and named. */
export async function readFile(volume: OpenVolume, path: string) {
  const pieces: Buffer[] = []
  const lost: number[] = []
  let healedBlocks = 0
  let doneBytes = 0
  for await (const block of volume.blocks(path)) {
    if (block.positionBytes !== doneBytes)
      throw new Error(`${path} goes on at ${block.positionBytes}, not ${doneBytes}`)
    if (block.isLost) lost.push(block.positionBytes / volume.volume.blocks.blockBytes)
    const bytes = block.isLost ? Buffer.alloc(block.sizeBytes) : block.bytes
    if (!block.isLost && block.isHealed) healedBlocks++
    pieces.push(bytes)
    doneBytes += bytes.length
  }
  return { bytes: Buffer.concat(pieces), lost, healedBlocks }
}

/** Every file in a directory, with its content's hash. */
export async function snapshot(root: string): Promise<Record<string, string>> {
  const names = await fs.readdir(root, { recursive: true, withFileTypes: true })
  const paths = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const found = await Promise.all(
    paths.map(async (path) => [path.slice(root.length + 1), sha256Of(await fs.readFile(path))]),
  )
  return Object.fromEntries(found.sort())
}

export const openDisk = (root: string) => diskMedia.open(root, { isToBeWritten: true })
