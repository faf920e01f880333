import type { Channels } from '../../mirror/channels.js'
import { pathUnknown } from '../answers.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** As they are configured. A server without channels answers as if the path did not exist (sdc-imgapi, lib/channels.js). */
export async function listChannels(context: Context, channels: Channels): Promise<void> {
  if (!channels.areUsed) throw pathUnknown(context.url)
  const body = channels.list.map(({ name, description, isDefault }) => ({
    name,
    description,
    ...(isDefault && { default: true }),
  }))
  await sendJson(context, body, { cacheControl: 'no-cache' })
}
