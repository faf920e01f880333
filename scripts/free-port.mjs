import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below those that the system gives to whoever asks for any (32768 and up on Linux): servers beside us do, and would take it. */
const [LOWEST, HIGHEST] = [20_000, 32_000]

/**
 * A port of 127.0.0.1 that nobody listens on, for a server that cannot choose one itself. Somebody else could take it first, which
 * has to be lived with.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(LOWEST, HIGHEST)
    const server = createServer()
    try {
      const listening = once(server, 'listening')
      server.listen(port, '127.0.0.1')
      await listening
    } catch {
      continue // taken: another one
    }
    server.close()
    await once(server, 'close')
    return port
  }
}
