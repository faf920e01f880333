import type { Manifest } from '../../images/manifest.js'
import { etagOf, servedJson } from '../../images/serialize-manifest.js'
import { wantsChannels } from '../accept-version.js'
import { formatTag } from '../conditions.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/**
 * The image as it stands after a change, with the tag by which the next change can name it. Conditions have been judged
 * before the change; they say nothing of its outcome.
 */
export async function sendChangedImage(context: Context, manifest: Manifest): Promise<void> {
  const showsChannels = wantsChannels(context)
  await sendJson(context, JSON.parse(servedJson(manifest, showsChannels)), { cacheControl: 'no-store' })
  context.set('ETag', formatTag(etagOf(manifest, showsChannels), context.res.hasHeader('Content-Encoding')))
}
