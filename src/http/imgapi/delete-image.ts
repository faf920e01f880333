import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { parseBoolean } from './change-options.js'
import { imageFirst } from './image-first.js'
import type { Desk } from './writing.js'

/** From the request's channel, or with `force_all_channels` from all of them; from the last one means altogether. */
export async function deleteImage(context: Context, desk: Desk, uuid: Uuid, options: ChangeOptions): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const forceAllChannels = await imageFirst(context, desk, uuid, options, () =>
    parseBoolean(query, 'force_all_channels'),
  )
  await desk.publishing.delete(uuid, { ...options, forceAllChannels: forceAllChannels ?? false })
  context.status = 204
  context.set('Cache-Control', 'no-store')
}
