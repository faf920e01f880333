import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { sendChangedImage } from './send-changed-image.js'
import type { Desk } from './writing.js'

export async function enableImage(
  context: Context,
  { publishing }: Desk,
  uuid: Uuid,
  options: ChangeOptions,
): Promise<void> {
  await sendChangedImage(context, await publishing.enable(uuid, options))
}

/** Out of the lists; whoever knows it gets it all the same. */
export async function disableImage(
  context: Context,
  { publishing }: Desk,
  uuid: Uuid,
  options: ChangeOptions,
): Promise<void> {
  await sendChangedImage(context, await publishing.disable(uuid, options))
}
