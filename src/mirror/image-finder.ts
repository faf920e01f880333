import { MirrorError } from '../errors.js'
import { ancestryOf } from '../images/ancestry.js'
import type { Claim } from '../images/claim.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import { abortable } from '../parts/abortable.js'
import type { Catalogue } from './catalogue.js'
import type { Channels } from './channels.js'
import type { Inquiries } from './inquiries.js'
import type { Recompression } from './recompression.js'

export interface ImageFinderOptions extends FindingRules {
  readonly catalogue: Catalogue
  readonly inquiries: Pick<Inquiries, 'ask'>
  /** Who makes images ready that are not to be shown as they come. */
  readonly recompression: Pick<Recompression, 'ready'>
}

/** What the operator may decide anew. */
interface FindingRules {
  readonly channels: Channels
  /** What an upstream said of an image that it does not list is believed for so long. */
  readonly refreshMs: number
  /** The longest ancestry that is followed, in images. */
  readonly maxAncestry: number
}

/** Finds images by uuid: those that are known, and those that upstreams tell of only when they are asked. */
export class ImageFinder {
  #options: ImageFinderOptions

  constructor(options: ImageFinderOptions) {
    this.#options = options
  }

  change(rules: FindingRules): void {
    this.#options = { ...this.#options, ...rules }
  }

  /**
   * The image, asked of the upstreams if need be: also whether it is in this channel by now, if it was in others only. What comes of that
   * may still be in others only.
   */
  async find(uuid: Uuid, signal: AbortSignal, channel?: string): Promise<Manifest | undefined> {
    const { catalogue, channels, inquiries, recompression } = this.#options
    const known = catalogue.find(uuid)
    const isOutside = known !== undefined && !channels.shows(known, channel)
    if (!known && catalogue.isUnready(uuid)) await recompression.ready(uuid, signal)
    else if (isOutside || this.#isWorthAsking(uuid)) await abortable(inquiries.ask(uuid, channel), signal)
    return catalogue.find(uuid)
  }

  /**
   * The image as clients of this channel may see it, with the manifests of its origins made ready: whoever asks for a leaf asks for these
   * next. An origin that nobody has is no failure of the leaf, which upstreams serve all the same.
   * @throws MirrorError IMAGE_UNKNOWN, IMAGE_WITHHELD, ANCESTRY_BROKEN; the signal's reason.
   */
  async show(uuid: Uuid, signal: AbortSignal, channel: string | undefined): Promise<Manifest> {
    const manifest = await this.find(uuid, signal, channel)
    if (!manifest) {
      this.#refuseWithheld(uuid, channel)
      throw new MirrorError('IMAGE_UNKNOWN', `image ${uuid} not found`)
    }
    // In the reference's words, which do not say whether there is such an image in another channel.
    if (!this.#options.channels.shows(manifest, channel)) throw new MirrorError('IMAGE_UNKNOWN', 'image not found')
    await this.#prepareAncestry(manifest, signal)
    return manifest
  }

  /** What `show` would answer if nobody has to be asked for it; `undefined`: call it. */
  atHand(uuid: Uuid, channel: string | undefined): Manifest | undefined {
    const { catalogue, channels, maxAncestry } = this.#options
    const manifest = catalogue.find(uuid)
    if (!manifest || !channels.shows(manifest, channel) || this.#isWorthAsking(uuid)) return undefined
    const { missing, broken } = ancestryOf(manifest, (each) => catalogue.find(each), maxAncestry)
    return missing || broken ? undefined : manifest
  }

  /** What nobody listed is asked for; an answer of that kind is asked for again when it is as old as a list would be. */
  #isWorthAsking(uuid: Uuid): boolean {
    const { catalogue, refreshMs } = this.#options
    const claims = catalogue.claimsOf(uuid).filter((claim) => claim.withdrawnMs === undefined)
    if (catalogue.held(uuid) || claims.some((claim) => claim.isListed)) return false
    const heardMs = Math.max(0, ...claims.map((claim) => claim.lastHeardMs))
    return Date.now() - heardMs > refreshMs
  }

  async #prepareAncestry(leaf: Manifest, signal: AbortSignal): Promise<void> {
    const { catalogue, maxAncestry } = this.#options
    for (;;) {
      const { missing, broken } = ancestryOf(leaf, (uuid) => catalogue.find(uuid), maxAncestry)
      if (broken) throw broken
      if (!missing) return
      if (await this.find(missing, signal)) continue
      if (catalogue.withheld(missing)) {
        throw new MirrorError('IMAGE_WITHHELD', `image ${leaf.uuid} builds on image ${missing}, which is withheld`)
      }
      return
    }
  }

  /** @throws MirrorError IMAGE_WITHHELD; nothing for an image that is not withheld, or not in this channel. */
  #refuseWithheld(uuid: Uuid, channel: string | undefined): void {
    const { catalogue, channels } = this.#options
    const withheld = catalogue.withheld(uuid)
    const isInChannel = (claim: Claim) => channels.shows({ channels: channels.filledBy(claim) }, channel)
    if (!withheld || !(channel === undefined || catalogue.claimsOf(uuid).some(isInChannel))) return
    throw new MirrorError('IMAGE_WITHHELD', `image ${uuid} is withheld: ${withheld.why}`)
  }
}
