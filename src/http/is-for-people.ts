import type { Context } from './every-request.js'

/** Whether who asks would rather have a page than JSON: browsers say so, imgadm and curl do not. */
export function isForPeople(context: Context): boolean {
  context.vary('Accept')
  return context.accepts('json', 'html') === 'html'
}
