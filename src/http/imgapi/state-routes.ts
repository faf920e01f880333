import type Router from '@koa/router'
import type { Mirror } from '../../mirror/mirror.js'
import type { Authenticator } from '../auth/authenticator.js'
import type { RequestState } from '../every-request.js'
import type { ListBodies } from '../list-bodies.js'
import { requireVersion } from './require-version.js'
import { changeState, getState } from './state.js'

export interface StateOptions {
  readonly mirror: Mirror
  readonly bodies: ListBodies
  readonly authenticator: Pick<Authenticator, 'user' | 'writer'>
}

/** `/state`, where the reference has it: beside what clients ask for, and for users alone: where there are none, for nobody. */
export function addStateRoutes(router: Router<RequestState>, { mirror, bodies, authenticator }: StateOptions): void {
  router.register('/state', ['GET', 'HEAD', 'POST'], async (context) => {
    context.state.route = '/state'
    requireVersion(context)
    if (context.method === 'POST') {
      await authenticator.writer(context)
      changeState(context, bodies)
    } else {
      await authenticator.user(context)
      await getState(context, mirror, bodies)
    }
  })
}
