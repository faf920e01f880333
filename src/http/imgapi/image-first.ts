import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { admitAccount } from './admit-account.js'
import type { Desk } from './writing.js'

/**
 * Reads the parameters of a request about an image. If something is wrong with them, what is wrong with the image is
 * told all the same: whether there is one at all, and whether the account may see it. Nothing else is looked at.
 *
 * @throws MirrorError IMAGE_UNKNOWN, or what `read` throws.
 */
export async function imageFirst<Parameters>(
  context: Context,
  { mirror }: Desk,
  uuid: Uuid,
  { account, channel }: ChangeOptions,
  read: () => Parameters,
): Promise<Parameters> {
  try {
    return read()
  } catch (error) {
    admitAccount(await mirror.getImage(uuid, context.state.departed, channel), account)
    throw error
  }
}
