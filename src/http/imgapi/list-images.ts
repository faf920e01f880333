import type { ListQuery } from '../../images/list-query.js'
import type { Manifest } from '../../images/manifest.js'
import { parseListQuery } from '../../images/parse-list-query.js'
import { servedJson } from '../../images/serialize-manifest.js'
import type { Viewer } from '../../images/viewer.js'
import type { Channels } from '../../mirror/channels.js'
import type { Mirror } from '../../mirror/mirror.js'
import { wantsChannels } from '../accept-version.js'
import type { Context } from '../every-request.js'
import type { ListBodies, ListForm } from '../list-bodies.js'
import { sendList } from '../send-list.js'
import { withAdminFields } from './admin-fields.js'
import { requestedChannel } from './requested-channel.js'

/** What `JSON.stringify(list, null, 2)` would give, as the reference writes it. */
export const IMGAPI_LIST: ListForm = imgapiList('imgapi', ({ json }) => json)

/** The same for those who ask in version 2 of the API, on a mirror with channels. */
const WITH_CHANNELS = imgapiList('imgapi with channels', (manifest) => servedJson(manifest, true))

/** Either, for users who ask where files are stored. */
const FOR_ADMINS = imgapiList('imgapi for admins', ({ json }) => withAdminFields(json))
const WITH_CHANNELS_FOR_ADMINS = imgapiList('imgapi with channels for admins', (manifest) =>
  withAdminFields(servedJson(manifest, true)),
)

function imgapiList(key: string, jsonOf: (manifest: Manifest) => string): ListForm {
  return {
    key,
    begin: '[\n',
    between: ',\n',
    end: '\n]',
    empty: '[]',
    textOf: (manifest) => `  ${JSON.stringify(JSON.parse(jsonOf(manifest)), null, 2).replaceAll('\n', '\n  ')}`,
  }
}

/** Always 200 with what we know. */
export async function listImages(context: Context, mirror: Mirror, bodies: ListBodies): Promise<void> {
  const { channels } = mirror
  const query = listQueryOf(new URLSearchParams(context.querystring), context.state.viewer, channels)
  const list = await mirror.listImages(query)
  const form = formOf(channels.areUsed && wantsChannels(context), query.hasAdminFields)
  await sendList(context, bodies, { form, queryKey: listKeyOf(query), list })
}

/**
 * What a request for a list asks for.
 * @throws MirrorError CHANNEL_UNKNOWN, QUERY_INVALID, UNAUTHORIZED.
 */
export function listQueryOf(params: URLSearchParams, viewer: Viewer, channels: Channels): ListQuery {
  // Resolved, so that all who mean the same share one body.
  const channel = requestedChannel(params, channels)
  return { ...parseListQuery(params, viewer), channel }
}

/** The same for equal queries. */
export function listKeyOf(query: ListQuery): string {
  return JSON.stringify(query)
}

function formOf(hasChannels: boolean, hasAdminFields: boolean): ListForm {
  if (hasAdminFields) return hasChannels ? WITH_CHANNELS_FOR_ADMINS : FOR_ADMINS
  return hasChannels ? WITH_CHANNELS : IMGAPI_LIST
}
