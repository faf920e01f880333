import type { Manifest } from '../../images/manifest.js'
import { etagOf } from '../../images/serialize-manifest.js'
import { formatTag } from '../conditions.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/**
 * The image as it stands after a change, with the tag by which the next change can name it. Conditions have been judged
 * before the change; they say nothing of its outcome.
 */
export async function sendChangedImage(context: Context, manifest: Manifest): Promise<void> {
  await sendJson(context, JSON.parse(manifest.json), { cacheControl: 'no-store' })
  context.set('ETag', formatTag(etagOf(manifest), context.response.get('Content-Encoding') !== ''))
}
