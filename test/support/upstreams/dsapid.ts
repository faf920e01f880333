import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { answerFile } from './ranges.js'
import { type ServedImage, type ServeOptions, serve, type TestServer } from './serve.js'

export interface DsapidOptions extends ServeOptions {
  /** v2 manifests; `origin`, `acl`, `channels` and others are lost on the way, as they are in dsapid. */
  images: ServedImage[]
  /** What file urls begin with; by default a host that is not there, as behind a proxy. */
  baseUrl?: string
  /** False: manifests have no md5, and Content-Md5 is there but empty. */
  knowsMd5?: boolean
}

interface FileEntry {
  sha1: string
  size: number
  compression?: string
}

const IMGAPI_KEYS = [
  'uuid',
  'name',
  'version',
  'description',
  'os',
  'type',
  'homepage',
  'urn',
  'requirements',
  'users',
  'tags',
]
const UNSET_OWNER = '00000000-0000-0000-0000-000000000000'
const SUFFIXES: Record<string, string> = { gzip: '.gz', bzip2: '.bz2', xz: '.xz' }

/**
 * Answers as dsapid 0.7.2 was seen to: `Not found` labelled as JSON, every query parameter but `name`, `version` and `os`
 * ignored, the whole list newest first and chunked, no Etag, `?index=` ignored, Content-Md5 of the whole file also on a
 * 206, an owner it does not know as "".
 */
export function startDsapid(options: DsapidOptions): Promise<TestServer> {
  const { baseUrl = 'http://dsapid.invalid:8000/', knowsMd5 = true } = options

  return serve((request, response, url) => {
    const [kind = '', uuid, ...rest] = decodeURIComponent(url.pathname).replace(/^\//, '').replace(/\/$/, '').split('/')
    if (kind === 'ping') {
      const pong = { app: 'Dataset Image Server', dsapi: true, imgapi: true, ping: 'pong', version: '0.7.2' }
      sendJson(response, JSON.stringify(pong))
      return
    }
    if (kind !== 'images' && kind !== 'datasets') {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n')
      return
    }
    const form = kind === 'images' ? asImgapi : asDsapi
    if (uuid === undefined) {
      sendJson(response, JSON.stringify(listed().map(form)))
      return
    }
    const image = options.images.find(({ manifest }) => manifest.uuid === uuid)
    if (rest.length === 0) {
      if (image) sendJson(response, JSON.stringify(form(image)))
      else response.writeHead(404, { 'content-type': 'application/json; charset=utf-8' }).end('Not found')
      return
    }
    const index = image ? indexOf(image, kind, rest.join('/')) : -1
    const bytes = image?.files[index]
    if (!bytes) {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('Not found')
      return
    }
    answerFile(request, response, bytes, {
      'content-type': 'application/octet-stream',
      'content-md5': knowsMd5 ? createHash('md5').update(bytes).digest('base64') : '',
      'last-modified': 'Mon, 04 Jan 2021 12:34:00 GMT',
    })
  }, options)

  function listed(): ServedImage[] {
    const isListed = ({ manifest }: ServedImage) => ['active', 'deprecated'].includes(String(manifest.state))
    const newestFirst = (a: ServedImage, b: ServedImage) =>
      Date.parse(String(b.manifest.published_at)) - Date.parse(String(a.manifest.published_at))
    return options.images.filter(isListed).sort(newestFirst)
  }

  function indexOf(image: ServedImage, kind: string, name: string): number {
    if (kind === 'datasets') return filesOf(image).findIndex((_file, index) => pathOf(image, index) === name)
    const match = /^file(\d*)$/.exec(name)
    return match ? Number(match[1] || 0) : -1
  }

  function filesOf({ manifest }: ServedImage): FileEntry[] {
    return manifest.files as FileEntry[]
  }

  function pathOf(image: ServedImage, index: number): string {
    const { name, version, type } = image.manifest
    const suffix = SUFFIXES[filesOf(image)[index]!.compression ?? ''] ?? ''
    return `${name}-${version}${index > 0 ? `-${index}` : ''}.${type === 'zvol' ? 'zvol' : 'zfs'}${suffix}`
  }

  function asImgapi(image: ServedImage): Record<string, unknown> {
    const { manifest, files } = image
    return {
      v: 2,
      ...pick(manifest, IMGAPI_KEYS),
      state: manifest.state,
      disabled: manifest.state === 'disabled',
      public: manifest.public ?? true,
      published_at: withManyDigits(manifest.published_at),
      owner: manifest.owner === UNSET_OWNER ? '' : manifest.owner,
      files: filesOf(image).map((file, index) => ({ ...md5Of(files[index]), ...file })),
    }
  }

  function asDsapi(image: ServedImage): Record<string, unknown> {
    const { manifest, files } = image
    const owner = manifest.owner === UNSET_OWNER ? '' : manifest.owner
    return {
      ...pick(manifest, IMGAPI_KEYS),
      published_at: withManyDigits(manifest.published_at),
      created_at: withManyDigits(manifest.published_at),
      creator_uuid: owner,
      creator_name: owner === '' ? '' : 'sdc',
      vendor_uuid: owner,
      files: filesOf(image).map(({ sha1, size }, index) => ({
        url: `${baseUrl}datasets/${manifest.uuid}/${pathOf(image, index)}`,
        path: pathOf(image, index),
        ...md5Of(files[index]),
        sha1,
        size,
      })),
    }
  }

  function md5Of(bytes: Buffer | undefined): { md5?: string } {
    return knowsMd5 && bytes ? { md5: createHash('md5').update(bytes).digest('hex') } : {}
  }
}

/** Go's time has nanoseconds. */
function withManyDigits(publishedAt: unknown): string {
  return new Date(String(publishedAt)).toISOString().replace('Z', '123456Z')
}

function pick(from: Record<string, unknown>, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]]))
}

/** In two writes and without a length: chunked. */
function sendJson(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8', 'access-control-allow-origin': '*' })
  response.write(text.slice(0, text.length / 2))
  response.end(text.slice(text.length / 2))
}
