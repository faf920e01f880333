import type { IncomingMessage, ServerResponse } from 'node:http'
import { LRUCache } from 'lru-cache'
import type { Manifest } from '../images/manifest.js'
import { etagOf, servedJson } from '../images/serialize-manifest.js'
import { parseUuid, type Uuid } from '../images/uuid.js'
import { isSeenBy, type Viewer } from '../images/viewer.js'
import type { Mirror } from '../mirror/mirror.js'
import { AddressSet } from '../parts/address-set.js'
import type { Authenticator } from './auth/authenticator.js'
import { clientAddressOf } from './client-address.js'
import { type CommonFacts, commonHeaders } from './common-headers.js'
import { formatTag } from './conditions.js'
import { crossOriginHeaders } from './cross-origin.js'
import { IMGAPI_LIST, listKeyOf, listQueryOf } from './imgapi/list-images.js'
import type { ListBodies } from './list-bodies.js'
import type { Handler } from './listener.js'
import { type ReportOptions, reportRequest } from './report-request.js'
import { requestIdOf } from './request-id.js'
import { whenOver } from './when-over.js'

export interface HotPathOptions extends CommonFacts, ReportOptions {
  readonly mirror: Mirror
  readonly authenticator: Pick<Authenticator, 'passerBy'>
  /** Where the app keeps its lists. */
  readonly bodies: ListBodies
  readonly trustedProxies?: readonly string[] | undefined
}

/** Headers that change nothing in what is answered here; `accept-version` within ORDINARY_VERSIONS. */
const INDIFFERENT = new Set([
  'accept',
  'accept-version',
  'connection',
  'date',
  'host',
  'request-id',
  'user-agent',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
  'x-request-id',
  'x-sendfile-type',
])

/** Those of no header, of sdc-clients and of imgadm. */
const ORDINARY_VERSIONS = new Set<unknown>([undefined, '~1', '~2', '*'])

const LIST = '/images'
const IMAGE = '/images/'
const UUID_CHARACTERS = 36

/** Larger lists go out at the pace of whoever reads them. */
const LIST_BYTES = 4 * 1024 * 1024

/** Rendered manifests kept: so many, and together so large. */
const MANIFESTS_KEPT = 8192
const MANIFESTS_BYTES = 16 * 1024 * 1024

const NO_PARAMETERS = new URLSearchParams()

/** A manifest as it is sent, in one string with its headers: one byte a character. */
interface RenderedManifest {
  readonly manifest: Manifest
  readonly tag: string
  readonly latin1: string
}

/**
 * Answers by itself what is asked most and needs no thought: the list of all images, and one manifest, asked for by anybody with
 * nothing out of the ordinary in the request. All else is left to the app, whose answers these are, byte by byte (the tests hold one
 * against the other). Why: of what such an answer costs, the framework is three quarters (docs/decisions/0024).
 */
export function hotPath(options: HotPathOptions, app: Handler): Handler {
  const path = new HotPath(options)
  return (req, res) => {
    if (!path.answers(req, res)) app(req, res)
  }
}

class HotPath {
  readonly #options: HotPathOptions
  readonly #proxies: AddressSet
  readonly #manifests = new LRUCache<Uuid, RenderedManifest>({
    max: MANIFESTS_KEPT,
    maxSize: MANIFESTS_BYTES,
    sizeCalculation: ({ latin1 }) => latin1.length,
  })

  /** Headers that are the same in every answer: names and values in turn. */
  readonly #always: readonly string[]

  constructor(options: HotPathOptions) {
    this.#options = options
    const { 'x-request-id': _ofThat, ...common } = commonHeaders('', options)
    this.#always = Object.entries({
      ...crossOriginHeaders({ method: 'GET', path: LIST }),
      ...common,
      Vary: 'Accept-Encoding',
      'Cache-Control': 'no-cache',
      'Content-Type': 'application/json',
    }).flat()
    this.#proxies = new AddressSet(options.trustedProxies ?? [])
  }

  /** Whether it was such a request; then it is answered. */
  answers(req: IncomingMessage, res: ServerResponse): boolean {
    const { url = '' } = req
    const isList = url === LIST
    if (req.method !== 'GET' || !(isList || (url.length === IMAGE.length + UUID_CHARACTERS && url.startsWith(IMAGE)))) {
      return false
    }
    for (const name in req.headers) if (!INDIFFERENT.has(name)) return false
    const version = req.headers['accept-version']
    const { authenticator, mirror } = this.#options
    if (!ORDINARY_VERSIONS.has(version) || (mirror.channels.areUsed && version !== undefined)) return false
    const viewer = authenticator.passerBy()
    if (!viewer) return false
    return isList ? this.#answersList(req, res, viewer) : this.#answersImage(req, res, url, viewer)
  }

  #answersImage(req: IncomingMessage, res: ServerResponse, url: string, viewer: Viewer): boolean {
    const uuid = parseUuid(url.slice(IMAGE.length))
    const manifest = uuid && this.#options.mirror.imageAtHand(uuid)
    if (!manifest || !isSeenBy(manifest, viewer)) return false
    const { tag, latin1 } = this.#rendered(manifest)
    this.#begin(req, res, url, '/images/:uuid', formatTag(tag), latin1.length)
    res.end(latin1, 'latin1')
    return true
  }

  #answersList(req: IncomingMessage, res: ServerResponse, viewer: Viewer): boolean {
    const { bodies, mirror } = this.#options
    const revision = mirror.revisionAtHand()
    if (revision === undefined) return false
    if (mirror.channels.areUsed && mirror.channels.default === undefined) return false
    const query = listQueryOf(NO_PARAMETERS, viewer, mirror.channels)
    const list = bodies.ready(IMGAPI_LIST, listKeyOf(query), revision, LIST_BYTES)
    if (!list) return false
    this.#begin(req, res, LIST, LIST, formatTag(list.tag, true), list.sizeBytes)
    res.cork()
    for (const slice of list.slices) res.write(slice)
    res.end()
    return true
  }

  #rendered(manifest: Manifest): RenderedManifest {
    const kept = this.#manifests.get(manifest.uuid)
    // A manifest never changes; what changes is which one stands for an image.
    if (kept?.manifest === manifest) return kept
    const text = JSON.stringify(JSON.parse(servedJson(manifest, false)), null, 2)
    const rendered = { manifest, tag: etagOf(manifest), latin1: Buffer.from(text).toString('latin1') }
    this.#manifests.set(manifest.uuid, rendered)
    return rendered
  }

  /** The headers, and what is told when it is over. */
  #begin(req: IncomingMessage, res: ServerResponse, path: string, route: string, tag: string, bytes: number): void {
    const options = this.#options
    const startedMs = performance.now()
    const requestId = requestIdOf(req)
    const client = clientAddressOf(req, this.#proxies)
    whenOver(req, res, () => {
      const { statusCode: status, writableFinished: isComplete } = res
      reportRequest(options, { startedMs, requestId, method: 'GET', path, route, status, bytes, client, isComplete })
    })
    // Writing to a client who has just left: that it is over is told above.
    res.on('error', (error) => options.log.debug({ requestId, error }, 'the response cannot be written'))
    const begunMs = Math.round(performance.now() - startedMs)
    const ofThis = ['x-request-id', requestId, 'ETag', tag, 'Content-Length', String(bytes)]
    // Node is quickest with names and values in a row.
    res.writeHead(200, [...this.#always, ...ofThis, 'x-response-time', String(begunMs)])
  }
}
