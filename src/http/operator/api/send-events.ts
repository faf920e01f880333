import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import type { Context } from '../../every-request.js'

/** A connection on which nothing moves would be taken for dead, by us and by whatever stands in between. */
const HEARTBEAT_MS = 15_000

/**
 * Tells events as they come, each as JSON, until there are no more or nobody listens. A slow listener slows `events` down; nothing
 * is collected.
 * Source of the form: https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export async function sendEvents(context: Context, events: AsyncIterable<unknown>): Promise<void> {
  const { departed, log } = context.state
  const iterator = events[Symbol.asyncIterator]()
  // What fails before its first event still gets a status.
  const first = await iterator.next()
  const body = new PassThrough()
  context.status = 200
  // Some proxies collect what they pass on, unless they are told.
  context.set({ 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' })
  context.body = body
  const tell = async () => {
    const heartbeat = setInterval(() => body.writableLength === 0 && body.write(':\n\n'), HEARTBEAT_MS)
    try {
      for (let event = first; !event.done && !departed.aborted; event = await iterator.next()) {
        if (!body.write(`data: ${JSON.stringify(event.value)}\n\n`)) await once(body, 'drain', { signal: departed })
      }
      body.end()
    } catch (error) {
      if (!departed.aborted) log.error({ error }, 'events broke off')
      body.destroy()
    } finally {
      clearInterval(heartbeat)
      await iterator.return?.()
    }
  }
  void tell()
}
