import type { Uuid } from '../../images/uuid.js'
import type { FileOnOffer, Mirror } from '../../mirror/mirror.js'
import { type AnswerableFile, answerFile } from '../answer-file.js'
import type { Context } from '../every-request.js'
import { admitAccount, parseAccount } from './admit-account.js'
import { parseFileIndex } from './file-index.js'
import { requestedChannel } from './requested-channel.js'

/** The bytes of an image file. Its tag is its SHA-1, as the reference's is. */
export async function getImageFile(context: Context, mirror: Mirror, uuid: Uuid): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const channel = requestedChannel(query, mirror.channels)
  const account = parseAccount(query)
  const file = await mirror.findFile(uuid, parseFileIndex(query, uuid), context.state.departed, channel)
  admitAccount(file.manifest, account)
  await answerFile(context, answerableOf(file))
}

/** An image file as it is answered in IMGAPI and in DSAPI. */
export function answerableOf(file: FileOnOffer): AnswerableFile {
  const { manifest, held, sizeBytes, isSpoilt } = file
  return {
    name: `image ${manifest.uuid}`,
    sizeBytes,
    isSpoilt,
    held: held && { tag: held.sha1, keptMs: held.keptMs, md5: held.md5 },
    open: (signal) => file.open(signal),
  }
}
