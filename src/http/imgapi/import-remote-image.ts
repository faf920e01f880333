import { MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { parseBoolean, requireOperator } from './change-options.js'
import type { Desk } from './writing.js'

/**
 * An image with its whole chain, from another IMGAPI. The answer comes when it is under way; GetImage tells how far it
 * is. The reference names the address of its workflow engine in a header; we have none, and do it ourselves.
 */
export async function importRemoteImage(
  context: Context,
  { publishing }: Desk,
  uuid: Uuid,
  options: ChangeOptions,
): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const source = query.get('source')
  if (!source) {
    throw new MirrorError('MANIFEST_INVALID', 'missing source parameter', {
      fields: [{ field: 'source', code: 'MissingParameter' }],
    })
  }
  requireOperator(options)
  const skipOwnerCheck = parseBoolean(query, 'skip_owner_check')
  const { jobUuid } = await publishing.importRemote(uuid, source, { ...options, skipOwnerCheck })
  await sendJson(context, { image_uuid: uuid, job_uuid: jobUuid }, { cacheControl: 'no-store' })
}
