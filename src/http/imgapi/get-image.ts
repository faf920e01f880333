import { parseAdminFields } from '../../images/parse-list-query.js'
import { servedJson } from '../../images/serialize-manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import { wantsChannels } from '../accept-version.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { etagOfJson, withAdminFields } from './admin-fields.js'
import { admitAccount, parseAccount } from './admit-account.js'
import { requestedChannel } from './requested-channel.js'

export async function getImage(context: Context, mirror: Mirror, uuid: Uuid): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const channel = requestedChannel(query, mirror.channels)
  const account = parseAccount(query)
  const hasAdminFields = parseAdminFields(query, context.state.viewer)
  const manifest = await mirror.getImage(uuid, context.state.departed, channel)
  admitAccount(manifest, account)
  const served = servedJson(manifest, wantsChannels(context))
  const json = hasAdminFields ? withAdminFields(served) : served
  await sendJson(context, JSON.parse(json), { tag: etagOfJson(json), cacheControl: 'no-cache' })
}
