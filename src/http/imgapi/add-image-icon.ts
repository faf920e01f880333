import { MirrorError } from '../../errors.js'
import type { Uuid } from '../../images/uuid.js'
import type { IconOnOffer } from '../../mirror/mirror.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { readBody } from '../read-body.js'
import { imageFirst } from './image-first.js'
import { sendChangedImage } from './send-changed-image.js'
import { checkStorage } from './upload-parameters.js'
import type { Desk } from './writing.js'

/** 128 KiB (sdc-imgapi, lib/constants.js). */
const ICON_LIMIT_BYTES = 131_072
const CONTENT_TYPES: readonly IconOnOffer['contentType'][] = ['image/jpeg', 'image/gif', 'image/png']

/** In any state, and again at any time. */
export async function addImageIcon(context: Context, desk: Desk, uuid: Uuid, options: ChangeOptions): Promise<void> {
  const query = new URLSearchParams(context.querystring)
  const contentType = await imageFirst(context, desk, uuid, options, () => {
    const found = parseContentType(context.req.headers['content-type'])
    checkStorage(query, options)
    return found
  })
  const bytes = await readBody(context, ICON_LIMIT_BYTES, tooLarge)
  const icon = { contentType, bytes, sha1: query.get('sha1') || undefined }
  await sendChangedImage(context, await desk.publishing.setIcon(uuid, icon, options))
}

function parseContentType(given: string | undefined): IconOnOffer['contentType'] {
  const contentType = CONTENT_TYPES.find((known) => known === given)
  if (contentType !== undefined) return contentType
  const choice = CONTENT_TYPES.join(', ')
  throw new MirrorError('UPLOAD_REFUSED', `invalid content-type, ${given}, must be one of ${choice}`)
}

function tooLarge(_limitBytes: number, declaredBytes: number | undefined): MirrorError {
  const size = declaredBytes === undefined ? 'icon size' : `icon size ${declaredBytes} (from Content-Length)`
  return new MirrorError('UPLOAD_REFUSED', `${size} exceeds the maximum allowed size, 128 KiB`)
}
