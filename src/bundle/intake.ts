import { MirrorError } from '../errors.js'
import { identityDifferences } from '../images/identity.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import type { Carrying } from '../mirror/carrying.js'
import type { HeldImage } from '../store/image-store.js'

/** By which rules an image comes in that somebody has carried here. */
export class Intake {
  readonly #mirror: Pick<Carrying, 'catalogue' | 'blobOf' | 'hold' | 'maxAncestry' | 'store'>

  constructor(mirror: Pick<Carrying, 'catalogue' | 'blobOf' | 'hold' | 'maxAncestry' | 'store'>) {
    this.#mirror = mirror
  }

  /** Why this image cannot be taken, in words, whatever files come with it; `undefined` when it can. */
  whyRefused(manifest: Manifest): string | undefined {
    const { catalogue } = this.#mirror
    if (manifest.files.length === 0) return 'has no file'
    const known = catalogue.identityOf(manifest.uuid)
    const differences = known ? identityDifferences(known, manifest) : []
    if (differences.length > 0) return `differs from what is known of it here: ${differences.join(', ')}`
    const withheld = catalogue.withheld(manifest.uuid)
    return withheld ? `is withheld here: ${withheld.why}` : this.#liesAboutFiles(manifest)
  }

  /** A file that is here already is not hashed again: what is said of it besides its SHA-256 could be anything. */
  #liesAboutFiles({ files }: Manifest): string | undefined {
    for (const { digests } of files) {
      const sha256 = digests.find(({ algorithm }) => algorithm === 'sha256')
      const blob = sha256 && this.#mirror.store.blobs.find(sha256)
      const wrong = blob && digests.find(({ algorithm, hex }) => blob[algorithm] !== hex)
      if (!wrong) continue
      const { algorithm, hex } = wrong
      return `has a file that is here, sha256 ${blob.sha256}, and says its ${algorithm} is ${hex}; right is ${blob[algorithm]}`
    }
    return undefined
  }

  /** Whether it is written down as held, and every file of it is kept. */
  isHeld(uuid: Uuid): boolean {
    const { catalogue } = this.#mirror
    const manifest = catalogue.held(uuid) && catalogue.find(uuid)
    return manifest !== undefined && this.#hasFiles(manifest)
  }

  /** Of an image and all it builds on, what is unknown or not whole here. */
  lacks(uuid: Uuid): readonly Uuid[] {
    const { catalogue, maxAncestry } = this.#mirror
    const manifest = catalogue.find(uuid)
    return manifest ? catalogue.lacks(manifest, (each) => this.#hasFiles(each), maxAncestry) : [uuid]
  }

  /**
   * Writes down that an image is held: all its files must be kept, and all it builds on must be here.
   * @throws MirrorError STORE_BROKEN when it could not be written down.
   */
  async hold(image: HeldImage): Promise<void> {
    const { catalogue, hold } = this.#mirror
    const { name, uuid, version } = image.manifest
    await hold(image)
    if (catalogue.held(uuid)) return
    throw new MirrorError('STORE_BROKEN', `image ${uuid} (${name} ${version}) could not be written down as held`)
  }

  #hasFiles(manifest: Manifest): boolean {
    const { files } = manifest
    return files.length > 0 && files.every((_, index) => this.#mirror.blobOf(manifest, index) !== undefined)
  }
}
