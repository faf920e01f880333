import { MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { readJsonBody } from '../read-body.js'
import { imageFirst } from './image-first.js'
import { sendChangedImage } from './send-changed-image.js'
import type { Desk } from './writing.js'

/** Whom a private image is for: `?action=add`, which is also what is meant without one, or `remove`. */
export async function changeImageAcl(context: Context, desk: Desk, uuid: Uuid, options: ChangeOptions): Promise<void> {
  const { publishing } = desk
  const action = await imageFirst(context, desk, uuid, options, () => parseAction(context))
  const accounts = await readJsonBody(context)
  const changed =
    action === 'add'
      ? await publishing.addAcl(uuid, accounts, options)
      : await publishing.removeAcl(uuid, accounts, options)
  await sendChangedImage(context, changed)
}

function parseAction({ querystring }: Context): 'add' | 'remove' {
  const action = new URLSearchParams(querystring).get('action') || 'add'
  if (action === 'add' || action === 'remove') return action
  throw new MirrorError('QUERY_INVALID', `"${action}" is not a valid action`, {
    fields: [{ field: 'action', code: 'Invalid' }],
  })
}
