import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * Calls back once, when the response has been sent or cannot be any more. A response that waits behind another on a
 * pipelined connection has no socket yet and never hears of its end; therefore the socket is watched as well.
 */
export function whenOver(req: IncomingMessage, res: ServerResponse, callback: () => void): void {
  const { socket } = req
  let isOver = false
  const over = () => {
    // The socket's end is also the response's, and reaches us twice if this listener is removed while it is told.
    if (isOver) return
    isOver = true
    socket.off('close', over)
    res.off('close', over)
    callback()
  }
  socket.on('close', over)
  res.on('close', over)
}
