import type Router from '@koa/router'
import { parseUuid, type Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import { pathUnknown } from '../answers.js'
import type { Context, RequestState } from '../every-request.js'
import type { ListBodies } from '../list-bodies.js'
import { getImage } from './get-image.js'
import { getImageChunks } from './get-image-chunks.js'
import { getImageFile } from './get-image-file.js'
import { getImageIcon } from './get-image-icon.js'
import { listChannels } from './list-channels.js'
import { listImages } from './list-images.js'
import { ping } from './ping.js'
import { requireVersion } from './require-version.js'

export interface ImgapiOptions {
  readonly mirror: Mirror
  readonly version: string
  readonly bodies: ListBodies
}

type Endpoint = (context: Context) => Promise<void> | void
type ImageEndpoint = (context: Context, mirror: Mirror, uuid: Uuid) => Promise<void>

/** One IMGAPI endpoint for everything the mirror knows: the reading half of it. GET and HEAD. */
export function addImgapiRoutes(router: Router<RequestState>, { mirror, version, bodies }: ImgapiOptions): void {
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
  answer('/channels', (context) => listChannels(context, mirror.channels))
  answerImage('/images/:uuid', getImage)
  answerImage('/images/:uuid/file', getImageFile)
  answerImage('/images/:uuid/icon', getImageIcon)
  answerImage('/images/:uuid/chunks', getImageChunks)
}
