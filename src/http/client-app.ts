import Router from '@koa/router'
import Koa from 'koa'
import { parseUuid } from '../images/uuid.js'
import type { Mirror } from '../mirror/mirror.js'
import { pathUnknown, Refusal } from './answers.js'
import { type Context, type EveryRequestOptions, everyRequest, type RequestState } from './every-request.js'
import { addImgapiRoutes } from './imgapi/imgapi-routes.js'
import { addImgapiWritingRoutes } from './imgapi/imgapi-writing-routes.js'
import type { Writing } from './imgapi/writing.js'
import { ListBodies } from './list-bodies.js'
import { reportAppErrors } from './report-app-errors.js'

export interface ClientAppOptions extends EveryRequestOptions {
  readonly mirror: Mirror
  /** Without it nothing can be changed: whatever is no GET or HEAD is a 405. */
  readonly writing?: Writing | undefined
  /** What rendered and compressed lists may take in memory. */
  readonly listCacheBytes?: number | undefined
}

/** Everything clients may ask for, in every protocol we speak, on one listener. */
export function makeClientApp(options: ClientAppOptions): Koa<RequestState> {
  const { mirror, version, log, writing } = options
  const bodies = new ListBodies(options.listCacheBytes)
  const router = new Router<RequestState>({ strict: true, sensitive: true })
  addImgapiRoutes(router, { mirror, version, bodies })
  if (writing) addImgapiWritingRoutes(router, mirror, writing)

  const app = new Koa<RequestState>()
  reportAppErrors(app, log)
  app.use(everyRequest(options))
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
