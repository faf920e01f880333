import { basename } from 'node:path'
import { isMirrorError, MirrorError } from '../../errors.js'
import { strongestDigest } from '../../images/digest.js'
import { identityDifferences } from '../../images/identity.js'
import type { ImageFile, Manifest } from '../../images/manifest.js'
import { parseManifest } from '../../images/parse-manifest.js'
import type { Uuid } from '../../images/uuid.js'
import { isDeeperThan, isJsonObject } from '../../parts/json-object.js'
import type { BlobRef } from '../../store/blob-store.js'
import type { ForeignFile, ForeignStore } from '../../store/foreign-store.js'
import type { HeldImage } from '../../store/image-store.js'
import type { Catalogue } from '../catalogue.js'
import type { Job, JobProgress, Jobs } from '../jobs.js'
import type { Room } from '../keeping/room.js'
import type { KnownImages } from './known-images.js'
import type { Operator } from './operations.js'

export interface AdoptionOptions {
  readonly jobs: Jobs
  readonly catalogue: Catalogue
  readonly room: Room
  readonly foreign: ForeignStore
  readonly images: KnownImages
  readonly blobOf: (manifest: Manifest, fileIndex: number) => BlobRef | undefined
  /** Resolves when it is written down as held, or could not be. */
  readonly hold: (image: HeldImage) => Promise<void>
}

/** What came of a directory, in images. */
export interface AdoptionResult {
  readonly found: number
  readonly adopted: number
  readonly alreadyHeld: number
  readonly refused: number
  readonly adoptedBytes: number
}

/** What manifests, and lists of them, are called: by imgadm, dsapid, image servers, and mirrors like us. */
const MANIFEST_NAME = /(?:\.(?:json|imgmanifest|dsmanifest|manifest|html?)|^manifest)$/i
const MANIFEST_LIMIT_BYTES = 16 * 1024 * 1024
const MOST_MANIFESTS = 100_000
const DEPTH = 40
/** Files of the right size that are tried for one image. */
const MOST_TRIED = 20

/** Who the bytes came from, where an upstream's name would stand. */
const ADOPTED = 'adopted'

/**
 * Takes in what somebody else has kept: dsapid, an image server, another mirror, or any directory of manifests and files. Names
 * and layouts do not matter: whatever says that it is a manifest is one, its files are found by their size, and proved by their
 * digests before they count. The directory stays as it is.
 */
export class Adoption {
  readonly #options: AdoptionOptions

  constructor(options: AdoptionOptions) {
    this.#options = options
  }

  /** @throws MirrorError FORBIDDEN to whoever is not on this machine: what is on its disks is theirs to name. */
  start(path: string, { name: by, isLocal }: Operator): Job {
    if (!isLocal) throw new MirrorError('FORBIDDEN', 'a directory of this machine is for whoever is on it to name')
    const title = `adoption of ${path.slice(0, 256)}`
    return this.#options.jobs.start({ kind: 'adopt', title, by }, (progress) => this.#adopt(path, progress))
  }

