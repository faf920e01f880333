import type Router from '@koa/router'
import type { Context, RequestState } from '../../every-request.js'
import { readJsonBody } from '../../read-body.js'
import { sendJson } from '../../send-json.js'
import { operatorOf } from '../operator-access.js'
import type { ApiRooms, Endpoint, RawRequest } from './define-endpoint.js'
import { ENDPOINTS } from './endpoints.js'
import { openApiDocument } from './openapi.js'
import { sendEvents } from './send-events.js'

export type { ApiRooms } from './define-endpoint.js'

/** Adds the operator API to the router of the operators' app. Who may is settled before. */
export function mountApi(router: Router<RequestState>, rooms: ApiRooms): void {
  for (const endpoint of ENDPOINTS) {
    router.register(endpoint.path, [endpoint.method], async (context) => {
      context.state.route = endpoint.path
      await answer(context, endpoint, rooms)
    })
  }
  const document = openApiDocument()
  router.get('/api/openapi.json', async (context) => {
    context.state.route = '/api/openapi.json'
    await sendJson(context, document, { cacheControl: 'no-store' })
  })
}

async function answer(context: Context, endpoint: Endpoint, rooms: ApiRooms): Promise<void> {
  const { departed, log } = context.state
  const request: RawRequest = {
    params: context.params as Record<string, string>,
    query: new URLSearchParams(context.querystring),
    body: endpoint.method === 'GET' ? undefined : await readJsonBody(context),
    operator: operatorOf(context),
    ...rooms,
    signal: departed,
    log,
  }
  const result = await endpoint.run(request)
  if (endpoint.isStream) return await sendEvents(context, result as AsyncIterable<unknown>)
  await sendJson(context, result, { cacheControl: 'no-store' })
  context.status = endpoint.status
}
