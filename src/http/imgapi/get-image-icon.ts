import { createHash } from 'node:crypto'
import type { Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import { isAnsweredByConditions } from '../conditions.js'
import type { Context } from '../every-request.js'
import { admitAccount, parseAccount } from './admit-account.js'
import { requestedChannel } from './requested-channel.js'

export async function getImageIcon(context: Context, mirror: Mirror, uuid: Uuid): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const channel = requestedChannel(query, mirror.channels)
  const account = parseAccount(query)
  const { departed } = context.state
  if (account !== undefined) admitAccount(await mirror.getImage(uuid, departed, channel), account)
  const { contentType, bytes, keptMs } = await mirror.getIcon(uuid, departed, channel)
  const tag = createHash('sha1').update(bytes).digest('hex')

  // Unlike a file, an icon may be replaced at any time.
  context.set('Cache-Control', 'no-cache')
  if (isAnsweredByConditions(context, { tag, modifiedMs: keptMs })) return
  context.status = 200
  context.set({
    'Content-Type': contentType,
    'Content-MD5': createHash('md5').update(bytes).digest('base64'),
    // It came from an upstream; a browser must not take it for anything but a picture.
    'X-Content-Type-Options': 'nosniff',
  })
  context.body = bytes
}
