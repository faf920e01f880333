import { parseListQuery } from '../../images/parse-list-query.js'
import type { Mirror } from '../../mirror/mirror.js'
import type { Context } from '../every-request.js'
import type { ListBodies, ListForm } from '../list-bodies.js'
import { sendList } from '../send-list.js'

/** What `JSON.stringify(list, null, 2)` would give, as the reference writes it. */
export const IMGAPI_LIST: ListForm = {
  key: 'imgapi',
  begin: '[\n',
  between: ',\n',
  end: '\n]',
  empty: '[]',
  textOf: ({ json }) => `  ${JSON.stringify(JSON.parse(json), null, 2).replaceAll('\n', '\n  ')}`,
}

/** Always 200 with what we know. */
export async function listImages(context: Context, mirror: Mirror, bodies: ListBodies): Promise<void> {
  const query = parseListQuery(new URLSearchParams(context.querystring))
  const list = await mirror.listImages(query)
  await sendList(context, bodies, { form: IMGAPI_LIST, queryKey: JSON.stringify(query), list })
}
