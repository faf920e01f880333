import { MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { activateImage } from './activate-image.js'
import { addImageToChannel } from './add-image-to-channel.js'
import { disableImage, enableImage } from './enable-image.js'
import { importImage } from './import-image.js'
import { importRemoteImage } from './import-remote-image.js'
import { updateImage } from './update-image.js'
import type { Desk, WritingEndpoint } from './writing.js'

const ACTIONS = new Map<string, WritingEndpoint>([
  ['import', importImage],
  ['import-remote', importRemoteImage],
  ['activate', activateImage],
  ['enable', enableImage],
  ['disable', disableImage],
  ['channel-add', addImageToChannel],
  ['update', updateImage],
])

/** `POST /images/:uuid?action=...`. An unknown image is told before an unknown action. */
export async function imageAction(context: Context, desk: Desk, uuid: Uuid, options: ChangeOptions): Promise<void> {
  const action = new URLSearchParams(context.querystring).get('action') ?? ''
  const endpoint = ACTIONS.get(action)
  if (endpoint) return await endpoint(context, desk, uuid, options)
  await desk.mirror.getImage(uuid, context.state.departed, options.channel)
  const message = action ? `"${action}" is not a valid action` : 'no image "action" was specified'
  throw new MirrorError('QUERY_INVALID', message, {
    fields: [{ field: 'action', code: action ? 'Invalid' : 'MissingParameter' }],
  })
}
