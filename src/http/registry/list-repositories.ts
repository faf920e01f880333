import type { Registry } from '../../mirror/registry.js'
import type { Context } from '../every-request.js'
import { sendJson } from '../send-json.js'
import { pageOf } from './list-page.js'

/** As distribution's. */
const USUAL_PAGE = 100

export async function listRepositories(context: Context, registry: Registry, pathPrefix: string): Promise<void> {
  const page = pageOf(context, registry.catalogue(), { path: `${pathPrefix}/v2/_catalog`, usual: USUAL_PAGE })
  await sendJson(context, { repositories: page }, { cacheControl: 'no-cache' })
}
