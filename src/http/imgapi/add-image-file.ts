import type { Uuid } from '../../images/uuid.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import type { Context } from '../every-request.js'
import { imageFirst } from './image-first.js'
import { sendChangedImage } from './send-changed-image.js'
import { checkStorage, parseCompression } from './upload-parameters.js'
import { waitForUs } from './wait-for-us.js'
import type { Desk } from './writing.js'

/**
 * The bytes of an image's file, whatever their Content-Type: imgadm calls them JSON. Or, with `source`, the file of the
 * same image from another IMGAPI.
 */
export async function addImageFile(context: Context, desk: Desk, uuid: Uuid, options: ChangeOptions): Promise<void> {
  const { publishing } = desk
  const query = new URLSearchParams(context.querystring)
  const source = query.get('source')
  if (source !== null) {
    waitForUs(context)
    await sendChangedImage(context, await publishing.addFileFrom(uuid, source, options))
    return
  }
  const compression = await imageFirst(context, desk, uuid, options, () => {
    const found = parseCompression(query)
    checkStorage(query, options)
    return found
  })
  const { body, departed } = context.state
  const manifest = await publishing.addFile(
    uuid,
    {
      body: body.take(),
      sizeBytes: body.sizeBytes,
      compression,
      sha1: query.get('sha1') || undefined,
      contentMd5: context.get('Content-MD5') || undefined,
      datasetGuid: query.get('dataset_guid') || undefined,
      signal: departed,
    },
    options,
  )
  await sendChangedImage(context, manifest)
}
