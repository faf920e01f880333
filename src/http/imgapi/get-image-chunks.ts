import type { Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { parseFileIndex } from './file-index.js'
import { requestedChannel } from './requested-channel.js'

/**
 * Ours, not IMGAPI's: the hashes of every chunk of a held file, so that a mirror behind us can check what it pulls
 * chunk by chunk, and name the damaged one.
 */
export async function getImageChunks(context: Context, mirror: Mirror, uuid: Uuid): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const channel = requestedChannel(query, mirror.channels)
  const index = parseFileIndex(query, uuid)
  const { sizeBytes, sha1, sha256, md5, chunkBytes, chunks } = await mirror.getChunks(
    uuid,
    index,
    context.state.departed,
    channel,
  )
  const body = { uuid, index, size: sizeBytes, sha1, sha256, md5, chunk_size: chunkBytes, algorithm: 'sha256', chunks }
  await sendJson(context, body, { tag: `chunks-${sha256}`, cacheControl: 'no-cache' })
}
