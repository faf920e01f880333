import { createHash } from 'node:crypto'
import { type RunningMirror, startMirror } from './running-mirror.js'

/** What whoever publishes in tests proves it with. */
export const TOKEN = 'a-token-long-enough-for-nobody-to-guess'

/** Settings of a mirror on which `builder` may publish, with `TOKEN`. */
export const PUBLISHING = {
  publish: { users: [{ name: 'builder', tokenHash: `sha256:${createHash('sha256').update(TOKEN).digest('hex')}` }] },
}

/** A mirror without upstreams on which `builder` may publish. */
export function startPublishingMirror(settings: Record<string, unknown> = {}): Promise<RunningMirror> {
  return startMirror({ upstreams: [], ...PUBLISHING, ...settings })
}

export interface Told {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Record<string, unknown> & { code?: string; message?: string }
}

/** One request of `builder`'s. */
export async function tell(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Told> {
  const isBytes = typeof body === 'string' || body instanceof Uint8Array
  const answer = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${TOKEN}`, ...headers },
    ...(body !== undefined && { body: isBytes ? body : JSON.stringify(body) }),
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, text, body: text.startsWith('{') ? JSON.parse(text) : {} }
}
