import { pathUnknown } from '../answers.js'
import type { Context } from '../every-request.js'

/** A server without channels answers as if the path did not exist (imgapi.md, 5), and we have none. */
export function listChannels(context: Context): never {
  throw pathUnknown(context.url)
}
