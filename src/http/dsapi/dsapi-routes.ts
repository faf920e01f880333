import type Router from '@koa/router'
import type { DatasetTerms } from '../../images/downgrade-manifest.js'
import type { Mirror } from '../../mirror/mirror.js'
import type { Authenticator } from '../auth/authenticator.js'
import type { Context, RequestState } from '../every-request.js'
import type { ListBodies } from '../list-bodies.js'
import { mirrorSeenBy } from '../mirror-seen-by.js'
import type { PublicAddress } from '../public-address.js'
import { getDataset } from './get-dataset.js'
import { getDatasetFile } from './get-dataset-file.js'
import { listDatasets } from './list-datasets.js'

export interface DsapiSettings {
  /**
   * `standalone`: only what imgadm from before version 2 can install too: whole images, zones and zvols. `all`: whatever is
   * active. By uuid and urn everything is answered in both cases.
   */
  readonly list: 'standalone' | 'all'
  readonly creatorName: string
}

export interface DsapiOptions {
  readonly mirror: Mirror
  readonly authenticator: Authenticator
  readonly bodies: ListBodies
  readonly address: PublicAddress
  readonly settings: DsapiSettings
}

/** What the endpoints of this folder have at hand. */
export interface Datasets {
  readonly mirror: Mirror
  readonly bodies: ListBodies
  readonly list: DsapiSettings['list']
  termsFor(context: Context): DatasetTerms
}

/**
 * The older dataset API for everything the mirror knows, and a directory of it for people. Reading only.
 *
 * A slash at the end names the same: dsapid takes it, and a directory behind a web server is nothing else.
 */
export function addDsapiRoutes(router: Router<RequestState>, options: DsapiOptions): void {
  const { mirror, authenticator, bodies, address, settings } = options
  const datasets: Omit<Datasets, 'mirror'> = {
    bodies,
    list: settings.list,
    termsFor: (context) => ({ creatorName: settings.creatorName, baseUrl: address.of(context) }),
  }
  const answer = (
    path: string,
    endpoint: (context: Context, datasets: Datasets) => Promise<void>,
    who: 'reader' | 'fileReader' = 'reader',
  ) =>
    router.get(path, async (context) => {
      context.state.route = path
      await authenticator[who](context)
      await endpoint(context, { ...datasets, mirror: mirrorSeenBy(mirror, context.state.viewer) })
    })

  answer('/datasets', listDatasets)
  answer('/datasets/', listDatasets)
  answer('/datasets/:id', getDataset)
  answer('/datasets/:id/', getDataset)
  answer('/datasets/:id/:path', getDatasetFile, 'fileReader')
}
