import { MirrorError } from '../../errors.js'
import { ancestryOf } from '../../images/ancestry.js'
import type { Uuid } from '../../images/uuid.js'
import type { Log } from '../../parts/log.js'
import type { Store } from '../../store/store.js'
import type { Catalogue } from '../catalogue.js'
import type { Departure } from '../keeping/eviction-plan.js'
import type { Room } from '../keeping/room.js'
import type { RemovalAnswer, VacuumAnswer } from './image-answers.js'
import type { KnownImages } from './known-images.js'
import type { Operator } from './operations.js'
import type { Pins } from './pins.js'

export interface RemovalsOptions {
  readonly store: Store
  readonly catalogue: Catalogue
  readonly room: Room
  readonly pins: Pins
  readonly images: KnownImages
  readonly log: Log
}

/** What leaves because an operator says so. */
export class Removals {
  readonly #options: RemovalsOptions

  constructor(options: RemovalsOptions) {
    this.#options = options
  }

  /**
   * Lets go of a held image. Upstreams that list it go on listing it: whoever asks for it has it fetched again.
   * @throws MirrorError IMAGE_NOT_HELD, IMAGE_PINNED, IMAGE_IN_USE when held images build on it, IMAGE_BUSY while somebody reads
   *   it, NOT_REMOVABLE of one that was published here, STORE_BROKEN.
   */
  async remove(uuid: Uuid, { name: by }: Operator): Promise<RemovalAnswer> {
    const { log, room, store } = this.#options
    const freedBytes = await room.letGo(uuid, by, () => this.#refuse(uuid))
    await store.icons.forget(uuid)
    log.info({ uuid, freedBytes, by }, `let go of image ${uuid}, as ${by} wanted`)
    return { uuid, freedBytes }
  }

  /** Lets go of what was used longest ago; says what that would be, if `isDryRun`. */
  async vacuum(bytes: number | undefined, isDryRun: boolean, { name: by }: Operator): Promise<VacuumAnswer> {
    const { log, room } = this.#options
    const { wantedBytes, departures } = await (isDryRun ? room.planVacuum(bytes) : room.vacuum(bytes))
    const freedBytes = departures.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    if (!isDryRun) log.info({ wantedBytes, freedBytes, by }, `made room, as ${by} wanted`)
    return {
      dryRun: isDryRun,
      images: departures.flatMap((departure) => this.#imageOf(departure)),
      others: departures.flatMap(({ uuid, why, sizeBytes }) => (uuid ? [] : [{ what: why, freedBytes: sizeBytes }])),
      freedBytes,
      wantedBytes,
    }
  }

  #imageOf({ uuid, sizeBytes, lastUsedMs }: Departure): VacuumAnswer['images'] {
    if (!uuid) return []
    const { name = '', version = '' } = this.#options.catalogue.find(uuid) ?? {}
    return [{ uuid, name, version, freedBytes: sizeBytes, lastReadMs: lastUsedMs || null }]
  }

  #refuse(uuid: Uuid): void {
    const { catalogue, images, pins, store } = this.#options
    const held = store.images.get(uuid)
    if (!held) throw new MirrorError('IMAGE_NOT_HELD', `image ${uuid} is not held here`)
    if (held.publication) {
      throw new MirrorError('NOT_REMOVABLE', `image ${uuid} was published here; whoever published it may delete it`)
    }
    const manifest = catalogue.find(uuid) ?? held.manifest
    const pin = pins.of(manifest)[0]
    if (pin) {
      const why = pin.reason === null ? '' : `: ${pin.reason}`
      throw new MirrorError('IMAGE_PINNED', `image ${uuid} is pinned by ${pin.by}${why}`)
    }
    const dependants = [...store.images.all()].filter((image) => {
      const ancestry = ancestryOf(image.manifest, (origin) => catalogue.find(origin))
      return image !== held && (ancestry.missing === uuid || ancestry.images.some((each) => each.uuid === uuid))
    })
    if (dependants.length > 0) {
      const some = dependants.slice(0, 5).map((image) => images.row(image.manifest))
      const told = some.map((row) => `${row.name} ${row.version} (${row.uuid})`).join(', ')
      const more = dependants.length > some.length ? ` and ${dependants.length - some.length} more` : ''
      throw new MirrorError('IMAGE_IN_USE', `held images build on image ${uuid}: ${told}${more}`)
    }
  }
}
