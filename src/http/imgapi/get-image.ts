import { etagOf, servedJson } from '../../images/serialize-manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import { wantsChannels } from '../accept-version.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { admitAccount, parseAccount } from './admit-account.js'
import { refuseAdminFields } from './refuse-admin-fields.js'
import { requestedChannel } from './requested-channel.js'

export async function getImage(context: Context, mirror: Mirror, uuid: Uuid): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const channel = requestedChannel(query, mirror.channels)
  const account = parseAccount(query)
  refuseAdminFields(query)
  const manifest = await mirror.getImage(uuid, context.state.departed, channel)
  admitAccount(manifest, account)
  const showsChannels = wantsChannels(context)
  const body: unknown = JSON.parse(servedJson(manifest, showsChannels))
  await sendJson(context, body, { tag: etagOf(manifest, showsChannels), cacheControl: 'no-cache' })
}
