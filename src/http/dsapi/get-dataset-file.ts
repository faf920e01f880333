import { MirrorError } from '../../errors.js'
import { datasetFilePath } from '../../images/downgrade-manifest.js'
import { answerFile } from '../answer-file.js'
import type { Context } from '../every-request.js'
import { admitAccount } from '../imgapi/admit-account.js'
import { answerableOf } from '../imgapi/get-image-file.js'
import type { Datasets } from './dsapi-routes.js'
import { findDataset } from './find-dataset.js'

/** The bytes of a file, by the name that its manifest gives it here. Names are compared, and never used as paths. */
export async function getDatasetFile(context: Context, { mirror, termsFor }: Datasets): Promise<void> {
  const { creatorName } = termsFor(context)
  const { id = '', path = '' } = context.params as { id?: string; path?: string }
  const { departed: signal, viewer } = context.state
  const manifest = await findDataset(mirror, id, { creatorName, signal, viewer })
  admitAccount(manifest, undefined)
  const index = manifest.files.findIndex((_file, place) => datasetFilePath(manifest, place) === path)
  if (index < 0) {
    throw new MirrorError('FILE_UNKNOWN', `image "${manifest.uuid}" has no file "${path.slice(0, 256)}"`)
  }
  await answerFile(context, answerableOf(await mirror.findFile(manifest.uuid, index, signal)))
}
