import { createHash } from 'node:crypto'
import { downgradeManifest } from '../../images/downgrade-manifest.js'
import type { Context } from '../every-request.js'
import { admitAccount } from '../imgapi/admit-account.js'
import { isForPeople } from '../is-for-people.js'
import { sendText } from '../send-text.js'
import { sendDatasetPage } from './dataset-page.js'
import type { Datasets } from './dsapi-routes.js'
import { findDataset } from './find-dataset.js'

/** A manifest as v1. With a slash behind it, it is a directory for those who look with a browser. */
export async function getDataset(context: Context, { mirror, termsFor }: Datasets): Promise<void> {
  const terms = termsFor(context)
  const { id = '' } = context.params as { id?: string }
  const { departed: signal, viewer } = context.state
  const manifest = await findDataset(mirror, id, { creatorName: terms.creatorName, signal, viewer })
  admitAccount(manifest, undefined)
  if (context.path.endsWith('/') && isForPeople(context)) {
    await sendDatasetPage(context, manifest, terms)
    return
  }
  const text = JSON.stringify(downgradeManifest(manifest, terms))
  const tag = createHash('sha1').update(text).digest('hex')
  await sendText(context, text, { contentType: 'application/json', cacheControl: 'no-cache', tag })
}
