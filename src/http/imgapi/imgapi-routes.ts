import type Router from '@koa/router'
import { parseUuid, type Uuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import { pathUnknown } from '../answers.js'
import type { Authenticator } from '../auth/authenticator.js'
import type { Context, RequestState } from '../every-request.js'
import type { ListBodies } from '../list-bodies.js'
import { mirrorSeenBy } from '../mirror-seen-by.js'
import { getImage } from './get-image.js'
import { getImageChunks } from './get-image-chunks.js'
import { getImageFile } from './get-image-file.js'
import { getImageIcon } from './get-image-icon.js'
import { listChannels } from './list-channels.js'
import { listImages } from './list-images.js'
import { ping } from './ping.js'
import { reloadAuthkeys } from './reload-authkeys.js'
import { requireVersion } from './require-version.js'

export interface ImgapiOptions {
  readonly mirror: Mirror
  readonly version: string
  /** Of this process: users are told, as the reference does. */
  readonly pid: number | undefined
  readonly bodies: ListBodies
  readonly authenticator: Authenticator
}

/** A proof that is given must be right, or is not even looked at while everything is for everybody (imgapi.md, 3.6). */
type Asked = 'passive' | 'none'

type Endpoint = (context: Context) => Promise<void> | void
type ImageEndpoint = (context: Context, mirror: Mirror, uuid: Uuid) => Promise<void>

/** One IMGAPI endpoint for everything the mirror knows: the reading half of it. GET and HEAD. */
export function addImgapiRoutes(router: Router<RequestState>, options: ImgapiOptions): void {
  const { authenticator, bodies, mirror, pid, version } = options
  const identify = async (context: Context, asked: Asked) => {
    if (asked === 'none') await authenticator.fileReader(context)
    else await authenticator.reader(context)
  }
  const answer = (path: string, endpoint: Endpoint) =>
    router.get(path, async (context) => {
      context.state.route = path
      requireVersion(context)
      await identify(context, 'passive')
      await endpoint(context)
    })
  const answerImage = (path: string, asked: Asked, endpoint: ImageEndpoint) =>
    router.get(path, async (context) => {
      const uuid = parseUuid(context.params.uuid)
      if (uuid === undefined) throw pathUnknown(context.url)
      context.state.route = path
      requireVersion(context)
      await identify(context, asked)
      await endpoint(context, mirrorSeenBy(mirror, context.state.viewer), uuid)
    })

  answer('/ping', (context) => ping(context, { version, pid }))
  answer('/images', (context) => listImages(context, mirror, bodies))
  answer('/channels', (context) => listChannels(context, mirror.channels))
  answerImage('/images/:uuid', 'passive', getImage)
  answerImage('/images/:uuid/file', 'none', getImageFile)
  answerImage('/images/:uuid/icon', 'none', getImageIcon)
  answerImage('/images/:uuid/chunks', 'none', getImageChunks)
  router.post('/authkeys/reload', async (context) => {
    context.state.route = '/authkeys/reload'
    requireVersion(context)
    await reloadAuthkeys(context, authenticator)
  })
}
