import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** Why it makes no sense to send clients here now; empty when it does. */
export type FindReasons = () => Promise<readonly string[]>

/** 503, with the reasons, while it makes no sense to send clients here. */
export async function readyz(context: Context, findReasons: FindReasons): Promise<void> {
  const reasons = await findReasons()
  const body = reasons.length === 0 ? { status: 'ready' } : { status: 'not ready', reasons }
  await sendJson(context, body, { cacheControl: 'no-store' })
  context.status = reasons.length === 0 ? 200 : 503
}
