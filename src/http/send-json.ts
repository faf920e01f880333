import type { Context } from './every-request.js'
import { sendText, type TextOptions } from './send-text.js'

/**
 * Answers 200 with JSON as IMGAPI writes it, or 304 where the client has it already.
 *
 * The type is exactly `application/json`: imgadm reads nothing out of a failure that has a charset behind it. There is
 * no Content-MD5: imgadm would check it, with a node that hashes characters beyond ASCII wrongly (imgadm-client.md, 2).
 *
 * @throws Refusal 412.
 */
export async function sendJson(
  context: Context,
  value: unknown,
  options: Omit<TextOptions, 'contentType'>,
): Promise<void> {
  await sendText(context, JSON.stringify(value, null, 2), { ...options, contentType: 'application/json' })
}
