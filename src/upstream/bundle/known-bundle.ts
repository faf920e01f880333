import type { BundledImage, BundleIndex, Piece } from '../../images/bundle/bundle-index.js'
import { bundleId } from '../../images/bundle/bundle-names.js'
import type { LeftOut, Statement } from '../../images/claim.js'
import type { Uuid } from '../../images/uuid.js'

/** A bundle as an upstream sees it: the images of which it has everything. */
export class KnownBundle {
  readonly id: string
  readonly statements = new Map<Uuid, Statement>()
  /** Images of which the receiver had some bytes already. */
  readonly leftOut: LeftOut[] = []
  readonly #images = new Map<Uuid, BundledImage>()
  readonly #pieces = new Map<string, Piece[]>()

  constructor(
    readonly index: BundleIndex,
    bundleJson: Buffer,
  ) {
    this.id = bundleId(bundleJson)
    for (const piece of index.pieces) {
      const pieces = this.#pieces.get(piece.sha256)
      if (pieces) pieces.push(piece)
      else this.#pieces.set(piece.sha256, [piece])
    }
    for (const pieces of this.#pieces.values()) pieces.sort((one, other) => one.startBytes - other.startBytes)
    for (const image of index.images) this.#take(image)
  }

  image(uuid: Uuid): BundledImage | undefined {
    return this.statements.has(uuid) ? this.#images.get(uuid) : undefined
  }

  /** Those that have any of these bytes, in order. */
  piecesOf(sha256: string, startBytes: number, endBytes: number): readonly Piece[] {
    const pieces = this.#pieces.get(sha256) ?? []
    return pieces.filter((piece) => piece.startBytes < endBytes && piece.endBytes > startBytes)
  }

  #take(image: BundledImage): void {
    const { manifest } = image
    const { name, uuid, version } = manifest
    if (image.files.every(({ sha256, sizeBytes }) => this.#isWhole(sha256, sizeBytes))) {
      this.#images.set(uuid, image)
      this.statements.set(uuid, { manifest, whereabouts: image.files.map(() => undefined) })
    } else
      this.leftOut.push({ uuid, name, version, reason: 'the bundle has only the parts of it that its receiver lacked' })
  }

  #isWhole(sha256: string, sizeBytes: number): boolean {
    let endBytes = 0
    for (const piece of this.#pieces.get(sha256) ?? []) {
      if (piece.startBytes > endBytes) return false
      endBytes = piece.endBytes
    }
    return endBytes === sizeBytes
  }
}
