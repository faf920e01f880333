import { MirrorError } from '../../errors.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { readJsonBody } from '../read-body.js'
import { importDockerImage } from './import-docker-image.js'
import { sendChangedImage } from './send-changed-image.js'
import type { Desk } from './writing.js'

/** A new image, of which nothing is there but its manifest. */
export async function createImage(context: Context, desk: Desk, options: ChangeOptions): Promise<void> {
  const action = new URLSearchParams(context.querystring).get('action')
  if (action === 'import-docker-image') return await importDockerImage(context, desk, options)
  if (action) {
    // The reference crashes on it.
    throw new MirrorError('QUERY_INVALID', `"${action}" is not a valid action`, {
      fields: [{ field: 'action', code: 'Invalid' }],
    })
  }
  await sendChangedImage(context, await desk.publishing.create(await readJsonBody(context), options))
}
