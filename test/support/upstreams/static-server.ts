import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { answerFile } from './ranges.js'
import { type ServeOptions, serve, type TestServer } from './serve.js'

export interface StaticServerOptions extends ServeOptions {
  /** A directory without an index is a page of links; otherwise 403. */
  autoindex?: boolean
}

/** Serves a directory as nginx does: index.html, a redirect to the slash, ranges, ETags, error pages in HTML. */
export function startStaticServer(directory: string, options: StaticServerOptions = {}): Promise<TestServer> {
  return serve((request, response, url) => {
    const sendPage = (status: number, text: string, headers: Record<string, string> = {}) =>
      response.writeHead(status, { 'content-type': 'text/html', ...headers }).end(`<html><body>${text}</body></html>`)
    const path = join(directory, decodeURIComponent(url.pathname))
    if (!existsSync(path)) {
      sendPage(404, '404 Not Found')
      return
    }
    const isDirectory = statSync(path).isDirectory()
    if (isDirectory && !url.pathname.endsWith('/')) {
      sendPage(301, 'moved', { location: `http://${request.headers.host}${url.pathname}/` })
      return
    }
    const file = isDirectory ? join(path, 'index.html') : path
    if (!existsSync(file)) {
      if (!options.autoindex) sendPage(403, '403 Forbidden')
      else
        sendPage(
          200,
          readdirSync(path)
            .map((name) => `<a href="${name}">${name}</a>`)
            .join('\n'),
        )
      return
    }
    const { mtime, size } = statSync(file)
    const etag = `"${Math.floor(mtime.getTime() / 1000).toString(16)}-${size.toString(16)}"`
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304, { etag }).end()
      return
    }
    const contentType = /\.html?$/.test(file) ? 'text/html' : 'application/octet-stream'
    answerFile(request, response, readFileSync(file), {
      'content-type': contentType,
      etag,
      'last-modified': mtime.toUTCString(),
    })
  }, options)
}
