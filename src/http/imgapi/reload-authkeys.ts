import { isMirrorError } from '../../errors.js'
import { Refusal } from '../answers.js'
import type { Authenticator } from '../auth/authenticator.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** Reads users' keys, passwords and tokens again from their files: `{}`. */
export async function reloadAuthkeys(context: Context, authenticator: Authenticator): Promise<void> {
  await authenticator.writer(context)
  try {
    await authenticator.reload()
  } catch (error) {
    if (!isMirrorError(error, 'CONFIG_INVALID')) throw error
    // Whoever asks may publish, and is told what an operator would read in the log.
    throw new Refusal(500, 'InternalError', `nothing was read again, all stays as it was: ${error.message}`)
  }
  context.state.log.info({}, 'the files of users were read again')
  await sendJson(context, {}, { cacheControl: 'no-store' })
}
