import { answerJson, type ServedImage, type ServeOptions, serve, type TestServer } from './serve.js'

export interface SmartosImageServerOptions extends ServeOptions {
  /** v1 manifests, as in the server's `<uuid>/manifest.json`; the bytes are its files under their `path`. */
  images: ServedImage[]
  /** Put between host and path of every file's url, as its configuration can. */
  urlSuffix?: string
}

/**
 * Answers as smartos-image-server 0.1.1 was seen to: DSAPI only, the whole list in any order, a 404 that is a JSON
 * string, file urls made from the request's Host and not encoded, neither validators nor ranges.
 */
export function startSmartosImageServer(options: SmartosImageServerOptions): Promise<TestServer> {
  const { urlSuffix = '' } = options

  return serve((request, response, url) => {
    const host = request.headers.host ?? ''
    const [kind, uuid, ...rest] = decodeURIComponent(url.pathname).slice(1).split('/')
    if (kind === 'ping') {
      answerJson(response, 200, { ping: 'pong' })
      return
    }
    if (kind !== 'datasets') {
      answerJson(response, 404, { code: 'ResourceNotFound', message: `${url.pathname} does not exist` })
      return
    }
    if (uuid === undefined) {
      answerJson(
        response,
        200,
        options.images.map((image) => asServed(image, host)),
      )
      return
    }
    const image = options.images.find(({ manifest }) => manifest.uuid === uuid)
    if (!image) answerJson(response, 404, '"404 Not Found"')
    else if (rest.length === 0) answerJson(response, 200, asServed(image, host))
    else {
      const bytes = image.files[filesOf(image).findIndex(({ path }) => path === rest.join('/'))]
      if (!bytes) {
        answerJson(response, 404, '"404 Not Found"')
        return
      }
      const headers = { 'content-type': 'application/octet-stream', 'content-length': String(bytes.length) }
      response.writeHead(200, headers).end(bytes)
    }
  }, options)

  function asServed(image: ServedImage, host: string): Record<string, unknown> {
    const url = (path: string) => `http://${host}${urlSuffix}/datasets/${image.manifest.uuid}/${path}`
    return { ...image.manifest, files: filesOf(image).map((file) => ({ ...file, url: url(file.path) })) }
  }
}

function filesOf({ manifest }: ServedImage): { path: string }[] {
  return manifest.files as { path: string }[]
}
