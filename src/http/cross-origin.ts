import type { Context } from './every-request.js'

/** What scripts of other sites may read: that which anybody may. */
const OPEN_PATHS = /^\/(?:datasets|images|channels|ping)(?:\/|$)|^\/$/

const READING = 'GET, HEAD'

/**
 * Lets scripts of any site read what is open to all, as dsapid does for its lists and manifests. Never with credentials:
 * `*` makes browsers leave them out, and `Authorization` is not among the headers that a script may set.
 */
export function crossOriginHeaders({
  method,
  path,
}: Pick<Context, 'method' | 'path'>): Readonly<Record<string, string>> {
  if (!['GET', 'HEAD', 'OPTIONS'].includes(method) || !OPEN_PATHS.test(path)) return {}
  return {
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Expose-Headers':
      'Accept-Ranges, Content-Length, Content-MD5, Content-Range, ETag, Retry-After, X-Request-Id',
  }
}

/** Whether this was a browser that asks what a script may ask; then it has been answered. */
export function answerPreflight(context: Context): boolean {
  const { method, req, path } = context
  const isPreflight = method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined
  if (!isPreflight || !OPEN_PATHS.test(path)) return false
  context.status = 204
  context.set({
    'Access-Control-Allow-Methods': READING,
    'Access-Control-Allow-Headers':
      'Accept, Accept-Version, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, Range, X-Request-Id, X-Requested-With',
    'Access-Control-Max-Age': '86400',
  })
  return true
}
