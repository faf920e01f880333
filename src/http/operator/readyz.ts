import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** 503 until it makes sense to send clients here. */
export async function readyz(context: Context, isReady: () => boolean): Promise<void> {
  const ready = isReady()
  await sendJson(context, { status: ready ? 'ready' : 'loading' }, { cacheControl: 'no-store' })
  context.status = ready ? 200 : 503
}
