import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'

/** Alive: the process turns its event loop. Says nothing of upstreams, whose state is no reason to restart us. */
export async function healthz(context: Context, version: string): Promise<void> {
  await sendJson(context, { status: 'alive', version }, { cacheControl: 'no-store' })
}
