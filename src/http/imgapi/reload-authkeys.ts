import type { Authenticator } from '../auth/authenticator.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** Reads users' keys, passwords and tokens again from their files: `{}`. */
export async function reloadAuthkeys(context: Context, authenticator: Authenticator): Promise<void> {
  await authenticator.writer(context)
  await authenticator.reload()
  context.state.log.info({}, 'the files of users were read again')
  await sendJson(context, {}, { cacheControl: 'no-store' })
}
