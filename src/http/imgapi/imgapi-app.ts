import Router from '@koa/router'
import Koa from 'koa'
import { parseUuid, type Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import { isVersionAccepted } from '../accept-version.js'
import { pathUnknown, Refusal } from '../answers.js'
import { type Context, type EveryRequestOptions, everyRequest, type RequestState } from '../every-request.js'
import { reportAppErrors } from '../report-app-errors.js'
import { getImage } from './get-image.js'
import { getImageChunks } from './get-image-chunks.js'
import { getImageFile } from './get-image-file.js'
import { getImageIcon } from './get-image-icon.js'
import { ListBodies } from './list-bodies.js'
import { listChannels } from './list-channels.js'
import { listImages } from './list-images.js'
import { ping } from './ping.js'

export interface ImgapiAppOptions extends EveryRequestOptions {
  readonly mirror: Mirror
  /** What rendered and compressed lists may take in memory. */
  readonly listCacheBytes?: number | undefined
}

type Endpoint = (context: Context) => Promise<void> | void
type ImageEndpoint = (context: Context, mirror: Mirror, uuid: Uuid) => Promise<void>

/** One IMGAPI endpoint for everything the mirror knows. Reading only: GET and HEAD. */
export function makeImgapiApp(options: ImgapiAppOptions): Koa<RequestState> {
  const { mirror, version, log } = options
  const bodies = new ListBodies(options.listCacheBytes)
  const router = new Router<RequestState>({ strict: true, sensitive: true })

  const answer = (path: string, endpoint: Endpoint) =>
    router.get(path, async (context) => {
      context.state.route = path
      requireVersion(context)
      await endpoint(context)
    })
  const answerImage = (path: string, endpoint: ImageEndpoint) =>
    router.get(path, async (context) => {
      const uuid = parseUuid(context.params.uuid)
      if (uuid === undefined) throw pathUnknown(context.url)
      context.state.route = path
      requireVersion(context)
      await endpoint(context, mirror, uuid)
    })

  answer('/ping', (context) => ping(context, version))
  answer('/images', (context) => listImages(context, mirror, bodies))
  answer('/channels', listChannels)
  answerImage('/images/:uuid', getImage)
  answerImage('/images/:uuid/file', getImageFile)
  answerImage('/images/:uuid/icon', getImageIcon)
  answerImage('/images/:uuid/chunks', getImageChunks)

  const app = new Koa<RequestState>()
  reportAppErrors(app, log)
  app.use(everyRequest(options))
  app.use(router.routes())
  app.use(refuseTheRest)
  return app
}

/** A path that leads nowhere is a 404 whatever the method; else the method was wrong. */
function refuseTheRest(context: Context & { matched?: readonly unknown[] }): never {
  const [, images, uuid] = (context.path ?? '').split('/')
  const isKnown = context.matched !== undefined && context.matched.length > 0
  const namesNoImage = images === 'images' && uuid !== undefined && parseUuid(uuid) === undefined
  if (!isKnown || namesNoImage) throw pathUnknown(context.url)
  throw new Refusal(405, 'MethodNotAllowedError', `${context.method} is not allowed`, {
    headers: { Allow: 'GET, HEAD' },
  })
}

/** restify's `X-Api-Version` is the older name of the header. */
function requireVersion(context: Context): void {
  const range = context.get('Accept-Version') || context.get('X-Api-Version')
  if (isVersionAccepted(range)) return
  throw new Refusal(400, 'InvalidVersion', `${range} is not supported by ${context.method} ${context.path}`)
}
