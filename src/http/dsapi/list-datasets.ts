import { downgradeManifest, restrictedTo } from '../../images/downgrade-manifest.js'
import type { Manifest } from '../../images/manifest.js'
import { parseDatasetQuery } from '../../images/parse-dataset-query.js'
import type { Context } from '../every-request.js'
import { isForPeople } from '../is-for-people.js'
import type { ListForm } from '../list-bodies.js'
import { sendList } from '../send-list.js'
import { sendDatasetsPage } from './datasets-page.js'
import type { Datasets } from './dsapi-routes.js'

/**
 * The manifests of all active images as v1, one to a line, oldest first; for a browser, a page of them.
 *
 * Every image without origin is one that DSAPI clients of all ages can install. Others would be tried, and fail, on machines
 * whose imgadm does not know of origins, so they are listed only where the configuration says so.
 */
export async function listDatasets(context: Context, datasets: Datasets): Promise<void> {
  const { mirror, bodies, list: which } = datasets
  const query = parseDatasetQuery(new URLSearchParams(context.querystring), context.state.viewer)
  const { manifests, revision } = await mirror.listImages(query.images)
  const { restrictedTo: account } = query
  const shown = manifests.filter(
    (manifest) =>
      (which === 'all' || isStandalone(manifest)) && (account === undefined || isRestrictedTo(manifest, account)),
  )
  if (isForPeople(context)) {
    await sendDatasetsPage(context, shown)
    return
  }
  const terms = datasets.termsFor(context)
  const form: ListForm = {
    key: `dsapi ${terms.baseUrl}`,
    begin: '[\n',
    between: ',\n',
    end: '\n]',
    empty: '[]',
    textOf: (manifest) => JSON.stringify(downgradeManifest(manifest, terms)),
  }
  await sendList(context, bodies, { form, queryKey: JSON.stringify(query), list: { manifests: shown, revision } })
}

function isStandalone({ origin, type }: Manifest): boolean {
  return origin === undefined && (type === 'zone-dataset' || type === 'zvol')
}

function isRestrictedTo(manifest: Manifest, account: string): boolean {
  return !manifest.isPublic && restrictedTo(manifest, JSON.parse(manifest.json)) === account
}
