import { isMirrorError } from '../errors.js'
import type { Manifest } from '../images/manifest.js'
import type { Uuid } from '../images/uuid.js'
import { SingleFlight } from '../parts/single-flight.js'
import type { IconStore, KeptIcon } from '../store/image-store.js'
import type { Offer } from './reception.js'

export interface IconsOptions {
  readonly store: IconStore
  /** Who offers an image. @throws MirrorError UPSTREAM_UNREACHABLE when nobody does. */
  readonly offersOf: (uuid: Uuid) => readonly Pick<Offer, 'upstream'>[]
  readonly isOffline: boolean
  /** Fetching belongs to all who wait for it: only closing ends it. */
  readonly closing: AbortSignal
}

/** Icons of images: fetched once for all who ask at the same time. */
export class Icons {
  readonly #options: IconsOptions
  readonly #fetches = new SingleFlight<Uuid, KeptIcon | undefined>()

  constructor(options: IconsOptions) {
    this.#options = options
  }

  /** @throws MirrorError UPSTREAM_UNREACHABLE, UPSTREAM_MISBEHAVED when none of those who may have it gives it; STORE_FULL, STORE_BROKEN. */
  async of({ hasIcon, uuid }: Manifest): Promise<KeptIcon | undefined> {
    return hasIcon ? await this.#fetches.do(uuid, () => this.#find(uuid)) : undefined
  }

  async #find(uuid: Uuid): Promise<KeptIcon | undefined> {
    const { closing, isOffline, offersOf, store } = this.#options
    const kept = await store.get(uuid)
    if (kept || isOffline) return kept
    let failure: unknown
    for (const { upstream } of offersOf(uuid)) {
      try {
        const icon = await upstream.getIcon(uuid, closing)
        if (icon) return await store.keep(uuid, icon)
      } catch (error) {
        if (!isMirrorError(error, 'UPSTREAM_UNREACHABLE', 'UPSTREAM_MISBEHAVED')) throw error
        failure = error
      }
    }
    if (failure) throw failure
    return undefined
  }
}
