import type { BundledImage, BundleIndex } from '../images/bundle/bundle-index.js'
import type { Carrying } from '../mirror/carrying.js'
import type { Arrival } from '../store/arrival-store.js'
import type { Extent } from '../store/blob-store.js'
import type { ArrivedBundles } from './arrived-bundles.js'
import type { Intake } from './intake.js'
import { type ImageProvenance, provenanceOf } from './provenance.js'
import { awaitedImages, FilesHere } from './what-is-lacking.js'

export interface CompleteImagesOptions {
  readonly mirror: Pick<Carrying, 'log' | 'sawTag' | 'store' | 'ledger'>
  readonly intake: Intake
  readonly arrived: ArrivedBundles
}

/** Files that were kept and whose image waits for others: so many remember which bytes came from whom. */
const MOST_REMEMBERED = 10_000

/** Images become held as soon as all their files are here, and all they build on: from then on they are listed, and boot. */
export class CompleteImages {
  readonly #options: CompleteImagesOptions
  readonly #extents = new Map<string, readonly Extent[]>()
  /** Of the bundle that was asked for last: to read it anew for every image would take longer than all the rest. */
  #provenance: { readonly id: string; readonly known: (uuid: string) => ImageProvenance } | undefined

  constructor(options: CompleteImagesOptions) {
    this.#options = options
  }

  /** A file was kept. */
  kept(sha256: string, extents: readonly Extent[]): void {
    this.#extents.set(sha256, extents)
    for (const oldest of this.#extents.keys()) {
      if (this.#extents.size <= MOST_REMEMBERED) return
      this.#extents.delete(oldest)
    }
  }

  /**
   * Holds what is whole, of all bundles that are awaited: what came by one may have been what an image of another waited for. Bundles of which
   * nothing is lacking any more end. Answers the images.
   * @throws MirrorError STORE_FULL, STORE_BROKEN.
   */
  async holdAll(): Promise<readonly BundledImage[]> {
    const held: BundledImage[] = []
    for (let before = -1; held.length > before; ) {
      before = held.length
      for (const { arrival, index } of [...this.#options.arrived.awaited()])
        held.push(...(await this.#hold(arrival, index)))
    }
    for (const { arrival, index } of [...this.#options.arrived.awaited()]) await this.#endIfComplete(arrival, index)
    this.#provenance = undefined
    return held
  }

  /** Holds what is whole now that this file is, of one bundle. */
  async holdWith(sha256: string, { arrival, index }: { arrival: Arrival; index: BundleIndex }) {
    return await this.#hold(arrival, index, ({ files }) => files.some((file) => file.sha256 === sha256))
  }

  async #hold(arrival: Arrival, index: BundleIndex, isMeant?: (image: BundledImage) => boolean) {
    const { intake, mirror } = this.#options
    const here = new FilesHere(mirror.store.blobs)
    const held: BundledImage[] = []
    // What others build on comes first.
    for (const image of awaitedImages(isMeant ? { images: index.images.filter(isMeant) } : index, intake)) {
      const { origin, uuid } = image.manifest
      if (!image.files.every((file) => here.isWhole(file))) continue
      if (origin && intake.lacks(origin).length > 0) continue
      this.#record(arrival, image, await this.#provenanceOf(arrival, index, uuid))
      await intake.hold({
        manifest: image.manifest,
        files: image.files.map(({ sha256 }) => ({ sha256, extents: this.#extents.get(sha256) ?? [], corrections: [] })),
        heldSinceMs: Date.now(),
        upstream: `bundle:${index.from.site}`,
      })
      held.push(image)
    }
    return held
  }

  async #provenanceOf({ id }: Arrival, { images }: BundleIndex, uuid: string): Promise<ImageProvenance> {
    if (this.#provenance?.id !== id) {
      const jsonl = await this.#options.mirror.store.arrivals.document(id, 'provenance.jsonl')
      const known = await provenanceOf(jsonl, new Set(images.map(({ manifest }) => manifest.uuid)))
      // It may have been lost on this volume, and come with the next.
      if (!jsonl) return known(uuid)
      this.#provenance = { id, known }
    }
    return this.#provenance.known(uuid)
  }

  /** Before it is held: of an image that is, the ledger then says how it came, whatever comes in between. */
  #record(
    { from, id, signedBy }: Arrival,
    { files, isPublication, manifest, upstream }: BundledImage,
    known: ImageProvenance,
  ) {
    this.#options.mirror.ledger.record('imported', manifest.uuid, {
      bundle: id,
      ...{ from, signedBy, upstream },
      files: files.map(({ md5, sha1, sha256, sizeBytes }) => ({ sizeBytes, sha256, sha1, md5 })),
      isPublishedThere: isPublication,
      ...known,
    })
  }

  async #endIfComplete({ id }: Arrival, { docker }: BundleIndex): Promise<void> {
    const { arrived, mirror } = this.#options
    const { registry } = mirror.store
    for (const tag of docker.tags) {
      if (registry.tag(tag.host, tag.repository, tag.tag)?.digest !== tag.digest) await mirror.sawTag(tag)
    }
    if (arrived.lackingOf(id)) return
    await arrived.end(id)
    mirror.log.info({ bundle: id }, `all of bundle ${id} is here`)
  }
}
