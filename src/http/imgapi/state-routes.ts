import type Router from '@koa/router'
import type { Mirror } from '../../mirror/mirror.js'
import { Refusal } from '../answers.js'
import type { Authenticator } from '../auth/authenticator.js'
import type { RequestState } from '../every-request.js'
import type { ListBodies } from '../list-bodies.js'
import { requireVersion } from './require-version.js'
import { changeState, getState } from './state.js'

export interface StateOptions {
  readonly mirror: Mirror
  readonly bodies: ListBodies
  /** `undefined` where there are no users: then it is for nobody. */
  readonly authenticator: Pick<Authenticator, 'writer'> | undefined
}

/** `/state`, where the reference has it: beside what clients ask for, and for users alone. */
export function addStateRoutes(router: Router<RequestState>, { mirror, bodies, authenticator }: StateOptions): void {
  router.register('/state', ['GET', 'HEAD', 'POST'], async (context) => {
    context.state.route = '/state'
    requireVersion(context)
    if (!authenticator) throw new Refusal(401, 'UnauthorizedError', 'Unauthorized')
    await authenticator.writer(context)
    if (context.method === 'POST') changeState(context, bodies)
    else await getState(context, mirror, bodies)
  })
}
