import type { IncomingMessage, ServerResponse } from 'node:http'
import { onTestFinished } from 'vitest'
import type { MadeBlob, MadeDockerImage } from './docker-images.js'
import { serve, type TestServer } from './upstreams/serve.js'

/** Sees a request before the registry answers it; answers true for one that it has taken over. */
export type Whim = (request: IncomingMessage, response: ServerResponse, url: URL) => boolean

/** A Docker registry in this process, which tests fill, change and let misbehave. Asks nobody who they are. */
export interface MadeUpRegistry extends TestServer {
  /** As in `docker://HOST/name`. */
  readonly host: string
  whim: Whim
  /** Blobs and manifest of an image, under these tags. */
  put(repository: string, image: MadeDockerImage, ...tags: string[]): void
  /** A manifest or index alone. */
  putManifest(repository: string, manifest: MadeBlob, ...tags: string[]): void
  untag(repository: string, tag: string): void
  /** What was asked for as `METHOD path`, without `/v2/`. */
  asked(): string[]
}

interface Repository {
  readonly blobs: Map<string, MadeBlob>
  readonly manifests: Map<string, MadeBlob>
  readonly tags: Map<string, string>
}

/** Closed when the test has finished. */
export async function startMadeUpRegistry(whim: Whim = () => false): Promise<MadeUpRegistry> {
  const repositories = new Map<string, Repository>()
  const of = (name: string): Repository => {
    const known = repositories.get(name) ?? { blobs: new Map(), manifests: new Map(), tags: new Map() }
    repositories.set(name, known)
    return known
  }
  const server = await serve((request, response, url) => {
    if (registry.whim(request, response, url)) return
    const [, name = '', kind = '', reference = ''] =
      /^\/v2\/(.+)\/(manifests|blobs|tags)\/([^/]+)$/.exec(url.pathname) ?? []
    const repository = repositories.get(name)
    if (url.pathname === '/v2/') return void response.writeHead(200).end('{}')
    if (kind === 'tags' && repository) {
      response.writeHead(200, { 'content-type': 'application/json' })
      return void response.end(JSON.stringify({ name, tags: [...repository.tags.keys()].sort() }))
    }
    const manifest = repository?.manifests.get(repository.tags.get(reference) ?? reference)
    const blob = kind === 'blobs' ? repository?.blobs.get(reference) : manifest
    if (!blob) return void response.writeHead(404).end()
    sendBlob(request, response, blob)
  })
  onTestFinished(() => server.close())
  const registry: MadeUpRegistry = Object.assign(Object.create(server) as TestServer, {
    url: server.url,
    requests: server.requests,
    close: () => server.close(),
    host: new URL(server.url).host,
    whim,
    put(repository: string, { config, layers, manifest }: MadeDockerImage, ...tags: string[]) {
      for (const blob of [config, ...layers]) of(repository).blobs.set(blob.digest, blob)
      registry.putManifest(repository, manifest, ...tags)
    },
    putManifest(repository: string, manifest: MadeBlob, ...tags: string[]) {
      of(repository).manifests.set(manifest.digest, manifest)
      for (const tag of tags) of(repository).tags.set(tag, manifest.digest)
    },
    untag: (repository: string, tag: string) => void of(repository).tags.delete(tag),
    asked: () => server.requests.map(({ method, url }) => `${method} ${url.replace(/^\/v2\//, '')}`),
  })
  return registry
}

/** Answers as it should, also with a part. */
export function sendBlob(request: IncomingMessage, response: ServerResponse, { bytes, digest, mediaType }: MadeBlob) {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  const start = Number(first ?? 0)
  const end = last ? Math.min(bytes.length, Number(last) + 1) : bytes.length
  const part = bytes.subarray(start, end)
  response.writeHead(first === undefined ? 200 : 206, {
    'content-type': mediaType,
    'content-length': String(part.length),
    'docker-content-digest': digest,
    ...(first !== undefined && { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` }),
  })
  response.end(request.method === 'HEAD' ? undefined : part)
}
