import { once } from 'node:events'
import { connect } from 'node:net'

/** Whether anybody takes connections at this address, whatever is spoken there. */
export async function takesConnections(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
