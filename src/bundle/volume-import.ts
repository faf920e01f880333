import { createHash } from 'node:crypto'
import { isMirrorError } from '../errors.js'
import type { BundledFile } from '../images/bundle/bundle-index.js'
import { MAX_ICON_BYTES } from '../images/bundle/bundle-limits.js'
import { dockerObjectName, iconName, pieceName } from '../images/bundle/bundle-names.js'
import { formatDigest } from '../images/digest.js'
import type { Carrying } from '../mirror/carrying.js'
import type { Arrival } from '../store/arrival-store.js'
import type { CompleteImages } from './complete-images.js'
import type { Intake } from './intake.js'
import { type TakenPiece, takePiece } from './take-piece.js'
import type { OpenVolume } from './volume-reader.js'
import { awaitedImages } from './what-is-lacking.js'

export interface VolumeImportOptions {
  readonly mirror: Pick<Carrying, 'room' | 'store'>
  readonly intake: Intake
  readonly complete: CompleteImages
  readonly volume: OpenVolume
  readonly arrival: Arrival
  readonly signal: AbortSignal
  /** Told of bytes that were read, new or not. */
  readonly onRead: (bytes: number) => void
  /** Told of images that came to be held. */
  readonly onHeld: (uuids: readonly string[]) => void
  /** Told when some of it could not be had: throws when the medium is gone, and nothing more of it is to be had. */
  readonly onLost: () => Promise<void>
  /** Told of a file that found no room here, and why. What is smaller may find some all the same. */
  readonly onNoRoom: (sha256: string, why: string) => void
}

/** What became of a volume. */
export interface TakenVolume {
  takenBytes: number
  healedBlocks: number
  lostBytes: number
  /** Files that were whole and not what the bundle says they are: which, and what would be right; the first of them, and how many they are. */
  readonly refusals: string[]
  refused: number
}

/** What is larger does not belong in a bundle: a manifest, an index or a config of a registry. */
const OBJECT_LIMIT_BYTES = 16 * 1024 * 1024
const PROVENANCE_LIMIT_BYTES = 64 * 1024 * 1024
/** Of files that are not what they should be, so many are named. */
const MOST_NAMED = 3

/** Takes in what one volume has and is not here yet: small files first, so that an image that appears has its icon and its history. */
export class VolumeImport {
  readonly #options: VolumeImportOptions
  readonly #paths: ReadonlySet<string>
  /** Files, by sha256. */
  readonly #withoutRoom = new Set<string>()
  readonly #taken: TakenVolume = { takenBytes: 0, healedBlocks: 0, lostBytes: 0, refusals: [], refused: 0 }

  constructor(options: VolumeImportOptions) {
    this.#options = options
    this.#paths = new Set(options.volume.volume.files.map(({ path }) => path))
  }

  /** @throws MirrorError STORE_FULL, STORE_BROKEN, MEDIUM_UNREADABLE; the signal's reason. */
  async run(): Promise<TakenVolume> {
    await this.#takeProvenance()
    await this.#takeIcons()
    await this.#takeObjects()
    await this.#takePieces()
    return this.#taken
  }

