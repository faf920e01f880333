import { answerFile } from './ranges.js'
import { answerJson, type ServedImage, type ServeOptions, serve, type TestServer } from './serve.js'

/** An IMGAPI server that gives parts of files, as mirrors like us do. `images` may change at any time. */
export function startRangeImgapi(images: readonly ServedImage[], options: ServeOptions = {}): Promise<TestServer> {
  return serve((request, response, url) => {
    const [, , uuid, part] = url.pathname.split('/')
    const image = images.find(({ manifest }) => manifest.uuid === uuid)
    const file = image?.files[0]
    if (url.pathname === '/ping') answerJson(response, 200, { ping: 'pong', version: '1.0.0', imgapi: true })
    else if (url.pathname === '/images') {
      answerJson(
        response,
        200,
        images.map(({ manifest }) => manifest),
      )
    } else if (image && !part) answerJson(response, 200, image.manifest)
    else if (image?.icon && part === 'icon') {
      const { contentType, bytes } = image.icon
      response.writeHead(200, { 'content-type': contentType, 'content-length': bytes.length }).end(bytes)
    } else if (file && part === 'file') {
      const headers = { 'content-type': 'application/octet-stream', etag: `"${String(uuid)}"` }
      if (request.method === 'HEAD') response.writeHead(200, headers).end()
      else answerFile(request, response, file, headers)
    } else answerJson(response, 404, { code: 'ResourceNotFound', message: `${url.pathname} does not exist` })
  }, options)
}
