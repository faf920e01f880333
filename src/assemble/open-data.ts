import type { DataPlace } from '../cli/surroundings.js'
import { RestingImages } from '../mirror/operations/resting-images.js'
import { silentLog } from '../parts/log.js'
import { DiskRestingStore } from '../store/disk-resting-store.js'
import { openLedger } from './open-ledger.js'
import { policiesOf } from './policies-of.js'

/** As long as an ancestry may be where no configuration says otherwise. */
const MAX_ANCESTRY = 100

/**
 * A data directory, to be read only: it needs no lock, and bothers no mirror that uses the directory.
 * @throws MirrorError STORE_UNUSABLE, STORE_BROKEN.
 */
export async function openData({ config, directory }: DataPlace): Promise<RestingImages> {
  const log = silentLog
  return await RestingImages.read({
    store: new DiskRestingStore({ directory, log }),
    ledger: openLedger(directory),
    precedence: config?.upstreams.map(({ name }) => name),
    withdrawn: config?.withdrawn ?? 'list',
    ...(config && { policies: policiesOf(config) }),
    pins: config?.pins ?? [],
    maxAncestry: config?.maxAncestry ?? MAX_ANCESTRY,
    log,
  })
}
