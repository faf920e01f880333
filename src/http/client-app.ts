import Router from '@koa/router'
import Koa from 'koa'
import { parseUuid } from '../images/uuid.js'
import type { Mirror } from '../mirror/mirror.js'
import type { Registry } from '../mirror/registry.js'
import { pathUnknown, Refusal } from './answers.js'
import type { Authenticator } from './auth/authenticator.js'
import { answerPreflight, crossOriginHeaders } from './cross-origin.js'
import { addDsapiRoutes, type DsapiSettings } from './dsapi/dsapi-routes.js'
import { type Context, type EveryRequestOptions, everyRequest, type RequestState } from './every-request.js'
import { frontPage } from './front-page.js'
import { HandOver } from './hand-over.js'
import { hotPath } from './hot-path.js'
import { addImgapiRoutes } from './imgapi/imgapi-routes.js'
import { addImgapiWritingRoutes } from './imgapi/imgapi-writing-routes.js'
import { addStateRoutes } from './imgapi/state-routes.js'
import type { Writing } from './imgapi/writing.js'
import { ListBodies } from './list-bodies.js'
import type { Handler } from './listener.js'
import { PublicAddress, type PublicAddressOptions } from './public-address.js'
import { answerRegistry } from './registry/registry-endpoint.js'
import { reportAppErrors } from './report-app-errors.js'

export interface ClientAppOptions
  extends Omit<EveryRequestOptions, 'handOver' | 'moreHeaders' | 'pathPrefix' | 'trustedProxies'> {
  readonly mirror: Mirror
  readonly authenticator: Authenticator
  /** Of this process. */
  readonly pid?: number | undefined
  /** What clients of Docker registries are answered, under /v2/; without it, /v2/ leads nowhere. */
  readonly registry?: Registry | undefined
  /** Without it nothing can be changed: whatever is no GET or HEAD is a 405. */
  readonly writing?: Writing | undefined
  readonly address?: PublicAddressOptions | undefined
  /** Where proxies that we believe have held files, and send them themselves if they say so: such as `/held/`. */
  readonly accelRedirect?: string | undefined
  readonly dsapi?: DsapiSettings | undefined
  /** What rendered and compressed lists may take in memory. */
  readonly listCacheBytes?: number | undefined
}

const DSAPI_DEFAULTS: DsapiSettings = { list: 'standalone', creatorName: 'sdc' }

/** Everything clients may ask for, in every protocol we speak, on one listener. */
export function makeClientHandler(options: ClientAppOptions): Handler {
  const bodies = new ListBodies(options.listCacheBytes)
  const { trustedProxies } = options.address ?? {}
  return hotPath({ ...options, bodies, trustedProxies }, makeClientApp(options, bodies).callback())
}

/** The same, without a shorter way for what is asked most. */
export function makeClientApp(
  options: ClientAppOptions,
  bodies = new ListBodies(options.listCacheBytes),
): Koa<RequestState> {
  const { authenticator, mirror, pid, registry, version, log, writing } = options
  const { trustedProxies = [] } = options.address ?? {}
  const address = new PublicAddress(options.address ?? {})
  const router = new Router<RequestState>({ strict: true, sensitive: true })
  router.get('/', async (context) => {
    context.state.route = '/'
    await authenticator.reader(context)
    await frontPage(context, version, address)
  })
  addImgapiRoutes(router, { authenticator, bodies, mirror, pid, version })
  if (writing) addImgapiWritingRoutes(router, mirror, writing)
  addStateRoutes(router, { mirror, bodies, authenticator })
  addDsapiRoutes(router, { mirror, authenticator, bodies, address, settings: options.dsapi ?? DSAPI_DEFAULTS })

  const app = new Koa<RequestState>()
  reportAppErrors(app, log)
  const handOver = new HandOver({ redirect: options.accelRedirect, trustedProxies })
  const { pathPrefix } = address
  app.use(everyRequest({ ...options, handOver, trustedProxies, moreHeaders: crossOriginHeaders, pathPrefix }))
  app.use(async (context, next) => {
    if (!answerPreflight(context)) await next()
  })
  if (registry) app.use(answerRegistry({ registry, authenticator, pathPrefix: address.pathPrefix }))
  app.use(router.routes())
  app.use(refuseTheRest)
  return app
}

/** In the order in which `Allow` names them. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']

/** A path that leads nowhere is a 404 whatever the method; else the method was wrong. */
function refuseTheRest(context: Context & { matched?: readonly { methods: readonly string[] }[] }): never {
  const [, images, uuid] = (context.path ?? '').split('/')
  const isKnown = context.matched !== undefined && context.matched.length > 0
  const namesNoImage = images === 'images' && uuid !== undefined && parseUuid(uuid) === undefined
  if (!isKnown || namesNoImage) throw pathUnknown(context.url)
  const methods = new Set(context.matched?.flatMap((layer) => layer.methods))
  throw new Refusal(405, 'MethodNotAllowedError', `${context.method} is not allowed`, {
    headers: { Allow: METHODS.filter((method) => methods.has(method)).join(', ') },
  })
}
