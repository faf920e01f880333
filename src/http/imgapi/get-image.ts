import { etagOf } from '../../images/serialize-manifest.js'
import type { Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { admitAccount, parseAccount } from './admit-account.js'
import { refuseAdminFields } from './refuse-admin-fields.js'

export async function getImage(context: Context, mirror: Mirror, uuid: Uuid): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const account = parseAccount(query)
  refuseAdminFields(query)
  const manifest = await mirror.getImage(uuid, context.state.departed)
  admitAccount(manifest, account)
  await sendJson(context, JSON.parse(manifest.json), { tag: etagOf(manifest), cacheControl: 'no-cache' })
}
