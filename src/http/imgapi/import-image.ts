import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { readJsonBody } from '../read-body.js'
import { parseBoolean, requireOperator } from './change-options.js'
import { sendChangedImage } from './send-changed-image.js'
import { waitForUs } from './wait-for-us.js'
import type { Desk } from './writing.js'

/** An image that exists elsewhere, under its own uuid: its manifest from the body, or with `source` from another IMGAPI. */
export async function importImage(
  context: Context,
  { publishing }: Desk,
  uuid: Uuid,
  options: ChangeOptions,
): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  requireOperator(options)
  const skipOwnerCheck = parseBoolean(query, 'skip_owner_check')
  const source = query.get('source')
  if (source !== null) {
    waitForUs(context)
    await sendChangedImage(context, await publishing.importManifestFrom(uuid, source, options))
    return
  }
  const manifest = await publishing.import(uuid, await readJsonBody(context), {
    ...options,
    skipOwnerCheck,
    userAgent: context.req.headers['user-agent'],
  })
  await sendChangedImage(context, manifest)
}
