import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'

/** As much of undici's HTTP/1 parser as is touched here (undici 7.30, lib/dispatcher/client-h1.js, `Parser`). */
interface PausedParser {
  paused: boolean
  readonly ptr: unknown
  readonly llhttp: { llhttp_resume(ptr: unknown): void }
  resume(): void
}

/**
 * Works around a bug of undici 7 that ends the process: when an upstream closes its connection while we are slow to
 * read and undici has therefore paused its parser, it asserts that the parser is not paused, in an event handler where
 * nobody can catch it. (nodejs/undici issue 5360; mended in undici 8, which needs Node 22, by pull request 5474.)
 *
 * Just before undici looks, the parser is resumed, as undici 8 does: what it still has goes to the body's buffer, a body
 * that ends with its connection ends, a truncated one fails. The zoo of faults crashes without this. To be thrown away
 * with Node 20.
 */
export function mendPausedSockets(): void {
  // undici says here of every connection when it stands, with its own listeners already on the socket.
  subscribe('undici:client:connected', (message) => {
    const { socket } = message as { socket: Socket }
    const wake = () => wakeParserOf(socket)
    for (const event of ['end', 'error', 'close']) socket.prependListener(event, wake)
  })
}

function wakeParserOf(socket: Socket): void {
  const parser = parserOf(socket)
  if (!parser?.paused || !parser.ptr) return
  // Hands on what is left; a body with a length, or chunks, then ends by itself.
  if (!socket.destroyed) parser.resume()
  if (!parser.paused || !parser.ptr) return
  // One that ends with its connection pauses again, and is ended by what undici does next.
  parser.llhttp.llhttp_resume(parser.ptr)
  parser.paused = false
}

function parserOf(socket: Socket): PausedParser | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser')
  return symbol && ((socket as unknown as Record<symbol, PausedParser | null>)[symbol] ?? undefined)
}
