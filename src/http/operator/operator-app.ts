import Router from '@koa/router'
import Koa from 'koa'
import type { Mirror } from '../../mirror/mirror.js'
import { pathUnknown, Refusal } from '../answers.js'
import { type Context, type EveryRequestOptions, everyRequest, type RequestState } from '../every-request.js'
import { reportAppErrors } from '../report-app-errors.js'
import { type ApiRooms, mountApi } from './api/mount-api.js'
import { healthz } from './healthz.js'
import { type MakeMetrics, metrics } from './metrics.js'
import { LOCAL_ONLY, type OperatorAccess, operatorAccess } from './operator-access.js'
import { putRate, type SetRate } from './put-rate.js'
import { type FindReasons, readyz } from './readyz.js'
import { status } from './status.js'

export interface OperatorAppOptions extends EveryRequestOptions {
  readonly mirror: Mirror
  /** Why clients should not be sent here now. That upstreams do not answer is no reason. */
  readonly whyNotReady: FindReasons
  readonly metrics: MakeMetrics
  readonly setRate: SetRate
  /** What /api is about; without it, there is no /api. */
  readonly api?: ApiRooms | undefined
  /** Without it, only who is on this machine may change anything. */
  readonly access?: OperatorAccess | undefined
}

/** For operators and their machines, on a listener of its own: nothing here is for clients. */
export function makeOperatorApp(options: OperatorAppOptions): Koa<RequestState> {
  const router = new Router<RequestState>({ strict: true, sensitive: true })
  const answer = (path: string, endpoint: (context: Context) => Promise<void>) =>
    router.get(path, async (context) => {
      context.state.route = path
      await endpoint(context)
    })

  answer('/healthz', (context) => healthz(context, options.version))
  answer('/readyz', (context) => readyz(context, options.whyNotReady))
  answer('/status', async (context) => {
    await options.api?.operations.lookAtDisk()
    await status(context, options.mirror, options.api?.imports)
  })
  answer('/metrics', (context) => metrics(context, options.metrics))
  for (const path of ['/rate', '/upstreams/:name/rate']) {
    router.register(path, ['PUT', 'DELETE'], async (context) => {
      context.state.route = path
      await putRate(context, options.setRate)
    })
  }

  if (options.api) mountApi(router, options.api)

  const app = new Koa<RequestState>()
  reportAppErrors(app, options.log)
  app.use(everyRequest(options))
  app.use(operatorAccess(options.access ?? LOCAL_ONLY))
  app.use(router.routes())
  app.use((context) => {
    if (!context.matched?.length) throw pathUnknown(context.url)
    throw new Refusal(405, 'MethodNotAllowedError', `${context.method} is not allowed`, {
      headers: {
        Allow: [...new Set(context.matched.flatMap((layer: { methods: string[] }) => layer.methods))].join(', '),
      },
    })
  })
  return app
}
