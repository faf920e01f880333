import { MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import { isJsonObject } from '../../parts/json-object.js'
import type { Context } from '../every-request.js'
import { readJsonBody } from '../read-body.js'
import { imageFirst } from './image-first.js'
import { sendChangedImage } from './send-changed-image.js'
import { checkStorage, parseCompression } from './upload-parameters.js'
import { waitForUs } from './wait-for-us.js'
import type { Desk } from './writing.js'

/** The mirror fetches the bytes itself, from an address that its configuration allows. */
export async function addImageFileFromUrl(
  context: Context,
  desk: Desk,
  uuid: Uuid,
  options: ChangeOptions,
): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const body = await readJsonBody(context)
  const { compression, url } = await imageFirst(context, desk, uuid, options, () => {
    const found = { compression: parseCompression(query), url: parseFileUrl(body) }
    checkStorage(query, options)
    return found
  })
  waitForUs(context)
  const file = { url, compression, sha1: query.get('sha1') || undefined, signal: context.state.departed }
  await sendChangedImage(context, await desk.publishing.addFileFromUrl(uuid, file, options))
}

/** Whether it is one, and leads where we may go, is for others to say. */
function parseFileUrl(body: unknown): string {
  const url = isJsonObject(body) ? body.file_url : undefined
  if (typeof url === 'string') return url
  const message = url === undefined ? 'missing "file_url" field from request body' : 'invalid "file_url": not a string'
  throw new MirrorError('QUERY_INVALID', message, {
    fields: [{ field: 'file_url', code: url === undefined ? 'Missing' : 'Invalid' }],
  })
}
