import type { Mirror } from '../../mirror/mirror.js'
import { Refusal } from '../answers.js'
import type { Context } from '../every-request.js'
import type { ListBodies } from '../list-bodies.js'
import { sendJson } from '../send-json.js'

/**
 * `GET /state`: how the server is, in whatever form it likes (imgapi.md, 4.6). The operator listener's `/status` says more.
 */
export async function getState(context: Context, mirror: Mirror, bodies: ListBodies): Promise<void> {
  const { isOffline, imagesListed, imagesHeld, blobsKept, bytesKept, flights } = mirror.status()
  const body = {
    cache: { lists: bodies.state() },
    storageTypes: ['local'],
    isOffline,
    imagesListed,
    imagesHeld,
    blobsKept,
    bytesKept,
    downloads: flights.length,
  }
  await sendJson(context, body, { cacheControl: 'no-store' })
}

/** `POST /state?action=dropcaches`: lists are rendered anew. What is kept on disk is no cache in this sense, and stays. */
export function changeState(context: Context, bodies: ListBodies): void {
  const action = new URLSearchParams(context.querystring).get('action')
  if (action === null || action === '') throw new Refusal(409, 'MissingParameter', '"action" is required')
  if (action !== 'dropcaches') {
    throw new Refusal(409, 'InvalidArgument', `"${action.slice(0, 64)}" is not a valid action`)
  }
  bodies.drop()
  context.status = 202
  context.body = Buffer.alloc(0)
  context.remove('Content-Type') // of nothing
}
