import type Koa from 'koa'
import type { Log } from '../parts/log.js'
import type { Context, RequestState } from './every-request.js'

/**
 * koa reports a connection that breaks under a response as an error of the app (`ECONNRESET`, `ERR_STREAM_PREMATURE_CLOSE`).
 * It is a departure, which is nobody's fault; every other failure has been answered and logged by then.
 */
export function reportAppErrors(app: Koa<RequestState>, log: Log): void {
  app.on('error', (error: unknown, context?: Context) => {
    const isOver = context === undefined || context.res.headersSent || !context.writable
    if (isOver) (context?.state.log ?? log).debug({ error }, 'the connection broke under a response')
    else (context.state.log ?? log).error({ error }, 'a request failed unexpectedly')
  })
}
