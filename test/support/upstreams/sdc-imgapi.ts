import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { answerJson, type ServedImage, type ServeOptions, serve, type TestServer } from './serve.js'

export interface SdcImgapiOptions extends ServeOptions {
  /** v2 manifests. Looked at anew for every request, so a test may change it. */
  images: ServedImage[]
  /** With channels, an image is in those of `manifest.channels`; the first one named here is the default. */
  channels?: string[]
  /** A list is never longer than this (the moray backend cuts at 1,000). */
  listCap?: number
  /** How the markers of other servers differ: `inclusive` by date is the reference's. */
  marker?: 'inclusive' | 'exclusive' | 'ignored'
  ignoresLimit?: boolean
  /** Equal dates come in another order with every call, as with the reference. */
  isUnstable?: boolean
  /** Sent with the list, which the reference does not do, but a mirror does. */
  listEtag?: string
  listLastModified?: string
}

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'

/**
 * Answers as sdc-imgapi 4.13.1 in public mode was seen to (protocol notes, "What real servers do"): no HEAD, no ranges,
 * unquoted Etags, Content-MD5, pretty-printed JSON; sizes are believed from the manifest, so a file shorter than that
 * hangs, a longer one runs over, a missing one is a 500 with a length and no body; some queries kill it.
 */
export async function startSdcImgapi(options: SdcImgapiOptions): Promise<TestServer> {
  let calls = 0
  const notFound = (response: ServerResponse, message: string) =>
    answerJson(response, 404, { code: 'ResourceNotFound', message })

  const server = await serve((request, response, url) => {
    if (request.method !== 'GET') {
      response.setHeader('allow', 'GET, POST')
      answerJson(response, 405, { code: 'MethodNotAllowedError', message: `${request.method} is not allowed` })
      return
    }
    if (url.pathname === '/ping') {
      answerJson(response, 200, { ping: 'pong', version: '4.13.1', imgapi: true })
      return
    }
    if (url.pathname === '/images') {
      if (!['true', 'false', null].includes(url.searchParams.get('public'))) {
        void server.close()
        return
      }
      list(url, response)
      return
    }
    const match = new RegExp(`^/images/(${UUID})(/file|/icon)?$`).exec(url.pathname)
    if (!match) {
      notFound(response, `${request.url} does not exist`)
      return
    }
    const [, uuid, part] = match
    const image = options.images.find(({ manifest }) => manifest.uuid === uuid)
    if (!image) notFound(response, `image ${uuid} not found`)
    else if (!isInChannel(image, url)) notFound(response, 'image not found')
    else if (part === '/file') sendFile(image, Number.parseInt(url.searchParams.get('index') ?? '0', 10) || 0, response)
    else if (part === '/icon') sendIcon(image, response)
    else answerJson(response, 200, image.manifest, { etag: sha1(JSON.stringify(image.manifest)) })
  }, options)
  return server

  function isInChannel({ manifest }: ServedImage, url: URL): boolean {
    if (!options.channels) return true
    const channel = url.searchParams.get('channel') ?? options.channels[0]
    return channel === '*' || (manifest.channels as string[]).includes(channel!)
  }

  function list(url: URL, response: ServerResponse): void {
    calls += 1
    const { marker: markerKind = 'inclusive', listCap = Number.POSITIVE_INFINITY } = options
    const marker = url.searchParams.get('marker')
    const limit = Number(url.searchParams.get('limit') ?? 0)
    const etag = options.listEtag
    const headers = {
      ...(etag && { etag }),
      ...(options.listLastModified && { 'last-modified': options.listLastModified }),
    }
    const isSame = etag ? response.req.headers['if-none-match'] === etag : false
    if (isSame || (!etag && headers['last-modified'] && response.req.headers['if-modified-since'])) {
      response.writeHead(304).end()
      return
    }
    let found = options.images.filter((image) => image.manifest.state === 'active' && isInChannel(image, url))
    found.sort((a, b) => publishedMs(a) - publishedMs(b) || tieBreak(a, b))
    if (marker && markerKind !== 'ignored') {
      const marked = options.images.find(({ manifest }) => manifest.uuid === marker)
      if (!marked) {
        notFound(response, `image ${marker} not found`)
        return
      }
      found = found.filter((image) =>
        markerKind === 'inclusive'
          ? publishedMs(image) >= publishedMs(marked)
          : publishedMs(image) > publishedMs(marked),
      )
    }
    if (limit > 0 && !options.ignoresLimit) found = found.slice(0, limit)
    const manifests = found.slice(0, listCap).map(({ manifest }) => manifest)
    answerJson(response, 200, manifests, headers)
  }

  function tieBreak(a: ServedImage, b: ServedImage): number {
    const key = ({ manifest }: ServedImage) =>
      options.isUnstable ? sha1(`${calls} ${manifest.uuid}`) : `${manifest.uuid}`
    return key(a) < key(b) ? -1 : 1
  }

  function sendFile({ manifest, files }: ServedImage, index: number, response: ServerResponse): void {
    const declared = (manifest.files as { sha1: string; size: number }[])[index]
    if (!declared) {
      notFound(response, `image "${manifest.uuid}" has no file at index ${index}`)
      return
    }
    const bytes = files[index]
    if (!bytes) {
      response.writeHead(500, { 'content-type': 'application/json', 'content-length': String(declared.size) })
      response.flushHeaders()
      return
    }
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': String(declared.size),
      'content-md5': createHash('md5').update(bytes).digest('base64'),
      etag: declared.sha1,
      'last-modified': 'Mon, 04 Jan 2021 12:34:00 GMT',
    })
    response.flushHeaders()
    // Too few: nothing more ever comes. Too many: the rest follows behind Content-Length.
    if (bytes.length < declared.size) response.write(bytes)
    else response.end(bytes)
  }

  function sendIcon({ manifest, icon }: ServedImage, response: ServerResponse): void {
    if (!icon) {
      notFound(response, `image "${manifest.uuid}" has no icon`)
      return
    }
    response.writeHead(200, {
      'content-type': icon.contentType,
      'content-length': String(icon.bytes.length),
      'content-md5': createHash('md5').update(icon.bytes).digest('base64'),
      etag: sha1(icon.bytes),
    })
    response.end(icon.bytes)
  }
}

function publishedMs({ manifest }: ServedImage): number {
  return typeof manifest.published_at === 'string' ? Date.parse(manifest.published_at) : 0
}

function sha1(data: string | Buffer): string {
  return createHash('sha1').update(data).digest('hex')
}
