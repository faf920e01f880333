import type { IncomingMessage, ServerResponse } from 'node:http'
import type { MadeBlob, MadeDockerImage } from './docker-images.js'
import { serve, type TestServer } from './upstreams/serve.js'

/** A blob that was asked for. */
export interface BlobAsked {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly blob: MadeBlob
}

export interface MemoryRegistry extends TestServer {
  /** As in `HOST/name`. */
  readonly host: string
  /** How often a blob was asked for. */
  asked(digest: string): number
}

/**
 * A registry with everything in memory, which does as it is told.
 * @param images by `repository:tag`
 * @param takeOver sees every GET of a blob; answers true for one that it takes care of itself.
 */
export async function startMemoryRegistry(
  images: Readonly<Record<string, MadeDockerImage>>,
  takeOver: (asked: BlobAsked) => boolean = () => false,
): Promise<MemoryRegistry> {
  const blobs = new Map<string, MadeBlob>()
  const manifests = new Map<string, MadeBlob>()
  for (const [name, { config, layers, manifest }] of Object.entries(images)) {
    const [repository, tag] = name.split(':')
    for (const blob of [config, ...layers]) blobs.set(blob.digest, blob)
    for (const reference of [tag, manifest.digest]) manifests.set(`${repository} ${reference}`, manifest)
  }
  const server = await serve((request, response, { pathname }) => {
    if (pathname === '/v2/') {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
      return
    }
    const [, repository, kind, reference] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? []
    const found = kind === 'manifests' ? manifests.get(`${repository} ${reference}`) : blobs.get(reference ?? '')
    if (!found) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"errors":[{"code":"BLOB_UNKNOWN"}]}')
      return
    }
    const headers = { 'content-type': found.mediaType, 'docker-content-digest': found.digest }
    if (request.method === 'HEAD') {
      response.writeHead(200, { ...headers, 'content-length': found.size }).end()
      return
    }
    if (kind === 'blobs' && takeOver({ request, response, blob: found })) return
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    const [start, end] = [Number(from ?? 0), to ? Number(to) + 1 : found.size]
    const part = found.bytes.subarray(start, end)
    const isPart = from !== undefined
    response.writeHead(isPart ? 206 : 200, {
      ...headers,
      'content-length': part.length,
      ...(isPart && { 'content-range': `bytes ${start}-${start + part.length - 1}/${found.size}` }),
    })
    response.end(part)
  })
  return Object.assign(Object.create(server) as TestServer, {
    url: server.url,
    requests: server.requests,
    host: new URL(server.url).host,
    asked: (digest: string) =>
      server.requests.filter(({ method, url }) => method === 'GET' && url.endsWith(`/blobs/${digest}`)).length,
    close: () => server.close(),
  })
}
