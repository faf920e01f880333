import { connect } from 'node:net'
import { expect } from 'vitest'

/** What a client is left with. */
export interface Outcome {
  /** A complete answer, a refusal, or a connection that broke. */
  readonly kind: 'complete' | 'refused' | 'cut'
  /** 0 when not even the headers came. */
  readonly status: number
  /** As many as came. */
  readonly bytes: Buffer
}

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
  if (end < 0) return { kind: 'cut', status: 0, bytes: Buffer.alloc(0) }
  const head = all.subarray(0, end).toString()
  expect(head, 'never chunked, never encoded').not.toMatch(/^(transfer-encoding|content-encoding):/im)
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1])
  const bytes = all.subarray(end + 4)
  if (status >= 400) return { kind: 'refused', status, bytes }
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
  return { kind: bytes.length === length ? 'complete' : 'cut', status, bytes }
}
