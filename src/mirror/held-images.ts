import { LRUCache } from 'lru-cache'
import { MirrorError } from '../errors.js'
import { strongestDigest } from '../images/digest.js'
import { type LayerCompression, SNIFF_BYTES, sniffCompression } from '../images/docker/sniff-compression.js'
import type { ImageFile, Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { Log } from '../parts/log.js'
import type { BlobRef, OpenBlob } from '../store/blob-store.js'
import type { HeldImage } from '../store/image-store.js'
import type { Store } from '../store/store.js'
import type { Catalogue } from './catalogue.js'
import type { Flight, Provenance } from './flight.js'
import { keptFiles, type RecordHappening } from './ledger.js'
import { measuredManifest } from './measured-manifest.js'
import type { Recompression } from './recompression.js'

export interface HeldImagesOptions {
  readonly store: Pick<Store, 'blobs' | 'images'>
  readonly catalogue: Catalogue
  /** Who makes layers anew that must not be held as they are. */
  readonly recompression: Pick<Recompression, 'isMislabelled' | 'setApart'>
  readonly record: RecordHappening
  readonly log: Log
}

/** Files that no digest was declared of: so many are remembered until their images are held. */
const MOST_UNDECLARED = 10_000

/** Which images are held: what is kept here of each, and how one comes to be written down once all of it is. */
export class HeldImages {
  readonly #options: HeldImagesOptions
  /** Images being written down. */
  readonly #underWay = new Map<Uuid, Promise<void>>()
  /** Which blob a file is of which no digest was declared, by `<uuid>/<index>`, until its image is held. */
  readonly #undeclared = new LRUCache<string, string>({ max: MOST_UNDECLARED })

  constructor(options: HeldImagesOptions) {
    this.#options = options
  }

  /** Tells the catalogue what earlier runs have written down. */
  remember(): void {
    const { catalogue, store } = this.#options
    for (const image of store.images.all()) catalogue.hold(image, this.#measured(image))
  }

  /** Of upstreams: with all that was measured of their files. */
  *ofUpstreams(): Generator<Manifest> {
    for (const image of this.#options.store.images.all()) if (!image.publication) yield this.#measured(image)
  }

  /** The kept blob that is this file, if any. What was held once is known by its sha256, anything else by its claim. */
  blobOf(manifest: Manifest, fileIndex: number): BlobRef | undefined {
    const { catalogue, store } = this.#options
    const { blobs } = store
    const file: ImageFile = manifest.files[fileIndex]!
    const held = catalogue.held(manifest.uuid)?.files[fileIndex]?.sha256
    const blob = held && blobs.find({ algorithm: 'sha256', hex: held }, file.sizeBytes)
    if (blob) return blob
    const digest = strongestDigest(file.digests)
    if (digest) return blobs.find(digest, file.sizeBytes)
    const fetched = this.#undeclared.get(`${manifest.uuid}/${fileIndex}`)
    return fetched ? blobs.find({ algorithm: 'sha256', hex: fetched }, file.sizeBytes) : undefined
  }

  /** Whether all its files are kept. */
  isWhole(manifest: Manifest): boolean {
    // One that is being published here has no file yet, and lacks nothing.
    if (manifest.files.length === 0 && this.#options.catalogue.held(manifest.uuid)?.publication) return true
    return manifest.files.length > 0 && manifest.files.every((_, index) => this.blobOf(manifest, index) !== undefined)
  }

  /** An image is held from the moment all its files are kept: also when this flight, of one of them, has landed. */
  holdAfter(flight: Flight, manifest: Manifest): void {
    flight.ended.then(
      (landed) => {
        if (!landed.fingerprint) return
        const isDeclared = flight.expected.digests.length > 0
        if (!isDeclared) this.#undeclared.set(`${manifest.uuid}/${flight.fileIndex}`, landed.fingerprint.sha256)
        this.holdIfWhole(manifest, { fileIndex: flight.fileIndex, landed })
      },
      () => {}, // Logged by the flight.
    )
  }

  /** Begins to write it down, unless it is, or that is under way. @param last the file that has come just now. */
  holdIfWhole(manifest: Manifest, last?: { readonly fileIndex: number; readonly landed: Provenance }): void {
    const { catalogue } = this.#options
    const { uuid } = manifest
    if (catalogue.held(uuid) || !this.isWhole(manifest)) return
    if (this.#underWay.has(uuid)) return
    const files = manifest.files.map((_, index) => {
      const { extents, corrections } = last?.fileIndex === index ? last.landed : { extents: [], corrections: [] }
      return { sha256: this.blobOf(manifest, index)!.sha256, extents, corrections }
    })
    // While its file came, the upstream whose claim was taken may have left the configuration: then it is who gave the bytes.
    const upstream = catalogue.offersOf(uuid)[0]?.upstream ?? last?.landed.extents.at(-1)?.upstream ?? ''
    this.#underWay.set(uuid, this.hold({ manifest, files, heldSinceMs: Date.now(), upstream }))
  }

  /** As `holdIfWhole`; resolves when it is written down, or could not be, or is not to be. */
  async heldIfWhole(manifest: Manifest): Promise<void> {
    this.holdIfWhole(manifest)
    await this.#underWay.get(manifest.uuid)
  }

  /** Writes it down, whatever came of its files. Never rejects: what could not be written down is not held, and told in the log. */
  async hold(complete: HeldImage): Promise<void> {
    const { catalogue, log, record, store } = this.#options
    const { type, uuid } = complete.manifest
    try {
      const image = type === 'docker' ? await this.#lookedInto(complete) : complete
      if (!image) return
      await store.images.keep(image)
      catalogue.hold(image, this.#measured(image))
      record('held', uuid, this.factsOf(image))
    } catch (error) {
      log.error({ uuid, err: error }, `image ${uuid} could not be written down as held`)
    } finally {
      this.#underWay.delete(uuid)
    }
  }

  /** What the ledger says of an image that is held. */
  factsOf({ files, manifest, upstream }: HeldImage) {
    const { catalogue, store } = this.#options
    const firstHeardMs = Math.min(...catalogue.claimsOf(manifest.uuid).map((claim) => claim.firstHeardMs))
    return {
      upstream,
      name: manifest.name,
      version: manifest.version,
      files: keptFiles(files, store.blobs),
      ...(Number.isFinite(firstHeardMs) && { firstHeardMs }),
    }
  }

  /** Layers that came and were not held, being zstd, are not listed again as something else because of a restart. */
  async findMislabelled(signal: AbortSignal): Promise<void> {
    const { catalogue, log, recompression, store } = this.#options
    try {
      for (const manifest of [...catalogue.all()]) {
        if (signal.aborted) return
        if (manifest.type !== 'docker' || catalogue.held(manifest.uuid) || !this.isWhole(manifest)) continue
        const { sha256 } = this.blobOf(manifest, 0)!
        if (recompression.isMislabelled(sha256)) continue
        const blob = await store.blobs.open(sha256)
        if (!blob) continue
        try {
          if ((await compressionOf(blob)) === 'zstd') recompression.setApart(sha256)
        } finally {
          await blob.close()
        }
      }
    } catch (error) {
      log.error({ err: error }, 'layers that are here could not be looked into')
    }
  }

  /** Waits for what is being written down. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay.values())
  }

  /** With what the bytes of a Docker layer tell about it; `undefined` if it is to be made anew, and not held as it is. */
  async #lookedInto(image: HeldImage): Promise<HeldImage | undefined> {
    const { log, recompression, record, store } = this.#options
    const [file, ...others] = image.files
    if (!file) return image
    const { uuid } = image.manifest
    const blob = await store.blobs.open(file.sha256)
    if (!blob) throw new MirrorError('STORE_BROKEN', `the file of image ${uuid} has vanished`)
    try {
      const compression = await compressionOf(blob)
      const claimed = image.manifest.files[0]!.digests
      if (compression === 'zstd' && claimed.some(({ hex }) => hex === file.sha256)) {
        recompression.setApart(file.sha256)
        return undefined
      }
      if (compression === 'zstd') {
        log.warn({ uuid }, `image ${uuid} is compressed with zstd, which imgadm cannot unpack`)
      }
      const layer = { sha1: blob.ref.sha1, compression: compression === 'zstd' ? 'none' : compression }
      record('derived', uuid, layer)
      return { ...image, files: [{ ...file, layer }, ...others] }
    } finally {
      await blob.close()
    }
  }

  /** Its manifest with all that was measured of its files. What is lost since is known as it was declared. */
  #measured(image: HeldImage): Manifest {
    return measuredManifest(image, (digest, sizeBytes) => this.#options.store.blobs.find(digest, sizeBytes))
  }
}

async function compressionOf(blob: OpenBlob): Promise<LayerCompression> {
  const head = Buffer.alloc(SNIFF_BYTES)
  return sniffCompression(head.subarray(0, await blob.read(head, 0)))
}