  async #adopt(path: string, progress: JobProgress): Promise<AdoptionResult> {
    const filesBySize = new Map<number, string[]>()
    const documents: ForeignFile[] = []
    for await (const file of this.#options.foreign.list(path, progress.signal)) {
      const others = filesBySize.get(file.sizeBytes)
      if (others) others.push(file.path)
      else filesBySize.set(file.sizeBytes, [file.path])
      if (MANIFEST_NAME.test(basename(file.path)) && file.sizeBytes <= MANIFEST_LIMIT_BYTES) documents.push(file)
    }
    const counts = { alreadyHeld: 0, adopted: 0, refused: 0, adoptedBytes: 0 }
    const refuse = (name: string, reason: string) => {
      counts.refused++
      progress.item(name, { state: 'failed', note: reason })
    }
    const manifests = await this.#manifestsIn(documents, progress, refuse)
    for (const { uuid, name, version, files } of manifests.values()) {
      progress.item(uuid, {
        sizeBytes: files.reduce((sum, each) => sum + each.sizeBytes, 0),
        note: `${name} ${version}`,
      })
    }
    for (const manifest of manifests.values()) {
      progress.signal.throwIfAborted()
      const { uuid, name, version } = manifest
      try {
        if (this.#options.images.isHeld(manifest)) {
          counts.alreadyHeld++
          progress.item(uuid, { state: 'skipped', sizeBytes: 0, note: `${name} ${version}: held already` })
          continue
        }
        counts.adoptedBytes += await this.#takeIn(manifest, filesBySize, progress)
        counts.adopted++
      } catch (error) {
        progress.signal.throwIfAborted()
        if (!isMirrorError(error)) throw error
        refuse(uuid, `${name} ${version}: ${error.message}`)
      }
    }
    return { found: manifests.size, ...counts }
  }

  /** By uuid. What looks like a manifest and is none that can be used is refused by name. */
  async #manifestsIn(
    documents: readonly ForeignFile[],
    progress: JobProgress,
    refuse: (name: string, reason: string) => void,
  ): Promise<ReadonlyMap<Uuid, Manifest>> {
    const manifests = new Map<Uuid, Manifest>()
    for (const { path } of documents) {
      progress.signal.throwIfAborted()
      for (const value of await this.#valuesIn(path)) {
        if (!isJsonObject(value) || value.uuid === undefined || value.files === undefined) continue
        const parsed = parseManifest(value)
        if (!parsed.ok) {
          refuse(parsed.uuid ?? path, `${path}: ${parsed.reason}`)
          continue
        }
        const { manifest } = parsed.statement
        const other = manifests.get(manifest.uuid)
        if (other && identityDifferences(other, manifest).length > 0) {
          refuse(path, `${path}: says something else of image ${manifest.uuid} than another file here`)
        } else if (manifests.size < MOST_MANIFESTS) manifests.set(manifest.uuid, other ?? manifest)
      }
    }
    return manifests
  }

  /** A manifest, a list of them, or a held image as a mirror writes it down. Whatever is none of these is not for us. */
  async #valuesIn(path: string): Promise<readonly unknown[]> {
    let value: unknown
    try {
      value = JSON.parse((await this.#readWhole(path)).toString('utf8'))
      if (isDeeperThan(value, DEPTH)) return []
      if (isJsonObject(value) && isJsonObject(value.manifest) && typeof value.manifest.json === 'string') {
        value = JSON.parse(value.manifest.json)
      }
    } catch (error) {
      if (error instanceof SyntaxError || isMirrorError(error)) return []
      throw error
    }
    return Array.isArray(value) ? value : [value]
  }

  async #readWhole(path: string): Promise<Buffer> {
    const chunks: Buffer[] = []
    let readBytes = 0
    for await (const chunk of (await this.#options.foreign.open(path)) as AsyncIterable<Buffer>) {
      readBytes += chunk.length
      if (readBytes > MANIFEST_LIMIT_BYTES) throw new MirrorError('QUERY_INVALID', `${path} has grown too long`)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  }

  async #takeIn(
    manifest: Manifest,
    filesBySize: ReadonlyMap<number, readonly string[]>,
    progress: JobProgress,
  ): Promise<number> {
    const { blobOf, catalogue, hold } = this.#options
    const { uuid, files } = manifest
    if (files.length === 0) throw new MirrorError('NO_FILE', 'its manifest names no file')
    const known = catalogue.find(uuid)
    const differences = known ? identityDifferences(known, manifest) : []
    if (differences.length > 0) {
      throw new MirrorError('MANIFEST_INVALID', `differs from what we know of it: ${differences.join(', ')}`)
    }
    let takenBytes = 0
    const held: HeldImage['files'][number][] = []
    for (const [index, file] of files.entries()) {
      const here = blobOf(manifest, index)
      if (here) held.push({ sha256: here.sha256, extents: [], corrections: [] })
      else {
        const candidates = sortedFor(manifest, file, filesBySize.get(file.sizeBytes) ?? [])
        held.push(await this.#takeFile(uuid, file, candidates, progress, takenBytes))
        takenBytes += file.sizeBytes
      }
    }
    await hold({ manifest, files: held, heldSinceMs: Date.now(), upstream: ADOPTED })
    if (!catalogue.held(uuid)) throw new MirrorError('STORE_BROKEN', 'could not be written down as held')
    progress.item(uuid, { state: 'done', doneBytes: takenBytes })
    return takenBytes
  }

  /** The first of these that is the file. @throws MirrorError when none is, or there is no room. */
  async #takeFile(
    uuid: Uuid,
    file: ImageFile,
    candidates: readonly string[],
    progress: JobProgress,
    doneBefore: number,
  ): Promise<HeldImage['files'][number]> {
    const { sizeBytes, digests } = file
    if (digests.length === 0)
      throw new MirrorError('MANIFEST_INVALID', 'its manifest has no digest to prove the file by')
    let refusal: MirrorError | undefined
    for (const path of candidates.slice(0, MOST_TRIED)) {
      progress.item(uuid, { state: 'running' })
      // Never resumed: what is left of a try is of no use.
      const partial = await this.#options.room.receive({ sizeBytes, digests, isOnce: true })
      try {
        for await (const chunk of (await this.#options.foreign.open(path)) as AsyncIterable<Buffer>) {
          progress.signal.throwIfAborted()
          await partial.append(chunk)
          progress.item(uuid, { doneBytes: doneBefore + partial.receivedBytes })
        }
        if (partial.receivedBytes !== sizeBytes) throw new MirrorError('UPSTREAM_MISBEHAVED', `${path} has shrunk`)
        await partial.verify()
        const { sha256 } = await partial.keep()
        const extents = [{ startBytes: 0, endBytes: sizeBytes, upstream: ADOPTED, location: `file://${path}` }]
        return { sha256, extents, corrections: [] }
      } catch (error) {
        if (!isMirrorError(error, 'UPSTREAM_MISBEHAVED', 'QUERY_INVALID')) throw error
        refusal = new MirrorError('UPSTREAM_MISBEHAVED', `${path} is not its file: ${error.message}`, { cause: error })
      } finally {
        await partial.close()
      }
    }
    throw refusal ?? new MirrorError('FILE_UNKNOWN', `there is no file of ${sizeBytes} bytes, as its manifest says`)
  }
}

/** Those first whose path speaks of the image, or of the digest. */
function sortedFor({ uuid }: Manifest, { digests }: ImageFile, paths: readonly string[]): string[] {
  const digest = strongestDigest(digests)?.hex ?? uuid
  const isLikely = (path: string) => path.includes(uuid) || path.includes(digest)
  return [...paths.filter(isLikely), ...paths.filter((path) => !isLikely(path))]
}
