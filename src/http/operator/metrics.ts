import type { Context } from '../every-request.js'

/** What Prometheus is to read, and the type to call it by. */
export type MakeMetrics = () => Promise<{ readonly contentType: string; readonly body: string }>

export async function metrics(context: Context, makeMetrics: MakeMetrics): Promise<void> {
  const { contentType, body } = await makeMetrics()
  context.status = 200
  context.set({ 'Content-Type': contentType, 'Cache-Control': 'no-store' })
  context.body = Buffer.from(body)
}