  async #takeProvenance(): Promise<void> {
    const { mirror, volume } = this.#options
    const { arrivals } = mirror.store
    const { provenance } = volume.bundle
    if ((await arrivals.document(volume.id, 'provenance.jsonl')) !== undefined) return
    const bytes = await this.#readSmall('provenance.jsonl', provenance, PROVENANCE_LIMIT_BYTES)
    if (bytes) await arrivals.keepDocument(volume.id, 'provenance.jsonl', bytes)
  }

  async #takeIcons(): Promise<void> {
    const { intake, mirror, volume } = this.#options
    const { icons } = mirror.store
    for (const { icon, manifest } of awaitedImages(volume.bundle, intake)) {
      if (!icon || (await icons.get(manifest.uuid))) continue
      const bytes = await this.#readSmall(iconName(manifest.uuid, icon.type), icon, MAX_ICON_BYTES)
      if (bytes) await icons.keep(manifest.uuid, { contentType: icon.type, bytes })
    }
  }

  async #takeObjects(): Promise<void> {
    const { mirror, volume } = this.#options
    const { registry } = mirror.store
    for (const { digest, mediaType, repositories, sizeBytes } of volume.bundle.docker.objects) {
      const name = formatDigest(digest)
      const lacking = repositories.filter((each) => !registry.repositoriesOf(name).has(each))
      if (lacking.length === 0 && registry.objectSizeBytes(name) !== undefined) continue
      const promised = { sha256: digest.hex, sizeBytes }
      const bytes = await this.#readSmall(dockerObjectName(digest.hex), promised, OBJECT_LIMIT_BYTES)
      if (!bytes) continue
      for (const place of repositories) {
        const slash = place.indexOf('/')
        await registry.keepObject(place.slice(0, slash), place.slice(slash + 1), { digest: name, mediaType, bytes })
      }
    }
  }

  async #takePieces(): Promise<void> {
    const { complete, intake, mirror, onHeld, onLost, onRead, signal, volume } = this.#options
    const { bundle, id } = volume
    const files = new Map<string, BundledFile>()
    for (const image of awaitedImages(bundle, intake)) for (const file of image.files) files.set(file.sha256, file)
    for (const layer of bundle.docker.layers) files.set(layer.sha256, layer)
    for (const piece of bundle.pieces) {
      const { endBytes, sha256, startBytes } = piece
      const file = files.get(sha256)
      if (piece.volume !== volume.volume.volume) continue
      signal.throwIfAborted()
      if (!file || mirror.store.blobs.find({ algorithm: 'sha256', hex: sha256 }, file.sizeBytes)) {
        onRead(endBytes - startBytes)
        continue
      }
      const path = pieceName(sha256, startBytes, endBytes, file.sizeBytes)
      if (!this.#paths.has(path)) {
        this.#taken.lostBytes += endBytes - startBytes
        continue
      }
      const source = { upstream: `bundle:${bundle.from.site}`, location: `bundle:${id}` }
      const wanted = { ...{ volume, path, piece, file, source, signal, onRead }, room: mirror.room }
      let taken = await this.#ifThereIsRoom(sha256, () => takePiece(wanted))
      if (!taken) {
        onRead(endBytes - startBytes)
        continue
      }
      // What was wrong had come another way: all of it anew, if all of it is here.
      const isWhole = startBytes === 0 && endBytes === file.sizeBytes
      if (taken.refusal !== undefined && isWhole) taken = await takePiece(wanted)
      this.#taken.takenBytes += taken.takenBytes
      this.#taken.healedBlocks += taken.healedBlocks
      this.#taken.lostBytes += taken.lostBytes
      if (taken.refusal !== undefined) {
        const why = isWhole ? taken.refusal : `${taken.refusal}; what came of it is dropped, and is lacking again`
        this.#refuse(`${path} is not what bundle.json says: ${why}`)
      }
      if (taken.lostBytes > 0) await onLost()
      if (!taken.kept) continue
      complete.kept(sha256, taken.kept)
      const held = await complete.holdWith(sha256, { arrival: this.#options.arrival, index: bundle })
      onHeld(held.map(({ manifest }) => manifest.uuid))
    }
  }

  /** `undefined` where there is none: of a file in many pieces that is found out once. */
  async #ifThereIsRoom(sha256: string, take: () => Promise<TakenPiece>): Promise<TakenPiece | undefined> {
    if (this.#withoutRoom.has(sha256)) return undefined
    try {
      return await take()
    } catch (error) {
      if (!isMirrorError(error, 'STORE_FULL')) throw error
      this.#withoutRoom.add(sha256)
      this.#options.onNoRoom(sha256, error.message)
      return undefined
    }
  }

  /** `undefined` where it is not there, or cannot be had whole: it comes with each volume, so another may have it. */
  async #readSmall(
    path: string,
    promised: { readonly sha256: string; readonly sizeBytes: number },
    limitBytes: number,
  ): Promise<Buffer | undefined> {
    const { onLost, onRead, signal, volume } = this.#options
    if (!this.#paths.has(path) || promised.sizeBytes > limitBytes) return undefined
    const parts: Buffer[] = []
    let isLost = false
    for await (const block of volume.blocks(path)) {
      signal.throwIfAborted()
      if (block.isLost) isLost = true
      else {
        parts.push(Buffer.from(block.bytes))
        if (block.isHealed) this.#taken.healedBlocks++
        onRead(block.bytes.length)
      }
    }
    if (isLost) {
      await onLost()
      return undefined
    }
    const bytes = Buffer.concat(parts)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    if (sha256 !== promised.sha256) {
      this.#refuse(`${path} has the sha256 ${sha256}; right is ${promised.sha256}`)
      return undefined
    }
    this.#taken.takenBytes += bytes.length
    return bytes
  }

  #refuse(why: string): void {
    this.#taken.refused++
    if (this.#taken.refusals.length < MOST_NAMED) this.#taken.refusals.push(why)
  }
}
