import type Router from '@koa/router'
import { parseUuid } from '../../images/uuid.js'
import type { Mirror } from '../../mirror/mirror.js'
import type { ChangeOptions } from '../../mirror/publishing.js'
import { pathUnknown, Refusal } from '../answers.js'
import type { Context, RequestState } from '../every-request.js'
import { addImageFile } from './add-image-file.js'
import { addImageFileFromUrl } from './add-image-file-from-url.js'
import { addImageIcon } from './add-image-icon.js'
import { changeImageAcl } from './change-image-acl.js'
import { parseChangeOptions } from './change-options.js'
import { createImage } from './create-image.js'
import { deleteImage } from './delete-image.js'
import { deleteImageIcon } from './delete-image-icon.js'
import { imageAction } from './image-action.js'
import { requireVersion } from './require-version.js'
import type { Desk, Writing, WritingEndpoint } from './writing.js'

/**
 * What changes images. The first question is always who asks: until that is answered, nothing is said about any image,
 * and not a byte of the body is read.
 */
export function addImgapiWritingRoutes(
  router: Router<RequestState>,
  mirror: Mirror,
  { publishing, authenticator }: Writing,
): void {
  const desk: Desk = { mirror, publishing }
  const admit = async (context: Context, path: string): Promise<ChangeOptions> => {
    context.state.route = path
    requireVersion(context)
    refuseForeignPages(context)
    const principal = await authenticator.writer(context)
    return parseChangeOptions(context, mirror.channels, principal)
  }
  const answer = (method: 'POST' | 'PUT' | 'DELETE', path: string, endpoint: WritingEndpoint) =>
    router.register(path, [method], async (context) => {
      const options = await admit(context, path)
      const uuid = parseUuid(context.params.uuid)
      if (uuid === undefined) throw pathUnknown(context.url)
      await endpoint(context, desk, uuid, options)
    })

  router.post('/images', async (context) => createImage(context, desk, await admit(context, '/images')))
  answer('POST', '/images/:uuid', imageAction)
  answer('DELETE', '/images/:uuid', deleteImage)
  answer('PUT', '/images/:uuid/file', addImageFile)
  answer('POST', '/images/:uuid/file/from-url', addImageFileFromUrl)
  answer('PUT', '/images/:uuid/icon', addImageIcon)
  answer('DELETE', '/images/:uuid/icon', deleteImageIcon)
  answer('POST', '/images/:uuid/acl', changeImageAcl)
}

/**
 * A browser that remembers a user's password sends it along wherever any page tells it to; but it says from which one.
 * Nobody publishes from a web page.
 */
function refuseForeignPages(context: Context): void {
  const { origin } = context.req.headers
  if (origin === undefined) return
  throw new Refusal(403, 'ForbiddenError', `web pages may change nothing here: ${origin.slice(0, 256)}`)
}
