import type { ImageList } from '../mirror/mirror.js'
import { isAnsweredByConditions } from './conditions.js'
import { chooseEncoding } from './encodings.js'
import type { Context } from './every-request.js'
import type { ListBodies, ListForm } from './list-bodies.js'
import { sendBytes } from './send-bytes.js'

/**
 * Answers 200 with a list as JSON, or 304. The tag is weak: it names the list, in whichever form it travels.
 *
 * @param queryKey the same for equal queries.
 */
export async function sendList(
  context: Context,
  bodies: ListBodies,
  { form, queryKey, list }: { form: ListForm; queryKey: string; list: ImageList },
): Promise<void> {
  context.state.departed.throwIfAborted()
  const body = await bodies.of(form, queryKey, list)
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
