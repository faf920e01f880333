import { connect } from 'node:net'
import { expect } from 'vitest'

/** What a client is left with: a complete answer, a refusal, or a connection that broke. */
export type Outcome =
  | { readonly kind: 'complete'; readonly bytes: Buffer }
  | { readonly kind: 'refused'; readonly status: number }
  | { readonly kind: 'cut'; readonly bytes: Buffer }

/**
 * A client that believes nothing but the length, as curl does. It reads the socket itself: nothing between us and the
 * bytes can make a broken answer look whole, or the other way round.
 */
export async function download(url: string, uuid: string, headers: Record<string, string> = {}): Promise<Outcome> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  const lines = Object.entries({ Host: 'mirror', Connection: 'close', ...headers }).map(
    ([name, value]) => `${name}: ${value}`,
  )
  socket.write(`GET /images/${uuid}/file HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
  const pieces: Buffer[] = []
  await new Promise<void>((resolve) => {
    socket.on('data', (piece) => pieces.push(piece))
    socket.on('error', () => resolve())
    socket.on('close', () => resolve())
  })
  const all = Buffer.concat(pieces)
  const end = all.indexOf('\r\n\r\n')
  if (end < 0) return { kind: 'cut', bytes: Buffer.alloc(0) }
  const head = all.subarray(0, end).toString()
  expect(head, 'never chunked, never encoded').not.toMatch(/^(transfer-encoding|content-encoding):/im)
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1])
  if (status >= 400) return { kind: 'refused', status }
  const bytes = all.subarray(end + 4)
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
  return { kind: bytes.length === length ? 'complete' : 'cut', bytes }
}
