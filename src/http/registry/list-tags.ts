import type { Repository } from '../../mirror/registry.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { pageOf } from './list-page.js'

/** @param name as the client said it. */
export async function listTags(
  context: Context,
  repository: Repository,
  name: string,
  pathPrefix: string,
): Promise<void> {
  const tags = await repository.tags(context.state.departed)
  const page = pageOf(context, tags, { path: `${pathPrefix}/v2/${name}/tags/list` })
  await sendJson(context, { name, tags: page }, { cacheControl: 'no-cache' })
}
