import { parseListQuery } from '../../images/parse-list-query.js'
import type { Mirror } from '../../mirror/mirror.js'
import { isAnsweredByConditions } from '../conditions.js'
import { chooseEncoding } from '../encodings.js'
import type { Context } from '../every-request.js'
import { sendBytes } from '../send-bytes.js'
import type { ListBodies } from './list-bodies.js'

/** Always 200 with what we know. The tag is weak: it names the list, in whichever form it travels. */
export async function listImages(context: Context, mirror: Mirror, bodies: ListBodies): Promise<void> {
  const query = parseListQuery(new URLSearchParams(context.querystring))
  const list = await mirror.listImages(query)
  const { departed } = context.state
  departed.throwIfAborted()

  const body = await bodies.of(JSON.stringify(query), list)
  const encoding = chooseEncoding(context, body.sizeBytes)
  context.set('Cache-Control', 'no-cache')
  if (isAnsweredByConditions(context, { tag: body.tag, isWeak: true })) return
  context.status = 200
  context.set('Content-Type', 'application/json')

  const compressed = encoding && (await bodies.compressed(body, list, encoding))
  if (compressed) context.set('Content-Encoding', compressed.encoding)
  try {
    if (context.method === 'HEAD') context.length = compressed?.sizeBytes ?? body.sizeBytes
    else if (compressed) await sendBytes(context, compressed.sizeBytes, compressed.chunks)
    else await sendBytes(context, body.sizeBytes, bodies.bytesOf(body, list))
  } finally {
    compressed?.release()
  }
}
