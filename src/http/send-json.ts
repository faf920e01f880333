import { isAnsweredByConditions } from './conditions.js'
import { chooseEncoding, compress } from './encodings.js'
import type { Context } from './every-request.js'

/**
 * `no-cache` lets caches keep the answer and makes them ask whether it still holds, which is the price of a 304:
 * catalogues change whenever an upstream does. `no-store` is for what is true only now.
 */
export type CacheControl = 'no-cache' | 'no-store'

export interface JsonOptions {
  readonly cacheControl: CacheControl
  /** What the JSON is recognised by, without quotes. */
  readonly tag?: string
}

/**
 * Answers 200 with JSON as IMGAPI writes it, or 304 where the client has it already.
 *
 * The type is exactly `application/json`: imgadm reads nothing out of a failure that has a charset behind it. There is
 * no Content-MD5: imgadm would check it, with a node that hashes characters beyond ASCII wrongly (imgadm-client.md, 2).
 *
 * @throws Refusal 412.
 */
export async function sendJson(context: Context, value: unknown, { cacheControl, tag }: JsonOptions): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(value, null, 2))
  const encoding = chooseEncoding(context, bytes.length)
  context.set('Cache-Control', cacheControl)
  if (tag !== undefined && isAnsweredByConditions(context, { tag, isWeak: encoding !== undefined })) return
  context.status = 200
  context.set('Content-Type', 'application/json')
  if (encoding !== undefined) context.set('Content-Encoding', encoding)
  context.body = encoding === undefined ? bytes : await compress(bytes, encoding)
}
