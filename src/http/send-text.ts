import { isAnsweredByConditions } from './conditions.js'
import { chooseEncoding, compress } from './encodings.js'
import type { Context } from './every-request.js'

/**
 * `no-cache` lets caches keep the answer and makes them ask whether it still holds, which is the price of a 304:
 * catalogues change whenever an upstream does. `no-store` is for what is true only now.
 */
export type CacheControl = 'no-cache' | 'no-store'

export interface TextOptions {
  readonly contentType: string
  readonly cacheControl: CacheControl
  /** What the text is recognised by, without quotes. */
  readonly tag?: string | undefined
}

/**
 * Answers 200 with a text, or 304 where the client has it already.
 *
 * @throws Refusal 412.
 */
export async function sendText(
  context: Context,
  text: string,
  { contentType, cacheControl, tag }: TextOptions,
): Promise<void> {
  const bytes = Buffer.from(text)
  const encoding = chooseEncoding(context, bytes.length)
  context.set('Cache-Control', cacheControl)
  if (tag !== undefined && isAnsweredByConditions(context, { tag, isWeak: encoding !== undefined })) return
  context.status = 200
  context.set('Content-Type', contentType)
  if (encoding !== undefined) context.set('Content-Encoding', encoding)
  context.body = encoding === undefined ? bytes : await compress(bytes, encoding)
}
