import { readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'

const LOOKS_MS = 100

/**
 * What a server has sent, by its own account, and nobody has read: bytes that lie in the kernel's buffers between it and its
 * clients, who are frozen. Waits until they stay as they are.
 * @param url of the server, on the loopback address.
 */
export async function unreadBytes(url: string): Promise<number> {
  const port = Number(new URL(url).port)
  for (let before = -1; ; ) {
    const now = queuedBytes(await readFile('/proc/net/tcp', 'utf8'), port)
    if (now === before) return now
    before = now
    await wait(LOOKS_MS)
  }
}

/** Lines of `/proc/net/tcp`: number, local address, other address, state, send queue:receive queue, all of them in hex. */
function queuedBytes(table: string, port: number): number {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  // Of one that listens, the queues are of connections. One that is closed on the sending side can still be read.
  const listening = '0A'
  let bytes = 0
  for (const line of table.split('\n').slice(1)) {
    const [, local = '', other = '', state, queues = ''] = line.trim().split(/\s+/)
    if (state === listening) continue
    const [sending = '0', receiving = '0'] = queues.split(':')
    if (local.endsWith(suffix)) bytes += Number.parseInt(sending, 16)
    else if (other.endsWith(suffix)) bytes += Number.parseInt(receiving, 16)
  }
  return bytes
}
