import type { Context } from '../every-request.js'

/** How often a client who waits is asked whether it is still there. */
const KEEP_ALIVE_MS = 60_000

/**
 * Lets a connection be silent for as long as we fetch something for its client ourselves, which may take hours and is
 * bounded by the patience we have with upstreams. A client that is gone without a word is noticed by the keep-alive of TCP.
 */
export function waitForUs({ req }: Context): void {
  req.socket.setTimeout(0)
  req.socket.setKeepAlive(true, KEEP_ALIVE_MS)
}
