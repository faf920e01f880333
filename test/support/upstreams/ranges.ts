import type { IncomingMessage, ServerResponse } from 'node:http'

/** Answers a file the way Go's ServeFile and nginx do: single ranges, If-Range by ETag, 416. */
export function answerFile(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Buffer,
  headers: Record<string, string>,
): void {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const ifRange = request.headers['if-range']
  const isStale = ifRange !== undefined && ifRange !== headers.etag
  const common = { 'accept-ranges': 'bytes', ...headers }
  if (!range || isStale) {
    response.writeHead(200, { ...common, 'content-length': String(bytes.length) }).end(bytes)
    return
  }
  const start = Number(range[1])
  const last = Math.min(range[2] ? Number(range[2]) : bytes.length - 1, bytes.length - 1)
  if (start > last) {
    response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end()
    return
  }
  const part = bytes.subarray(start, last + 1)
  const contentRange = `bytes ${start}-${last}/${bytes.length}`
  response.writeHead(206, { ...common, 'content-range': contentRange, 'content-length': String(part.length) }).end(part)
}
